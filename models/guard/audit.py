"""The audit trail: history and acts, sealed in batches into a chain that only who has the audit key can make.

A seal closes over the rows of a stretch of time: a Merkle tree over them, the hash of the seal before, and an Ed25519
signature (RFC 8032). Sealing follows the writers at a distance and stops none of them: it says up to which moment it
will seal, then waits once for each lock that writers hold. Who has it later has read that moment and writes after it,
whatever the clock says; who had it before is committed.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from hashlib import sha256
from pathlib import Path
from typing import Any, Final

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey
from psycopg.errors import LockNotAvailable
from sqlalchemy import Connection, Engine, Row, text
from sqlalchemy.exc import IntegrityError, OperationalError

from models.guard.acts import LOCK_SPACE as ACTS_LOCK_SPACE
from models.guard.merkle import Tree
from models.pipeline.shard_lock import lock_shard
from models.settings import Key

ID_BYTES: Final = 16
HASH_BYTES: Final = 32
#: The previous hash of the first seal.
GENESIS: Final = bytes(HASH_BYTES)
#: A writer holds its lock for some 50 ms; whoever holds it for longer is waited for at the next turn.
LOCK_SECONDS: Final = 1.0
#: Of one seal: its leaves are read and kept in one piece, 48 bytes each.
ROWS_MOST: Final = 50_000
_STRETCH_LEAST: Final = timedelta(milliseconds=100)
_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
_LEAVES: Final = (Path(__file__).parent / "sql" / "leaves.sql").read_text("utf-8")
_STRETCH: Final = "WHERE created_at > :since AND created_at <= :upto"
_ANNOUNCE: Final = text(
    "INSERT INTO progress AS p (name, upto) VALUES ('sealing', clock_timestamp())"
    " ON CONFLICT (name) DO UPDATE SET upto = greatest(excluded.upto, p.upto + interval '1 microsecond')"
    " RETURNING upto"
)
_ORDER: Final = " ORDER BY created_at, id"
_OF_STRETCH: Final = text(_LEAVES.format(stretch=_STRETCH, acts=_STRETCH) + _ORDER)
#: The same as they lie in a seal. PostgreSQL hashes them: to send it all here would cost twice as much.
_PACKED_STRETCH: Final = text(
    "SELECT string_agg(uuid_send(id) || sha256(decode('00', 'hex') || content), '' ORDER BY created_at, id)"  # noqa: S608 - constants
    f" FROM ({_LEAVES.format(stretch=_STRETCH, acts=_STRETCH)}) AS leaves"
)
_OF_PLAYER: Final = text(
    _LEAVES.format(stretch="WHERE user_id = CAST(:user_id AS uuid)", acts="WHERE subject = CAST(:user_id AS text)")
    + _ORDER
)


@dataclass(frozen=True, slots=True)
class Leaf:
    """A row that is sealed: its id, and the hash over all of it that must not change."""

    id: bytes
    hash: bytes


@dataclass(frozen=True, slots=True)
class Seal:
    """One link of the chain, over the rows after the previous one's `upto`."""

    number: int
    upto: datetime
    rows: int
    root: bytes
    previous: bytes
    hash: bytes
    key_id: str
    signature: bytes


def head_of(number: int, upto: datetime, rows: int, root: bytes, previous: bytes) -> bytes:
    """What a seal's hash is over."""
    return f"v1\nseal\n{number}\n{microseconds_of(upto)}\n{rows}\n{root.hex()}\n{previous.hex()}".encode()


def microseconds_of(instant: datetime) -> int:
    """Unix µs, exact."""
    return (instant - _EPOCH) // timedelta(microseconds=1)


class AuditKeys:
    """Signs with the first audit key, checks with any of them."""

    def __init__(self, keys: tuple[Key, ...]) -> None:
        """Each secret is an Ed25519 seed of 32 bytes."""
        self.key_id = keys[0].kid
        self._private = Ed25519PrivateKey.from_private_bytes(keys[0].secret)
        self._public = {key.kid: Ed25519PrivateKey.from_private_bytes(key.secret).public_key() for key in keys}

    def sign(self, message: bytes) -> bytes:
        """A signature of 64 bytes."""
        return self._private.sign(message)

    def public(self, key_id: str) -> Ed25519PublicKey | None:
        """The public half of a key; None for one we do not have."""
        return self._public.get(key_id)

    def signed(self, key_id: str, message: bytes, signature: bytes) -> bool:
        """Whether this is that key's signature."""
        key = self.public(key_id)
        try:
            if key is not None:
                key.verify(signature, message)
        except InvalidSignature:
            return False
        return key is not None


def contents(connection: Connection, since: datetime | None, upto: datetime | None) -> Iterator[tuple[bytes, bytes]]:
    """The rows of a stretch of time, in order: ids, and what their hashes are over. None has no bound on that side."""
    values = {"since": since or datetime.min.replace(tzinfo=UTC), "upto": upto or datetime.max.replace(tzinfo=UTC)}
    for row in connection.execute(_OF_STRETCH, values, execution_options={"yield_per": 10_000}):
        yield row.id.bytes, bytes(row.content)


def contents_of(connection: Connection, user_id: str) -> Iterator[Row[Any]]:
    """The same of one player: `id`, `content` and `created_at` of each row of history and of each act."""
    return iter(connection.execute(_OF_PLAYER, {"user_id": user_id}))


def last_seal(connection: Connection) -> Seal | None:
    """The newest link."""
    row = connection.execute(
        text(
            "SELECT number, upto, rows, root, previous, hash, key_id, signature FROM seals ORDER BY number DESC LIMIT 1"
        )
    ).first()
    return None if row is None else seal_of(row)


@dataclass(frozen=True, slots=True)
class Sealed:
    """A link of the chain, and when it was made."""

    seal: Seal
    sealed_at: datetime


def newest_seals(connection: Connection, *, before: int | None = None, limit: int = 50) -> list[Sealed]:
    """The last links, the newest first; `before` is the number of the last one told."""
    rows = connection.execute(
        text(
            "SELECT number, upto, rows, root, previous, hash, key_id, signature, sealed_at FROM seals"
            " WHERE CAST(:before AS bigint) IS NULL OR number < :before ORDER BY number DESC LIMIT :limit"
        ),
        {"before": before, "limit": limit},
    )
    return [Sealed(seal_of(row), row.sealed_at) for row in rows]


class Sealer:
    """Makes seals; only one at a time can be the next, whoever tries."""

    def __init__(self, engine: Engine, keys: AuditKeys, *, shards: int) -> None:
        self._engine = engine
        self._keys = keys
        self._shards = shards

    def seal(self) -> Iterator[Seal]:
        """Close over what was committed until now, in as many seals as that takes.

        Ends early when somebody else seals, or a writer takes too long: the rest is sealed at the next turn.
        """
        upto = self._settled() if self._is_anything_new() else None
        while upto is not None and (made := self._next(upto)) is not None:
            yield made

    def _is_anything_new(self) -> bool:
        """An idle service is to write nothing."""
        with self._engine.connect() as connection:
            before = last_seal(connection)
            found: bool = connection.execute(
                text(
                    "SELECT EXISTS (SELECT FROM score_history WHERE created_at > :since)"
                    " OR EXISTS (SELECT FROM acts WHERE created_at > :since)"
                ),
                {"since": before.upto if before else datetime.min.replace(tzinfo=UTC)},
            ).scalar_one()
            return found

    def _next(self, upto: datetime) -> Seal | None:
        with self._engine.connect().execution_options(isolation_level="REPEATABLE READ") as connection:
            before = last_seal(connection)
            since = before.upto if before else _beginning(connection)
            if since is None or (upto := _enough(connection, since, upto)) <= since:
                return None
            packed = connection.execute(_PACKED_STRETCH, {"since": since, "upto": upto}).scalar_one()
            if packed is None:
                return None
            seal = self._made(before, upto, hashes_of(packed))
            try:
                _insert(connection, seal, packed)
                connection.commit()
            except IntegrityError:
                return None
        return seal

    def _settled(self) -> datetime | None:
        """A moment up to which nothing is written any more; None when a writer takes too long."""
        with self._engine.begin() as connection:
            moment: datetime = connection.execute(_ANNOUNCE).scalar_one()
        try:
            for shard in range(self._shards):
                with self._waiting() as connection:
                    lock_shard(connection, shard)
            with self._waiting() as connection:
                connection.execute(text("SELECT pg_advisory_xact_lock(:space, 0)"), {"space": ACTS_LOCK_SPACE})
        except OperationalError as error:
            if isinstance(error.orig, LockNotAvailable):
                return None
            raise
        return moment

    @contextmanager
    def _waiting(self) -> Iterator[Connection]:
        with self._engine.begin() as connection:
            milliseconds = str(int(LOCK_SECONDS * 1000))
            connection.execute(text("SELECT set_config('lock_timeout', :ms, true)"), {"ms": milliseconds})
            yield connection

    def _made(self, before: Seal | None, upto: datetime, hashes: Sequence[bytes]) -> Seal:
        number = before.number + 1 if before else 1
        previous = before.hash if before else GENESIS
        root = Tree(hashes).root
        digest = sha256(head_of(number, upto, len(hashes), root, previous)).digest()
        return Seal(number, upto, len(hashes), root, previous, digest, self._keys.key_id, self._keys.sign(digest))


def _beginning(connection: Connection) -> datetime | None:
    """A moment just before the first row; None when there is none."""
    moment: datetime | None = connection.execute(
        text(
            "SELECT least((SELECT min(created_at) FROM score_history), (SELECT min(created_at) FROM acts))"
            " - interval '1 microsecond'"
        )
    ).scalar_one()
    return moment


def _enough(connection: Connection, since: datetime, upto: datetime) -> datetime:
    """How far a seal can go with no more rows than one may have, and some.

    A batch has one time for all of its rows, so the least a stretch can hold is a batch or two.
    """
    if _rows(connection, since, upto) <= ROWS_MOST:
        return upto
    empty, full = since, upto  # nothing up to the one, too much up to the other
    while full - empty > _STRETCH_LEAST:
        middle = empty + (full - empty) / 2
        rows = _rows(connection, since, middle)
        if rows > ROWS_MOST:
            full = middle
        elif rows:
            return middle
        else:
            empty = middle
    return full


def _rows(connection: Connection, since: datetime, upto: datetime) -> int:
    """Of history in a stretch; more than a seal may have are not counted."""
    rows: int = connection.execute(
        text(
            "SELECT count(*) FROM (SELECT FROM score_history WHERE created_at > :since AND created_at <= :upto"
            " LIMIT :most) AS those"
        ),
        {"since": since, "upto": upto, "most": ROWS_MOST + 1},
    ).scalar_one()
    return rows


def _insert(connection: Connection, seal: Seal, packed: bytes) -> None:
    connection.execute(
        text(
            "INSERT INTO seals (number, upto, rows, leaves, root, previous, hash, key_id, signature, sealed_at)"
            " VALUES (:number, :upto, :rows, :leaves, :root, :previous, :hash, :key_id, :signature, clock_timestamp())"
        ),
        {
            "number": seal.number,
            "upto": seal.upto,
            "rows": seal.rows,
            "leaves": packed,
            "root": seal.root,
            "previous": seal.previous,
            "hash": seal.hash,
            "key_id": seal.key_id,
            "signature": seal.signature,
        },
    )


def seal_of(row: Row[Any]) -> Seal:
    """A row of `seals`."""
    return Seal(
        row.number,
        row.upto,
        row.rows,
        bytes(row.root),
        bytes(row.previous),
        bytes(row.hash),
        row.key_id,
        bytes(row.signature),
    )


def hashes_of(packed: bytes) -> list[bytes]:
    """The hashes of a seal's leaves, as they lie in its row."""
    size = ID_BYTES + HASH_BYTES
    return [packed[at + ID_BYTES : at + size] for at in range(0, len(packed), size)]


def leaves_of(packed: bytes) -> list[Leaf]:
    """A seal's leaves, as they lie in its row."""
    size = ID_BYTES + HASH_BYTES
    return [Leaf(packed[at : at + ID_BYTES], packed[at + ID_BYTES : at + size]) for at in range(0, len(packed), size)]
