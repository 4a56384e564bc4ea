"""Reads absolute scores from Postgres in the shape in which boards take them."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Sequence
from typing import Any, Final

from sqlalchemy import BindParameter, Connection, Integer, Row, bindparam, text

from models.boards.places import Standing

#: Nobody's: ids are UUIDs of version 4 or 7.
_FIRST_ID: Final = "00000000-0000-0000-0000-000000000000"
_COLUMNS: Final = (
    "s.board, s.season, s.user_id, s.score, s.version,"
    " (extract(epoch FROM coalesce(s.reached_at, s.created_at)) * 1000000)::bigint AS reached_at"
)
_SELECT: Final = (
    "SELECT u.username, u.hidden_at IS NOT NULL AS hidden, "  # noqa: S608 - constants
    + _COLUMNS
    + " FROM scores s JOIN users u ON u.id = s.user_id"
)
_OF_PLAYERS: Final = _SELECT + " WHERE s.user_id = ANY(CAST(:user_ids AS uuid[]))"
_OF_BOARD: Final = _SELECT + " WHERE s.board = :board AND s.season = :season"
#: A page has to cost what a page costs, whatever plan PostgreSQL has made or kept: it must see how few rows are wanted,
#: and players are looked up one by one (OFFSET keeps them from being joined), since a join may go through all players
#: for each page. (A board of a million took 13 minutes in place of 35 s.)
_PAGE: Final[BindParameter[int]] = bindparam("most", type_=Integer, literal_execute=True)
_OF_BOARD_AFTER: Final = text(
    "SELECT u.username, u.hidden_at IS NOT NULL AS hidden, " + _COLUMNS + " FROM scores s"  # noqa: S608 - constants
    " CROSS JOIN LATERAL (SELECT username, hidden_at FROM users WHERE id = s.user_id OFFSET 0) AS u"
    " WHERE s.board = :board AND s.season = :season AND s.user_id > :after ORDER BY s.user_id LIMIT :most"
).bindparams(_PAGE)
_PLAYERS_AFTER: Final = text(
    "SELECT user_id FROM scores WHERE board = :board AND season = :season AND user_id > :after"
    " ORDER BY user_id LIMIT :most"
).bindparams(_PAGE)
_OF_PLAYERS_ON_BOARD: Final = _OF_BOARD + " AND s.user_id = ANY(CAST(:user_ids AS uuid[]))"


def of_players(connection: Connection, user_ids: Sequence[str]) -> dict[tuple[str, int], list[Standing]]:
    """All standings of these players, by board and season."""
    by_board: dict[tuple[str, int], list[Standing]] = defaultdict(list)
    for row in connection.execute(text(_OF_PLAYERS), {"user_ids": list(user_ids)}):
        by_board[row.board, row.season].append(_standing(row))
    return by_board


def of_players_on_board(connection: Connection, board: str, season: int, user_ids: Sequence[str]) -> list[Standing]:
    """The standings of these players on one board."""
    values = {"board": board, "season": season, "user_ids": list(user_ids)}
    return [_standing(row) for row in connection.execute(text(_OF_PLAYERS_ON_BOARD), values)]


def players_after(connection: Connection, board: str, season: int, after: str, most: int) -> list[str]:
    """The next `most` players of a board by user id; a board is gone through piece by piece with it."""
    rows = connection.execute(_PLAYERS_AFTER, {"board": board, "season": season, "after": after, "most": most})
    return [str(user_id) for user_id in rows.scalars()]


def count(connection: Connection, board: str, season: int) -> int:
    """How many players have a score on a board and are not hidden."""
    players: int = connection.execute(
        text(
            "SELECT count(*) - (SELECT count(*) FROM users u JOIN scores h ON h.user_id = u.id"
            "   WHERE u.hidden_at IS NOT NULL AND h.board = :board AND h.season = :season)"
            " FROM scores WHERE board = :board AND season = :season"
        ),
        {"board": board, "season": season},
    ).scalar_one()
    return players


def of_board(connection: Connection, board: str, season: int, chunk: int) -> Iterator[list[Standing]]:
    """All players of a board, `chunk` at a time by user id: each a short statement, whatever the board's size, where a
    cursor would first join a million. One snapshot if the caller's transaction is REPEATABLE READ.
    """
    after = _FIRST_ID
    while True:
        values = {"board": board, "season": season, "after": after, "most": chunk}
        rows = connection.execute(_OF_BOARD_AFTER, values).all()
        if rows:
            yield [_standing(row) for row in rows]
        if len(rows) < chunk:
            return
        after = str(rows[-1].user_id)


def _standing(row: Row[Any]) -> Standing:
    return Standing(str(row.user_id), row.username, row.score, row.reached_at, row.version, row.hidden)
