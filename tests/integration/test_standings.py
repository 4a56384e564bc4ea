"""Boards are gone through in pages, each of which costs what a page costs."""

from __future__ import annotations

from collections.abc import Callable

import psycopg
import pytest
from sqlalchemy import Connection, text

from models.boards import standings

PLAYERS = 10_000
PAGE = 500


@pytest.fixture
def populated(raw: psycopg.Connection[object], stores) -> None:
    """Many players with a score each, and what PostgreSQL knows of them."""
    stores.registry.seasons()
    raw.execute(
        "INSERT INTO users (username, email, secret_key, secret_key_kid)"
        " SELECT 'p' || n, n || '@example.com', '', 'e1' FROM generate_series(1, %s) n",
        (PLAYERS,),
    )
    raw.execute(
        "INSERT INTO scores (user_id, board, season, score, version, last_action_id, last_action_at)"
        " SELECT id, 'global', 1, 1, 1, 'a', now() FROM users"
    )
    raw.execute("VACUUM ANALYZE users, scores")


def rows_read(connection: Connection) -> int:
    """How many rows of players and scores this transaction has looked at."""
    counted: int = connection.execute(
        text(
            "SELECT sum(seq_tup_read + idx_tup_fetch) FROM pg_stat_xact_user_tables"
            " WHERE relname IN ('users', 'scores')"
        )
    ).scalar_one()
    return counted


def all_standings(connection: Connection) -> list[object]:
    """All standings of the board, page by page."""
    return [standing for page in standings.of_board(connection, "global", 1, PAGE) for standing in page]


def all_players(connection: Connection) -> list[str]:
    """All players of the board, page by page."""
    found: list[str] = []
    while page := standings.players_after(connection, "global", 1, found[-1] if found else "0" * 32, PAGE):
        found += page
    return found


@pytest.mark.parametrize("plan", ["force_generic_plan", "force_custom_plan"])
@pytest.mark.parametrize("go_through", [all_standings, all_players])
def test_a_board_costs_its_pages_whatever_plan_is_kept(
    populated, stores, plan: str, go_through: Callable[[Connection], list[object]]
) -> None:
    with stores.engine.begin() as connection:
        connection.execute(text(f"SET LOCAL plan_cache_mode = {plan}"))
        assert len(go_through(connection)) == PLAYERS
        assert rows_read(connection) < 3 * PLAYERS
