"""No request walks a table that grows: with many players there, every statement of the service goes by an index."""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

import psycopg
import pytest
from flask.testing import FlaskClient

from models.stores import Stores
from tests.fixtures.api import SignedIn
from tests.fixtures.service import DrainOnce, Query
from tests.fixtures.waiting import eventually

PLAYERS: Final = 20_000
#: Grow with players or updates; the first that a partition's name begins with is the table it is a part of.
GROWING: Final = ("score_history", "scores", "users", "inbox_keys")
#: Must have been searched before anything is judged: PostgreSQL's processes report what they did once a second.
USED: Final = {"score_history", "scores", "users", "inbox_keys"}
REPORT_SECONDS_MOST: Final = 15.0

_USER: Final = f"generate_series(1, {PLAYERS}) AS n, md5('user' || n) AS who"
FILL: Final = f"""
INSERT INTO users (id, username, email, secret_key, secret_key_kid)
SELECT who::uuid, 'filler-' || n, 'filler-' || n || '@example.org', '\\x00', 'none' FROM {_USER};
INSERT INTO scores (user_id, board, season, score, version, last_action_id, last_action_at)
SELECT who::uuid, 'global', 1, n, 1, 'f', now() FROM {_USER};
INSERT INTO score_history (user_id, board, season, version, action_id, action, value, score_increment, previous_score,
    new_score, request_id, accepted_at)
SELECT who::uuid, 'global', 1, 1, 'f', 'level_complete', 1, n, 0, n, 'r', now() FROM {_USER};
INSERT INTO inbox_keys (user_id, action_id, nonce, action, value)
SELECT who::uuid, 'f', 'n', 'level_complete', 1 FROM {_USER};
"""


@pytest.fixture
def crowded(stores: Stores, raw: psycopg.Connection[tuple[object, ...]]) -> None:
    """A database in which walking through a table would be the worse plan."""
    stores.ranking.top("global", 1)  # the board and its season are there from its first use on
    raw.execute(FILL)
    raw.execute("ANALYZE")


def test_playing_signing_in_and_reading_go_by_indexes(
    crowded: None,
    stores: Stores,
    client: FlaskClient,
    sign_up: Callable[[], SignedIn],
    submit: Callable[..., object],
    drain: DrainOnce,
    query: Query,
) -> None:
    person = sign_up()

    def play() -> bool:
        submit(person.account)
        drain()
        for path in (
            "/api/v1/scores/me",
            "/api/v1/scores/me/history?limit=5",
            "/api/v1/leaderboards/global?limit=10",
            f"/api/v1/leaderboards/global/around/{person.account.user_id}",
        ):
            assert client.get(path, headers=person.headers).status_code == 200, path
        return used(query) >= USED

    eventually(play, REPORT_SECONDS_MOST, 0.5)
    assert walked(query) == set()


def used(query: Query) -> set[str]:
    """The tables that were searched by an index, partitions by the name of the whole."""
    return _tables(query, "idx_scan > 0")


def walked(query: Query) -> set[str]:
    """The tables, of those with more than a handful of rows, all of which somebody read."""
    return _tables(query, "seq_scan > 0 AND n_live_tup > 100")


def _tables(query: Query, condition: str) -> set[str]:
    rows = query(f"SELECT relname FROM pg_stat_user_tables WHERE {condition}")
    names = {str(name) for (name,) in rows}
    return {next((whole for whole in GROWING if name.startswith(whole)), name) for name in names}
