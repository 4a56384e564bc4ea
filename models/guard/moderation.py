"""Undoes what was wrong: voided updates are taken back, and hidden players leave the boards, as rows of history.

History only grows: a void is a row with what the update had brought, negative; to undo it, one more. Hiding a player is
a row that brings nothing, on each board. All of them go on with the score's versions, so that boards and sockets take
them as they take any update (I4, I5).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Final, Literal

from sqlalchemy import Connection, text

from models.pipeline import vouching

#: Names of actions in the history that are no player's: the catalogue's have no dot.
Change = Literal["moderation.void", "moderation.restore", "moderation.hide", "moderation.show", "moderation.rename"]
#: Begins the action_id of such a row; the `/` keeps it apart from every caller's.
_ID_PREFIX: Final = "act/"
_MODERATE: Final = text((Path(__file__).parent / "sql" / "moderate.sql").read_text("utf-8"))


@dataclass(frozen=True, slots=True)
class Span:
    """Which updates of a player are meant: those of these ids, or of a span of time (`until` no longer in it)."""

    action_ids: Sequence[str] | None = None
    since: datetime | None = None
    until: datetime | None = None


@dataclass(frozen=True, slots=True)
class Counted:
    """What one update brought on one board's season."""

    action_id: str
    board: str
    season: int
    increment: int
    created_at: datetime


@dataclass(frozen=True, slots=True)
class Mark:
    """Under which act, and with which key, rows are written."""

    act: str
    vouch_key: bytes


def countable(connection: Connection, user_id: str, span: Span) -> list[Counted]:
    """A player's updates of a span that count."""
    return _found(connection, user_id, span, void=False)


def voided(connection: Connection, user_id: str, span: Span) -> list[Counted]:
    """Those that are void."""
    return _found(connection, user_id, span, void=True)


def void_among(connection: Connection, user_id: str, action_ids: Sequence[str]) -> set[tuple[str, str]]:
    """Which of a player's updates are void now: their `action_id` and board."""
    rows = connection.execute(
        text("SELECT action_id, board FROM voids WHERE user_id = :user_id AND action_id = ANY(:action_ids)"),
        {"user_id": user_id, "action_ids": list(action_ids)},
    )
    return {(row.action_id, row.board) for row in rows}


def void(connection: Connection, user_id: str, those: Sequence[Counted], mark: Mark) -> None:
    """Take back what these updates brought. The caller holds the shard's lock and has looked them up under it."""
    taken = [(counted.board, counted.season, -counted.increment) for counted in those]
    _append(connection, user_id, taken, "moderation.void", mark)
    connection.execute(
        text(
            "INSERT INTO voids (user_id, action_id, board, act)"
            " SELECT :user_id, t.action_id, t.board, CAST(:act AS uuid)"
            " FROM unnest(CAST(:action_ids AS text[]), CAST(:boards AS text[])) AS t (action_id, board)"
        ),
        _keys(user_id, those) | {"act": mark.act},
    )


def restore(connection: Connection, user_id: str, those: Sequence[Counted], mark: Mark) -> None:
    """Let voided updates count again."""
    given = [(counted.board, counted.season, counted.increment) for counted in those]
    _append(connection, user_id, given, "moderation.restore", mark)
    connection.execute(
        text(
            "DELETE FROM voids v"
            " USING unnest(CAST(:action_ids AS text[]), CAST(:boards AS text[])) AS t (action_id, board)"
            " WHERE v.user_id = :user_id AND v.action_id = t.action_id AND v.board = t.board"
        ),
        _keys(user_id, those),
    )


def set_hidden(connection: Connection, user_id: str, *, hidden: bool, mark: Mark) -> bool:
    """Take a player off all boards, or put them back; False when that is so already."""
    changed = connection.execute(
        text(
            "UPDATE users SET hidden_at = CASE WHEN :hidden THEN clock_timestamp() END, updated_at = now()"
            " WHERE id = :user_id AND (hidden_at IS NULL) = :hidden"
        ),
        {"user_id": user_id, "hidden": hidden},
    ).rowcount
    if not changed:
        return False
    rename(connection, user_id, mark, "moderation.hide" if hidden else "moderation.show")
    return True


def rename(connection: Connection, user_id: str, mark: Mark, change: Change = "moderation.rename") -> None:
    """Have boards show a player anew: a row that brings nothing, with the next version, on each board (I5)."""
    rows = connection.execute(
        text("SELECT board, season FROM scores WHERE user_id = :user_id ORDER BY board, season"), {"user_id": user_id}
    ).all()
    _append(connection, user_id, [(board, season, 0) for board, season in rows], change, mark)


def tell(connection: Connection, user_id: str) -> None:
    """Mark that Redis is to be told of a player's scores, as apply.sql does: whoever dies now, the sweeper tells."""
    connection.execute(
        text("INSERT INTO refreshes (user_ids) VALUES (ARRAY[CAST(:user_id AS uuid)])"), {"user_id": user_id}
    )


def _found(connection: Connection, user_id: str, span: Span, *, void: bool) -> list[Counted]:
    rows = connection.execute(
        text(
            "SELECT h.action_id, h.board, h.season, h.score_increment, h.created_at FROM score_history h"
            " WHERE h.user_id = :user_id AND h.action NOT LIKE 'moderation.%'"
            " AND (CAST(:action_ids AS text[]) IS NULL OR h.action_id = ANY(CAST(:action_ids AS text[])))"
            " AND h.created_at >= coalesce(CAST(:since AS timestamptz), '-infinity')"
            " AND h.created_at < coalesce(CAST(:until AS timestamptz), 'infinity')"
            " AND EXISTS (SELECT FROM voids v WHERE v.user_id = h.user_id AND v.action_id = h.action_id"
            "   AND v.board = h.board) = :void"
            " ORDER BY h.created_at, h.board, h.version"
        ),
        {
            "user_id": user_id,
            "action_ids": None if span.action_ids is None else list(span.action_ids),
            "since": span.since,
            "until": span.until,
            "void": void,
        },
    )
    return [Counted(*row) for row in rows]


def _append(
    connection: Connection, user_id: str, rows: Sequence[tuple[str, int, int]], change: Change, mark: Mark
) -> None:
    """Rows of history with their scores, as apply.sql writes them: board, season and increment of each."""
    action_ids = [f"{_ID_PREFIX}{mark.act}/{at}" for at in range(len(rows))]
    vouches = [vouching.vouch(mark.vouch_key, user_id, each, change, 0, None, None, mark.act) for each in action_ids]
    connection.execute(
        _MODERATE,
        {
            "user_id": user_id,
            "boards": [board for board, _, _ in rows],
            "seasons": [season for _, season, _ in rows],
            "increments": [increment for _, _, increment in rows],
            "action_ids": action_ids,
            "vouches": vouches,
            "action": change,
            "request_id": mark.act,
        },
    )


def _keys(user_id: str, those: Sequence[Counted]) -> dict[str, object]:
    return {
        "user_id": user_id,
        "action_ids": [counted.action_id for counted in those],
        "boards": [counted.board for counted in those],
    }
