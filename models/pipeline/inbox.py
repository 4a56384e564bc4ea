"""The inbox: what was accepted and is not settled yet, and the keys of all that was ever accepted (I1, I2)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, NamedTuple

import psycopg
from sqlalchemy import Connection, text

from models.accounts.signing import NONCE_SECONDS, SIGN_IN_KEY_PREFIX
from models.storage.database import BoundedConnection
from models.storage.prepared import Prepared, bytes_array, integer_array, text_array

_SQL: Final = Path(__file__).parent / "sql"
_ACCEPT: Final = Prepared("accept", (_SQL / "accept.sql").read_text("utf-8"))
_KNOWN_KEYS: Final = (_SQL / "known_keys.sql").read_text("utf-8").encode()
_PACE: Final = (_SQL / "pace.sql").read_text("utf-8").encode()
_FORGET_NONCES: Final = (_SQL / "forget_nonces.sql").read_text("utf-8")

_ID_CHARACTERS: Final = 36

Key = tuple[str, str]  # user_id, action_id


class Arrival(NamedTuple):
    """An update on its way into the inbox; nonce and signature are None when a game server vouches for it."""

    user_id: str
    action_id: str
    action: str
    value: int
    nonce: str | None
    signature: bytes | None
    address: str | None
    request_id: str
    shard: int
    vouch: bytes
    cooldown_seconds: int

    @property
    def key(self) -> Key:
        """What identifies it: the idempotency key is per user."""
        return self.user_id, self.action_id


@dataclass(frozen=True, slots=True)
class KnownKey:
    """What an action_id or a nonce was accepted for."""

    user_id: str
    action_id: str
    action: str
    value: int
    nonce: str | None


def shard_of(user_id: str, shards: int) -> int:
    """The shard that all updates of a user go through, in order."""
    return int(user_id[:8], 16) % shards


def accept(connection: BoundedConnection[Any], arrivals: Sequence[Arrival]) -> set[Key]:
    """Insert what is new, decided by the unique constraints; returns the keys that were. Keys must be distinct."""
    [(count, keys)] = _ACCEPT.execute(
        connection,
        (
            text_array([a.user_id for a in arrivals]),
            text_array([a.action_id for a in arrivals]),
            text_array([a.action for a in arrivals]),
            integer_array([a.value for a in arrivals]),
            text_array([a.nonce for a in arrivals]),
            bytes_array([a.signature for a in arrivals]),
            text_array([a.address for a in arrivals]),
            text_array([a.request_id for a in arrivals]),
            integer_array([a.shard for a in arrivals]),
            bytes_array([a.vouch for a in arrivals]),
        ),
    )
    if int(count) == len(arrivals):  # as nearly always
        return {arrival.key for arrival in arrivals}
    return {(key[:_ID_CHARACTERS], key[_ID_CHARACTERS:]) for key in keys.split("\n") if key}


def known_keys(cursor: psycopg.Cursor[Any], arrivals: Sequence[Arrival]) -> list[KnownKey]:
    """What is known of the arrivals' action_ids and nonces."""
    cursor.execute(
        _KNOWN_KEYS,
        {
            "user_ids": [a.user_id for a in arrivals],
            "action_ids": [a.action_id for a in arrivals],
            "nonces": [a.nonce for a in arrivals],
        },
    )
    return [KnownKey(*row[:-1]) for row in cursor.fetchall()]


def start_cooldowns(cursor: psycopg.Cursor[Any], arrivals: Sequence[Arrival]) -> dict[Key, float | None]:
    """Start the cool-downs of the arrivals' actions; returns None for those, and the seconds left of those that run.

    Repeats are left out. The arrivals must differ in user or action.
    """
    cursor.execute(
        _PACE,
        {
            "user_ids": [a.user_id for a in arrivals],
            "action_ids": [a.action_id for a in arrivals],
            "actions": [a.action for a in arrivals],
            "seconds": [a.cooldown_seconds for a in arrivals],
        },
    )
    return {(user_id, action_id): seconds for user_id, action_id, seconds in cursor.fetchall()}


def stop_cooldowns(cursor: psycopg.Cursor[Any], arrivals: Sequence[Arrival]) -> None:
    """Take back cool-downs that were started in this transaction."""
    if arrivals:
        cursor.execute(
            "DELETE FROM cooldowns c USING unnest(%s::uuid[], %s::text[]) AS t (user_id, action)"
            " WHERE c.user_id = t.user_id AND c.action = t.action",
            ([a.user_id for a in arrivals], [a.action for a in arrivals]),
        )


@dataclass(frozen=True, slots=True)
class InboxState:
    """How much waits, and how long the oldest row has waited (seconds; 0 when empty)."""

    depth: int
    oldest_age_seconds: float


def state(connection: Connection) -> InboxState:
    """The inbox as it is now."""
    row = connection.execute(
        text(
            "SELECT count(*), coalesce(extract(epoch FROM clock_timestamp() - min(accepted_at)), 0)::float8 FROM inbox"
        )
    ).one()
    return InboxState(row[0], max(0.0, row[1]))


def states(connection: Connection) -> dict[int, InboxState]:
    """The same for each shard that has rows."""
    rows = connection.execute(
        text(
            "SELECT shard, count(*), extract(epoch FROM clock_timestamp() - min(accepted_at))::float8"
            " FROM inbox GROUP BY shard ORDER BY shard"
        )
    )
    return {shard: InboxState(depth, max(0.0, age)) for shard, depth, age in rows}


def waiting_shards(connection: Connection, *, older_than_seconds: float) -> list[int]:
    """The shards that hold rows nobody has settled for that long."""
    rows = connection.execute(
        text(
            "SELECT DISTINCT shard FROM inbox"
            " WHERE accepted_at < clock_timestamp() - make_interval(secs => :seconds) ORDER BY shard"
        ),
        {"seconds": older_than_seconds},
    )
    return [int(shard) for shard in rows.scalars()]


def forget_nonces(connection: Connection, most: int) -> int:
    """Forget up to `most` nonces no valid signature can carry any more, oldest first; returns how many.

    The action_ids stay, so that a repeat gets its first answer at any later time (I2).
    """
    values = {"seconds": NONCE_SECONDS, "most": most, "sign_ins": SIGN_IN_KEY_PREFIX}
    count: int = connection.execute(text(_FORGET_NONCES), values).scalar_one()
    return count


def forget_cooldowns(connection: Connection, most: int) -> int:
    """Delete up to `most` cool-downs that have ended; returns how many."""
    return connection.execute(
        text(
            "DELETE FROM cooldowns WHERE ctid = ANY (ARRAY("
            "  SELECT ctid FROM cooldowns WHERE until < now() - interval '1 minute'"
            "  ORDER BY until LIMIT :most FOR UPDATE SKIP LOCKED))"
        ),
        {"most": most},
    ).rowcount
