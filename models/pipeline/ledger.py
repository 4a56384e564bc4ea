"""The ledger: scores and their append-only history, and what became of each update (I4)."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Any, Final, Literal

import msgspec
import psycopg
from sqlalchemy import Connection, text

from models.boards.places import Standing

_APPLY: Final = (Path(__file__).parent / "sql" / "apply.sql").read_text("utf-8").encode()


@dataclass(frozen=True, slots=True)
class Worth:
    """What one unit of an action's value counts on one board's season."""

    action: str
    board: str
    season: int
    points: int


class AppliedUpdate(msgspec.Struct, frozen=True, gc=False):
    """One new history row, as its player's sockets need it. `accepted_at` is Unix µs."""

    user_id: str
    board: str
    season: int
    action_id: str
    previous_score: int
    score_increment: int
    new_score: int
    request_id: str
    accepted_at: int


#: A board and a season of it.
BoardSeason = tuple[str, int]


@dataclass(frozen=True, slots=True)
class Batch:
    """What one transaction settled; `refresh_id` marks that Redis is still to be told of the standings."""

    refresh_id: int | None
    claimed: int
    parked: int
    held: int = 0
    applied: tuple[AppliedUpdate, ...] = ()
    standings: Mapping[BoardSeason, list[Standing]] = field(default_factory=dict)
    ran_ns: tuple[int, int] | None = None  # from when until when, Unix ns, where tracing is on


@dataclass(frozen=True, slots=True)
class Window:
    """Which rows of a shard a batch may take: `after` < seq <= `upto`, at most `most`."""

    most: int
    after: int = 0
    upto: int = 2**63 - 1


def apply(
    connection: psycopg.Connection[Any],
    *,
    shard: int,
    window: Window,
    worths: Sequence[Worth],
    refreshed: Sequence[int],
) -> psycopg.Cursor[Any]:
    """Apply the oldest updates of a shard in the caller's transaction; in a pipeline, this only asks for it.

    Args:
        refreshed: marks of earlier batches that Redis has been told of; they are taken away.

    Returns:
        What `applied` reads.

    Raises:
        psycopg.Error: nothing was applied; the transaction must be rolled back.
    """
    return connection.execute(
        _APPLY,
        {
            "shard": shard,
            "after": window.after,
            "upto": window.upto,
            "most": window.most,
            "actions": [w.action for w in worths],
            "boards": [w.board for w in worths],
            "seasons": [w.season for w in worths],
            "points": [w.points for w in worths],
            "refreshed": list(refreshed),
        },
    )


def applied(answer: psycopg.Cursor[Any]) -> Batch:
    """What a batch did."""
    updates: list[AppliedUpdate] = []
    standings: dict[BoardSeason, list[Standing]] = {}
    refresh_id, claimed, parked, held = None, 0, 0, 0
    for row in answer.fetchall():
        if row[0] == "applied":
            updates.append(AppliedUpdate(*row[4:]))
        elif row[0] == "standing":
            user_id, board, season, name, score, version, _, _, reached_at = row[4:]
            hidden, username = name[0] == "-", name[1:]  # one look at the player's row for both
            standing = Standing(user_id, username, score, reached_at, version, hidden)
            standings.setdefault((board, season), []).append(standing)
        else:
            _, refresh_id, claimed, parked, _, _, _, _, held, *_ = row
    return Batch(refresh_id, claimed, parked, held, tuple(updates), standings)


def unrefreshed(connection: Connection, user_ids: Sequence[str]) -> set[str]:
    """Those of the players in committed batches that Redis was not surely told of yet."""
    rows = connection.execute(
        text(
            "SELECT DISTINCT player FROM refreshes, unnest(user_ids) AS player"
            " WHERE user_ids && CAST(:user_ids AS uuid[]) AND player = ANY(CAST(:user_ids AS uuid[]))"
        ),
        {"user_ids": list(user_ids)},
    )
    return {str(user_id) for user_id in rows.scalars()}


@dataclass(frozen=True, slots=True)
class Result:
    """What an applied update did on one board; `told_rank` is what an answer with results has said already."""

    board: str
    previous_score: int
    score_increment: int
    new_score: int
    told_rank: int | None = None


@dataclass(frozen=True, slots=True)
class Outcome:
    """What became of an accepted update; applied without results when its month of history was taken out."""

    status: Literal["queued", "applied", "rejected"]
    results: tuple[Result, ...] = ()
    code: str | None = None
    detail: str | None = None


def outcome(connection: Connection, user_id: str, action_id: str) -> Outcome | None:
    """What became of an update; None when it was never accepted. One statement, so one moment.

    Only the months since its acceptance are looked into (a day more, for clocks that were set back). An old update of
    which there is neither history nor a dead letter either waits still, which the inbox or the quarantine itself says
    then, or was applied in a month that an operator has detached.
    """
    rows = connection.execute(
        text(
            "WITH k AS (SELECT accepted_at FROM inbox_keys WHERE user_id = :user_id AND action_id = :action_id)"
            " SELECT h.board, h.previous_score, h.score_increment, h.new_score,"
            " CAST(t.ranks ->> h.board AS bigint) AS told_rank, d.code, d.detail,"
            " CASE WHEN h.board IS NULL AND d.code IS NULL AND k.accepted_at < clock_timestamp() - interval '1 day'"
            "   THEN NOT EXISTS (SELECT FROM inbox WHERE user_id = :user_id AND action_id = :action_id)"
            "     AND NOT EXISTS (SELECT FROM quarantine WHERE user_id = :user_id AND action_id = :action_id)"
            "   ELSE false END AS detached"
            " FROM k"
            " LEFT JOIN told_ranks t ON t.user_id = :user_id AND t.action_id = :action_id"
            " LEFT JOIN score_history h ON h.user_id = :user_id AND h.action_id = :action_id"
            "   AND h.created_at >= (SELECT accepted_at - interval '1 day' FROM k)"  # as a value it leaves out months
            " LEFT JOIN dead_letters d ON d.user_id = :user_id AND d.action_id = :action_id ORDER BY h.board"
        ),
        {"user_id": user_id, "action_id": action_id},
    ).all()
    if not rows:
        return None
    results = tuple(Result(*row[:5]) for row in rows if row.board is not None)
    if results or rows[0].detached:
        return Outcome("applied", results)
    if rows[0].code is not None:
        return Outcome("rejected", code=rows[0].code, detail=rows[0].detail)
    return Outcome("queued")


def tell_ranks(connection: Connection, user_id: str, action_id: str, ranks: Mapping[str, int]) -> dict[str, int]:
    """Keep the ranks an answer is about to give, by board; returns those of the first one who did."""
    kept = connection.execute(
        text(
            "INSERT INTO told_ranks AS t (user_id, action_id, ranks)"
            " VALUES (:user_id, :action_id, CAST(:ranks AS jsonb))"
            " ON CONFLICT (user_id, action_id) DO UPDATE SET ranks = t.ranks RETURNING ranks"
        ),
        {"user_id": user_id, "action_id": action_id, "ranks": json.dumps(ranks)},
    )
    return dict(kept.scalar_one())


@dataclass(frozen=True, slots=True)
class LastAction:
    """A player's score on a board and what last changed it."""

    score: int
    last_action_id: str
    last_action_at: datetime


def last_action(connection: Connection, user_id: str, board: str, season: int) -> LastAction | None:
    """A player's row of `scores`; None when the player has no score there."""
    row = connection.execute(
        text(
            "SELECT score, last_action_id, last_action_at FROM scores"
            " WHERE user_id = :user_id AND board = :board AND season = :season"
        ),
        {"user_id": user_id, "board": board, "season": season},
    ).first()
    return None if row is None else LastAction(*row)


def changes(connection: Connection, user_id: str) -> int:
    """How often a player's scores have changed, on all boards: each score counts its changes, and none goes away."""
    count: int = connection.execute(
        text("SELECT coalesce(sum(version), 0)::bigint FROM scores WHERE user_id = :user_id"), {"user_id": user_id}
    ).scalar_one()
    return count


@dataclass(frozen=True, slots=True)
class Score:
    """A player's score in a board's season, and what last changed it."""

    board: str
    season: int
    score: int
    version: int
    last_action_id: str
    last_action_at: datetime


def scores_of(connection: Connection, user_id: str) -> list[Score]:
    """A player's scores in all seasons, the newest season of each board first."""
    rows = connection.execute(
        text(
            "SELECT board, season, score, version, last_action_id, last_action_at FROM scores"
            " WHERE user_id = :user_id ORDER BY board, season DESC LIMIT 200"
        ),
        {"user_id": user_id},
    )
    return [Score(*row) for row in rows]


@dataclass(frozen=True, slots=True)
class HistoryEntry:
    """One row of a player's history."""

    action_id: str
    action: str
    value: int
    board: str
    score_increment: int
    previous_score: int
    new_score: int
    created_at: datetime
    season: int
    version: int


@dataclass(frozen=True, slots=True)
class HistoryCursor:
    """The last row of the page before: rows older than it follow."""

    created_at: datetime
    board: str
    version: int


def history(
    connection: Connection,
    user_id: str,
    seasons: Sequence[tuple[str, int]],
    *,
    before: HistoryCursor | None,
    limit: int,
) -> list[HistoryEntry]:
    """A player's rows on these boards' seasons, newest first; each board is read by its own index, then merged.

    Months after the cursor's are left out; of the others one row is looked at, and more only when their turn comes.
    """
    rows = connection.execute(
        text(
            "SELECT h.* FROM unnest(CAST(:boards AS text[]), CAST(:seasons AS integer[])) AS b (board, season)"
            " CROSS JOIN LATERAL ("
            "   SELECT action_id, action, value, board, score_increment, previous_score, new_score, created_at,"
            "     season, version FROM score_history"
            "   WHERE user_id = :user_id AND board = b.board AND season = b.season"
            "     AND created_at <= coalesce(CAST(:created_at AS timestamptz), 'infinity')"
            "     AND (CAST(:created_at AS timestamptz) IS NULL"
            "       OR (created_at, board, version) < (:created_at, :board, :version))"
            "   ORDER BY version DESC LIMIT :limit) h"
            " ORDER BY h.created_at DESC, h.board DESC, h.version DESC LIMIT :limit"
        ),
        {
            "boards": [board for board, _ in seasons],
            "seasons": [season for _, season in seasons],
            "user_id": user_id,
            "created_at": before.created_at if before else None,
            "board": before.board if before else None,
            "version": before.version if before else None,
            "limit": limit,
        },
    )
    return [HistoryEntry(*row) for row in rows]
