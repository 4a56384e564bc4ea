"""Checks the audit trail: every seal, every row it closes over, and every row since; names what does not fit."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from hashlib import sha256
from typing import Final, Literal
from uuid import UUID

from sqlalchemy import Connection, Engine, text

from models.guard.audit import GENESIS, AuditKeys, Leaf, Seal, contents, hashes_of, head_of, leaves_of, seal_of
from models.guard.merkle import Tree, leaf_hash
from models.observers import nobody
from models.pipeline.vouching import vouch

What = Literal["changed", "removed", "put in", "not vouched for", "seal broken", "seal missing", "score differs"]
#: Faults that are named; of more only the number.
NAMED_MOST: Final = 1_000


@dataclass(frozen=True, slots=True)
class Fault:
    """Something that is not as it was written: what, of which row or seal, and how it shows."""

    what: What
    where: str
    how: str


@dataclass(slots=True)
class Report:
    """What a check found."""

    seals: int = 0
    rows: int = 0  # that were there, and compared
    unsealed: int = 0  # of these, written since the last seal
    detached: int = 0  # sealed, in months that are not attached now
    last_seal: Seal | None = None
    faults: list[Fault] = field(default_factory=list)
    faults_in_all: int = 0

    def add(self, what: What, where: str, how: str) -> None:
        """Note a fault."""
        self.faults_in_all += 1
        if len(self.faults) < NAMED_MOST:
            self.faults.append(Fault(what, where, how))


class AuditCheck:
    """Reads everything; changes nothing."""

    def __init__(self, engine: Engine, keys: AuditKeys, vouch_keys: Sequence[bytes]) -> None:
        self._engine = engine
        self._keys = keys
        self._vouch_keys = vouch_keys

    def check(self, anchor: tuple[int, bytes] | None = None, on_rows: Callable[[int], object] = nobody) -> Report:
        """Check all of it, as it is at one moment.

        Args:
            anchor: number and hash of a seal that was written down elsewhere: it must be in the chain, which shows that
                nobody took the end of it away.
            on_rows: hears how many rows were compared so far.
        """
        report = Report()
        with self._engine.connect().execution_options(isolation_level="REPEATABLE READ") as connection:
            months = _attached(connection)
            since: datetime | None = None
            previous, number = GENESIS, 0
            for seal, packed in _seals(connection):
                self._check_seal(report, seal, packed, previous, number)
                _compare(report, connection, since, seal, packed, months)
                if number:  # what is older than the first seal may be older than the codes
                    self._check_vouched(report, connection, since, seal.upto)
                on_rows(report.rows)
                since, previous, number = seal.upto, seal.hash, seal.number
                report.last_seal = seal
                if anchor is not None and anchor[0] == seal.number and anchor[1] != seal.hash:
                    report.add("seal broken", f"seal {seal.number}", "is not the one that was written down")
            if anchor is not None and anchor[0] > number:
                report.add("seal missing", f"seal {anchor[0]}", "was written down and is not there any more")
            report.unsealed = self._check_vouched(report, connection, since, None)
            report.rows += report.unsealed
            on_rows(report.rows)
            for where, how in _scores_that_differ(connection):
                report.add("score differs", where, how)
        return report

    def _check_seal(self, report: Report, seal: Seal, packed: bytes, previous: bytes, number: int) -> None:
        where = f"seal {seal.number}"
        report.seals += 1
        if seal.number != number + 1:
            report.add("seal missing", f"seal {number + 1}", f"the next one there is {seal.number}")
        elif seal.previous != previous:
            report.add("seal broken", where, "does not follow the one before it")
        digest = sha256(head_of(seal.number, seal.upto, seal.rows, seal.root, seal.previous)).digest()
        if digest != seal.hash:
            report.add("seal broken", where, "is not what its hash is over")
        if not self._keys.signed(seal.key_id, seal.hash, seal.signature):
            report.add("seal broken", where, f"is not signed by the audit key {seal.key_id!r}")
        sealed = hashes_of(packed)
        if len(sealed) != seal.rows or Tree(sealed).root != seal.root:
            report.add("seal broken", where, "its list of rows is not the one it was made over")

    def _check_vouched(
        self, report: Report, connection: Connection, since: datetime | None, upto: datetime | None
    ) -> int:
        """Whether each update was accepted by the service; returns how many rows there are."""
        rows = 0
        for row_id, content in contents(connection, since, upto):
            rows += 1
            lines = content.decode().split("\n")
            if lines[1] == "history" and not self._is_vouched(lines):
                report.add("not vouched for", str(UUID(bytes=row_id)), "the service never accepted this update")
        return rows

    def _is_vouched(self, lines: list[str]) -> bool:
        (user_id, action_id, action, value), (signature, nonce, request_id, code) = _pick(lines)
        parts = (
            user_id,
            action_id,
            action,
            int(value),
            None if nonce == "-" else nonce,
            None if signature == "-" else bytes.fromhex(signature),
            request_id,
        )
        return any(vouch(key, *parts).hex() == code for key in self._vouch_keys)


def _pick(lines: list[str]) -> tuple[tuple[str, str, str, str], tuple[str, str, str, str]]:
    """User, action_id, action and value, and signature, nonce, request id and code of a row's lines (leaves.sql)."""
    return (lines[3], lines[7], lines[8], lines[9]), (lines[13], lines[14], lines[15], lines[16])


def _seals(connection: Connection) -> Iterator[tuple[Seal, bytes]]:
    number = 0
    while True:  # one by one: the list of a seal's rows has megabytes
        row = connection.execute(
            text("SELECT * FROM seals WHERE number > :number ORDER BY number LIMIT 1"), {"number": number}
        ).first()
        if row is None:
            return
        number = row.number
        yield seal_of(row), bytes(row.leaves)


def _compare(
    report: Report,
    connection: Connection,
    since: datetime | None,
    seal: Seal,
    packed: bytes,
    months: list[tuple[datetime, datetime]],
) -> None:
    """The rows that are there against those that were sealed."""
    sealed = {leaf.id: leaf for leaf in leaves_of(packed)}
    for row_id, content in contents(connection, since, seal.upto):
        report.rows += 1
        leaf = sealed.pop(row_id, None)
        if leaf is None:
            report.add("put in", str(UUID(bytes=row_id)), f"was not there when seal {seal.number} was made")
        elif leaf.hash != leaf_hash(content):
            report.add("changed", str(UUID(bytes=row_id)), f"is not what seal {seal.number} closes over")
    for leaf in sealed.values():
        if _is_attached(leaf, months):
            report.add("removed", str(UUID(bytes=leaf.id)), f"seal {seal.number} closes over it")
        else:
            report.detached += 1


def _attached(connection: Connection) -> list[tuple[datetime, datetime]]:
    first, last = datetime.min.replace(tzinfo=UTC), datetime.max.replace(tzinfo=UTC)
    rows = connection.execute(text("SELECT since, until FROM score_history_months"))
    return [(row.since or first, row.until or last) for row in rows]


def _is_attached(leaf: Leaf, months: list[tuple[datetime, datetime]]) -> bool:
    """Whether the month that a row was written in is there; its id begins with the milliseconds (RFC 9562 §5.7)."""
    written = datetime.fromtimestamp(int.from_bytes(leaf.id[:6]) / 1000, UTC)
    return any(since <= written < until for since, until in months)


def _scores_that_differ(connection: Connection) -> list[tuple[str, str]]:
    """Scores that are not what their last row of history left; those of detached months are not looked at."""
    rows = connection.execute(
        text(
            "SELECT s.user_id::text, s.board, s.season, s.score, s.version, h.new_score, h.version AS written"
            " FROM scores s LEFT JOIN LATERAL (SELECT new_score, version FROM score_history h"
            "   WHERE h.user_id = s.user_id AND h.board = s.board AND h.season = s.season"
            "   ORDER BY version DESC LIMIT 1) AS h ON true"
            " WHERE (h.new_score, h.version) IS DISTINCT FROM (s.score, s.version) AND s.last_action_at >="
            "   (SELECT CASE WHEN bool_and(since IS NOT NULL) THEN min(since) ELSE '-infinity' END"
            "     FROM score_history_months)"
            " ORDER BY 1, 2 LIMIT :most"
        ),
        {"most": NAMED_MOST},
    )
    return [
        (
            f"{row.user_id} on {row.board}",
            f"is {row.score} at version {row.version}; its history ends with {row.new_score} at {row.written}",
        )
        for row in rows
    ]
