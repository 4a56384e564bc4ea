"""Dead letters as operators see them: what could not be applied is retried, or dropped with a reason.

A letter that is retried goes back into the inbox in the statement that takes it out of here, under the `action_id` it
was accepted with. Whoever comes second finds none, and the keys of all that was ever accepted stay as they are: it
counts once, however often and by how many it is retried (I2, I3). What cannot be applied then either is parked anew.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Final, Literal, NamedTuple

from sqlalchemy import Connection, text

from models.errors import NotFound

State = Literal["waiting", "dropped"]

_COLUMNS: Final = (
    "d.user_id::text, u.username, d.action_id, d.action, d.value, d.code, d.detail, d.attempts, d.request_id,"
    " d.accepted_at, d.parked_at, d.dropped_at, d.dropped_by, d.dropped_reason"
)
_THOSE: Final = (
    "unnest(CAST(:user_ids AS uuid[]), CAST(:action_ids AS text[])) AS t (user_id, action_id)"
    " WHERE d.user_id = t.user_id AND d.action_id = t.action_id"
)
#: The inbox's age says how far the workers are behind, not how long operators took: as far as it is concerned a letter
#: arrives now. An address is kept for so long from then on, so one that is not of today is left behind.
_RETRY: Final = f"""
WITH taken AS (
    DELETE FROM dead_letters d USING unnest(CAST(:user_ids AS uuid[]), CAST(:action_ids AS text[]),
        CAST(:shards AS smallint[])) AS t (user_id, action_id, shard)
    WHERE d.user_id = t.user_id AND d.action_id = t.action_id
        AND 0 = (SELECT count(*) FROM score_history h WHERE h.user_id = d.user_id AND h.action_id = d.action_id
            AND h.created_at >= d.accepted_at - interval '1 day')
    RETURNING d.*, t.shard AS its_shard
),
put_back AS (
    INSERT INTO inbox (shard, user_id, action_id, action, value, signature, nonce, ip_address, request_id, vouch,
        accepted_at)
    SELECT its_shard, user_id, action_id, action, value, signature, nonce,
        CASE WHEN accepted_at > clock_timestamp() - interval '1 day' THEN ip_address END, request_id, vouch,
        clock_timestamp()
    FROM taken ORDER BY accepted_at
)
SELECT {_COLUMNS} FROM taken d LEFT JOIN users u ON u.id = d.user_id ORDER BY d.accepted_at
"""  # noqa: S608 - constants


class Key(NamedTuple):
    """Which update: an `action_id` is one player's."""

    user_id: str
    action_id: str


@dataclass(frozen=True, slots=True)
class Letter:
    """One of them; `username` is None for an update of nobody."""

    user_id: str
    username: str | None
    action_id: str
    action: str
    value: int
    code: str
    detail: str
    attempts: int
    request_id: str
    accepted_at: datetime
    parked_at: datetime
    dropped_at: datetime | None
    dropped_by: str | None
    dropped_reason: str | None

    @property
    def state(self) -> State:
        """Whether somebody is to look at it."""
        return "waiting" if self.dropped_at is None else "dropped"


class Place(NamedTuple):
    """The last letter of the page before: older ones follow."""

    parked_at: datetime
    user_id: str
    action_id: str


@dataclass(frozen=True, slots=True)
class Cause:
    """How many wait for the same reason."""

    code: str
    updates: int
    oldest_parked_at: datetime
    newest_parked_at: datetime


def waiting(connection: Connection) -> int:
    """How many wait for somebody to look."""
    count: int = connection.execute(text("SELECT count(*) FROM dead_letters WHERE dropped_at IS NULL")).scalar_one()
    return count


def causes(connection: Connection) -> list[Cause]:
    """Why those wait that do, the most frequent first."""
    rows = connection.execute(
        text(
            "SELECT code, count(*), min(parked_at), max(parked_at) FROM dead_letters WHERE dropped_at IS NULL"
            " GROUP BY code ORDER BY count(*) DESC, code"
        )
    )
    return [Cause(*row) for row in rows]


def listed(
    connection: Connection,
    *,
    state: State = "waiting",
    code: str | None = None,
    user_id: str | None = None,
    before: Place | None = None,
    limit: int = 50,
) -> list[Letter]:
    """Those of a state, of one cause or player or of all; the last parked first."""
    rows = connection.execute(
        text(
            f"SELECT {_COLUMNS} FROM dead_letters d LEFT JOIN users u ON u.id = d.user_id"  # noqa: S608 - constants
            f" WHERE d.dropped_at IS {'NULL' if state == 'waiting' else 'NOT NULL'}"
            " AND (CAST(:code AS text) IS NULL OR d.code = :code)"
            " AND (CAST(:user_id AS uuid) IS NULL OR d.user_id = CAST(:user_id AS uuid))"
            " AND (CAST(:parked_at AS timestamptz) IS NULL"
            "   OR (d.parked_at, d.user_id, d.action_id) < (:parked_at, CAST(:place_of AS uuid), :action_id))"
            " ORDER BY d.parked_at DESC, d.user_id DESC, d.action_id DESC LIMIT :limit"
        ),
        {
            "code": code,
            "user_id": user_id,
            "parked_at": before.parked_at if before else None,
            "place_of": before.user_id if before else None,
            "action_id": before.action_id if before else None,
            "limit": limit,
        },
    )
    return [Letter(*row) for row in rows]


def found(connection: Connection, key: Key) -> Letter:
    """One of them, in whichever state.

    Raises:
        NotFound: there is none.
    """
    row = connection.execute(
        text(
            f"SELECT {_COLUMNS} FROM dead_letters d LEFT JOIN users u ON u.id = d.user_id"  # noqa: S608 - constants
            " WHERE d.user_id = CAST(:user_id AS uuid) AND d.action_id = :action_id"
        ),
        key._asdict(),
    ).first()
    if row is None:
        raise NotFound("There is no such dead letter.")
    return Letter(*row)


def keys_waiting(connection: Connection, *, code: str | None, user_id: str | None) -> list[Key]:
    """Which wait, of one cause or player or of both, the oldest first."""
    rows = connection.execute(
        text(
            "SELECT user_id::text, action_id FROM dead_letters WHERE dropped_at IS NULL"
            " AND (CAST(:code AS text) IS NULL OR code = :code)"
            " AND (CAST(:user_id AS uuid) IS NULL OR user_id = CAST(:user_id AS uuid)) ORDER BY parked_at, user_id"
        ),
        {"code": code, "user_id": user_id},
    )
    return [Key(*row) for row in rows]


def retry(connection: Connection, keys: Sequence[tuple[Key, int]]) -> list[Letter]:
    """Put letters, waiting or dropped, back into the inbox, each into its shard; returns those that were here."""
    return [
        Letter(*row)
        for row in connection.execute(
            text(_RETRY), _columns([key for key, _ in keys]) | {"shards": [shard for _, shard in keys]}
        )
    ]


def drop(connection: Connection, keys: Sequence[Key], *, by: str, reason: str) -> list[Key]:
    """Have letters wait for nobody any more; returns those that did."""
    rows = connection.execute(
        text(
            "UPDATE dead_letters d SET dropped_at = clock_timestamp(), dropped_by = :by, dropped_reason = :reason"  # noqa: S608 - constants
            f" FROM {_THOSE} AND d.dropped_at IS NULL RETURNING d.user_id::text, d.action_id"
        ),
        _columns(keys) | {"by": by, "reason": reason},
    )
    return [Key(*row) for row in rows]


def keep(connection: Connection, keys: Sequence[Key]) -> list[Key]:
    """Undo that; returns those that were dropped."""
    rows = connection.execute(
        text(
            "UPDATE dead_letters d SET dropped_at = NULL, dropped_by = NULL, dropped_reason = NULL"  # noqa: S608 - constants
            f" FROM {_THOSE} AND d.dropped_at IS NOT NULL RETURNING d.user_id::text, d.action_id"
        ),
        _columns(keys),
    )
    return [Key(*row) for row in rows]


def _columns(keys: Sequence[Key]) -> dict[str, object]:
    return {"user_ids": [key.user_id for key in keys], "action_ids": [key.action_id for key in keys]}
