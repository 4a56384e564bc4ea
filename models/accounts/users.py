"""Players: registering them, finding them, and their signature keys."""

from __future__ import annotations

import os
import re
import threading
from collections import OrderedDict
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final
from uuid import uuid4

from sqlalchemy import Connection, Engine, text
from sqlalchemy.exc import IntegrityError

from models.accounts.keys import SECRET_KEY_BYTES, KeyCipher, SealedKey
from models.errors import AlreadyExists, FieldError, NotFound
from models.storage.database import BoundedConnection
from models.storage.prepared import Prepared, text_array

#: Decrypted keys of the most recent players a process keeps: about 10 MB when full.
KEYS_REMEMBERED: Final = 50_000
#: Ids of players whom batches were for: about 12 MB when full; then it begins anew.
PLAYERS_REMEMBERED: Final = 100_000
#: Stands after each character that a name may have.
_AFTER_ALL: Final = "\x7f"
_ID: Final = re.compile(r"\A[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}\Z")


_KEYS: Final = Prepared(
    "keys", "SELECT id::text, secret_key_kid, encode(secret_key, 'hex') FROM users WHERE id = ANY($1::uuid[])"
)


@dataclass(frozen=True, slots=True)
class User:
    """A player as operators see one."""

    user_id: str
    username: str
    email: str
    created_at: datetime
    hidden_at: datetime | None
    erased_at: datetime | None
    blocked_since: datetime | None


@dataclass(frozen=True, slots=True)
class Registered:
    """A new player; the key is shown this once."""

    user_id: str
    username: str
    secret_key: bytes


class Users:
    """The players' store and the memory of their keys."""

    def __init__(self, engine: Engine, cipher: KeyCipher) -> None:
        self._engine = engine
        self._cipher = cipher
        self._keys: OrderedDict[str, bytes] = OrderedDict()
        self._lock = threading.Lock()
        self._players: set[str] = set()

    def register(self, connection: Connection, username: str, email: str) -> Registered:
        """Add a player with a fresh signature key.

        Raises:
            AlreadyExists: the name or the address is taken, without regard to case.
        """
        user_id, secret_key = str(uuid4()), os.urandom(SECRET_KEY_BYTES)
        sealed = self._cipher.seal(secret_key, user_id)
        try:
            connection.execute(
                text(
                    "INSERT INTO users (id, username, email, secret_key, secret_key_kid)"
                    " VALUES (:id, :username, :email, :secret_key, :kid)"
                ),
                {
                    "id": user_id,
                    "username": username,
                    "email": email,
                    "secret_key": sealed.ciphertext,
                    "kid": sealed.kid,
                },
            )
        except IntegrityError as error:
            member = "email" if "users_email_key" in str(error.orig) else "username"
            raise AlreadyExists(f"That {member} is taken.", errors=(FieldError(f"/{member}", "is taken"),)) from error
        return Registered(user_id, username, secret_key)

    def knows_key(self, user_id: str) -> bool:
        """Whether `secret_key` needs no Postgres for this player."""
        return user_id in self._keys

    def secret_key(self, user_id: str) -> bytes:
        """The player's signature key, from memory or from Postgres.

        Raises:
            NotFound: no such player.
            KeyUnreadable: the stored key does not open.
        """
        key = self._keys.get(user_id)
        if key is None:
            with self._engine.connect() as connection:
                row = connection.execute(
                    text("SELECT secret_key, secret_key_kid FROM users WHERE id = :id"), {"id": user_id}
                ).first()
            if row is None:
                raise NotFound("There is no such player.")
            key = self._remember(user_id, SealedKey(row.secret_key_kid, bytes(row.secret_key)))
        return key

    def learn_keys(self, connection: BoundedConnection[Any], user_ids: list[str]) -> None:
        """Read these players' keys in one round trip, so that `knows_key` of them; unknown players are left out.

        Raises:
            psycopg.Error, KeyUnreadable.
        """
        for user_id, kid, digits in _KEYS.execute(connection, (text_array(user_ids),)):
            self._remember(user_id, SealedKey(kid, bytes.fromhex(digits)))

    def _remember(self, user_id: str, sealed: SealedKey) -> bytes:
        key = self._cipher.open(sealed, user_id)
        with self._lock:
            self._keys[user_id] = key
            while len(self._keys) > KEYS_REMEMBERED:
                self._keys.popitem(last=False)
        return key

    def forget_keys(self, user_ids: Sequence[str]) -> None:
        """Read these players' keys anew at their next use."""
        with self._lock:
            for user_id in user_ids:
                self._keys.pop(user_id, None)

    def change_key(self, connection: Connection, user_id: str) -> bytes:
        """Give a player another signature key, which holds everywhere within a second (I10); the old one is gone.

        Raises:
            NotFound: no such player.
        """
        secret_key = os.urandom(SECRET_KEY_BYTES)
        sealed = self._cipher.seal(secret_key, user_id)
        result = connection.execute(
            text(
                "UPDATE users SET secret_key = :secret_key, secret_key_kid = :kid, key_changed_at = clock_timestamp(),"
                " updated_at = now() WHERE id = :id AND erased_at IS NULL"
            ),
            {"secret_key": sealed.ciphertext, "kid": sealed.kid, "id": user_id},
        )
        if result.rowcount == 0:
            raise NotFound("There is no such player.")
        return secret_key

    def nobodys_key(self, user_id: str) -> tuple[str, bytes]:
        """A sealed key that nobody was ever told, with the name of what it is sealed under."""
        sealed = self._cipher.seal(os.urandom(SECRET_KEY_BYTES), user_id)
        return sealed.kid, sealed.ciphertext

    def reseal(self, connection: Connection, most: int) -> int:
        """Put up to `most` keys that are under an older encryption key under the first one; returns how many.

        Raises:
            KeyUnreadable: one of them does not open; none of them was changed.
        """
        rows = connection.execute(
            text(
                "SELECT id, secret_key, secret_key_kid FROM users WHERE secret_key_kid <> :kid ORDER BY id LIMIT :most"
                " FOR UPDATE SKIP LOCKED"
            ),
            {"kid": self._cipher.sealing_kid, "most": most},
        ).all()
        for row in rows:
            user_id = str(row.id)
            key = self._cipher.open(SealedKey(row.secret_key_kid, bytes(row.secret_key)), user_id)
            sealed = self._cipher.seal(key, user_id)
            connection.execute(
                text("UPDATE users SET secret_key = :secret_key, secret_key_kid = :kid WHERE id = :id"),
                {"secret_key": sealed.ciphertext, "kid": sealed.kid, "id": user_id},
            )
        return len(rows)

    def by_name(self, username: str) -> User:
        """The same, who must be there.

        Raises:
            NotFound: no such player.
        """
        user = self.find(username)
        if user is None:
            raise NotFound(f"There is no player named {username!r}.")
        return user

    def find(self, username: str) -> User | None:
        """A player by name, without regard to case."""
        if "\0" in username:  # which PostgreSQL's text cannot hold, so nobody is called that
            return None
        with self._engine.connect() as connection:
            row = connection.execute(
                text(_SELECT + " WHERE lower(username) = lower(:name)"), {"name": username}
            ).first()
        return None if row is None else User(str(row.id), *row[1:])

    def existing(self, user_ids: list[str]) -> set[str]:
        """Those of the ids that are players', from memory (nobody ceases to be one) or else from Postgres."""
        asked = set(user_ids)
        if unknown := asked - self._players:
            with self._engine.connect() as connection:
                rows = connection.execute(  # as text: 3 µs less a player than as UUID
                    text("SELECT id::text FROM users WHERE id = ANY(CAST(:ids AS uuid[]))"),
                    {"ids": text_array(list(unknown))},
                )
                found = set(rows.scalars())
            asked -= unknown - found
            if len(self._players) + len(found) > PLAYERS_REMEMBERED:
                self._players = set()
            self._players |= found
        return asked

    def by_id(self, user_id: str) -> User | None:
        """A player by id."""
        with self._engine.connect() as connection:
            row = connection.execute(text(_SELECT + " WHERE id = CAST(:id AS uuid)"), {"id": user_id}).first()
        return None if row is None else User(str(row.id), *row[1:])

    def beginning_with(self, beginning: str, *, after: str | None = None, limit: int = 50) -> list[User]:
        """Players whose name begins so, without regard to case, in the order of their names.

        Args:
            after: the last name of the page before.
        """
        with self._engine.connect() as connection:
            rows = connection.execute(
                text(
                    _SELECT + " WHERE lower(username) ~>=~ lower(:beginning)"
                    " AND lower(username) ~<~ (lower(:beginning) || :end)"
                    " AND (CAST(:after AS text) IS NULL OR lower(username) ~>~ lower(:after))"
                    " ORDER BY lower(username) USING ~<~ LIMIT :limit"
                ),
                {"beginning": beginning, "end": _AFTER_ALL, "after": after, "limit": limit},
            )
            return [User(str(row.id), *row[1:]) for row in rows]

    def names(self, user_ids: Collection[str]) -> dict[str, str]:
        """The names of those of the ids that are players'; what is no id is left out."""
        ids = [each for each in user_ids if _ID.match(each)]
        if not ids:
            return {}
        with self._engine.connect() as connection:
            rows = connection.execute(
                text("SELECT id::text, username FROM users WHERE id = ANY(CAST(:ids AS uuid[]))"), {"ids": ids}
            )
            return {row.id: row.username for row in rows}

    def newest(self, limit: int) -> list[User]:
        """The players who registered last."""
        with self._engine.connect() as connection:
            rows = connection.execute(text(_SELECT + " ORDER BY created_at DESC LIMIT :limit"), {"limit": limit})
            return [User(str(row.id), *row[1:]) for row in rows]


_SELECT: Final = (
    "SELECT id, username, email, created_at, hidden_at, erased_at, (SELECT imposed_at FROM restrictions r"
    " WHERE r.subject_kind = 'user' AND r.subject = users.id::text AND r.kind = 'block' AND r.lifted_at IS NULL"
    " AND (r.ends_at IS NULL OR r.ends_at > now())) AS blocked_since FROM users"
)
