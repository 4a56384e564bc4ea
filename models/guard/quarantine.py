"""Accepted updates that are held back from the boards: the drain puts them here (apply.sql), an operator lets them go.

Until then their state is `queued`. Released they go back into the inbox, rejected they become dead letters that an
operator has dropped (letters.py); either way each leaves in the transaction that puts it elsewhere (I3).
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Final

from sqlalchemy import Connection, text

REJECTED: Final = "rejected_by_operator"
_CARRIED: Final = "user_id, action_id, shard, action, value, signature, nonce, ip_address, request_id, vouch"


@dataclass(frozen=True, slots=True)
class Held:
    """What of one player waits."""

    user_id: str
    username: str
    updates: int
    oldest_accepted_at: datetime


@dataclass(frozen=True, slots=True)
class HeldUpdate:
    """One update that waits."""

    action_id: str
    action: str
    value: int
    accepted_at: datetime
    request_id: str


def players(connection: Connection, *, after: tuple[datetime, str] | None = None, limit: int = 100) -> list[Held]:
    """Who has updates here, the longest waiting first; `after` is time and id of the last one before."""
    oldest, user_id = after or (None, None)
    rows = connection.execute(
        text(
            "SELECT q.user_id::text, u.username, count(*), min(q.accepted_at) FROM quarantine q"
            " JOIN users u ON u.id = q.user_id GROUP BY q.user_id, u.username"
            " HAVING CAST(:oldest AS timestamptz) IS NULL"
            "   OR (min(q.accepted_at), q.user_id) > (:oldest, CAST(:user_id AS uuid))"
            " ORDER BY min(q.accepted_at), q.user_id LIMIT :limit"
        ),
        {"oldest": oldest, "user_id": user_id, "limit": limit},
    )
    return [Held(*row) for row in rows]


def updates(
    connection: Connection, user_id: str, *, after: tuple[datetime, str] | None = None, limit: int = 100
) -> list[HeldUpdate]:
    """A player's updates here, in the order of acceptance; `after` is time and id of the last one before."""
    accepted_at, action_id = after or (None, None)
    rows = connection.execute(
        text(
            "SELECT action_id, action, value, accepted_at, request_id FROM quarantine WHERE user_id = :user_id"
            " AND (CAST(:accepted_at AS timestamptz) IS NULL OR (accepted_at, action_id) > (:accepted_at, :action_id))"
            " ORDER BY accepted_at, action_id LIMIT :limit"
        ),
        {"user_id": user_id, "accepted_at": accepted_at, "action_id": action_id, "limit": limit},
    )
    return [HeldUpdate(*row) for row in rows]


def release(connection: Connection, user_id: str, shard: int) -> int:
    """Put all that a player has here into the inbox, before what waits there; returns how many.

    The caller holds the shard's lock. As far as the inbox is concerned they arrive now: its age says how far the
    workers are behind, not how long operators took.
    """
    return connection.execute(
        text(
            "WITH released AS (DELETE FROM quarantine WHERE user_id = :user_id RETURNING *),"  # noqa: S608 - constants
            " waiting AS (DELETE FROM inbox WHERE shard = :shard AND user_id = :user_id RETURNING *)"
            f" INSERT INTO inbox ({_CARRIED}, accepted_at)"
            f" SELECT {_CARRIED}, clock_timestamp() FROM ("
            f"   SELECT {_CARRIED}, accepted_at, 0 AS seq FROM released"
            f"   UNION ALL SELECT {_CARRIED}, accepted_at, seq FROM waiting"
            " ) AS those ORDER BY seq, accepted_at"
        ),
        {"user_id": user_id, "shard": shard},
    ).rowcount


def reject(connection: Connection, user_id: str, *, by: str, reason: str) -> int:
    """Have none of what a player has here ever count; returns how many."""
    return connection.execute(
        text(
            "WITH rejected AS (DELETE FROM quarantine WHERE user_id = :user_id RETURNING *)"  # noqa: S608 - constants
            f" INSERT INTO dead_letters ({_CARRIED}, code, detail, attempts, accepted_at, dropped_at, dropped_by,"
            "   dropped_reason)"
            f" SELECT {_CARRIED}, :code, :reason, 0, accepted_at, clock_timestamp(), :by, :reason FROM rejected"
        ),
        {"user_id": user_id, "code": REJECTED, "by": by, "reason": reason},
    ).rowcount
