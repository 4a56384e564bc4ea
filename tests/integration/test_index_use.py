"""No request walks a table that grows: with many players there, every statement of the service goes by an index."""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

import psycopg
import pytest
from flask.testing import FlaskClient

from models.accounts.users import Registered
from models.stores import Stores
from tests.fixtures.api import SignedIn
from tests.fixtures.service import DrainOnce, Query

PLAYERS: Final = 20_000
#: Grow with players or updates, and are not emptied by applying.
GROWING: Final = ("users", "scores", "score_history%", "inbox_keys", "told_ranks", "token_families", "acts")

FILL: Final = f"""
INSERT INTO users (id, username, email, secret_key, secret_key_kid)
SELECT md5('user' || n)::uuid, 'filler-' || n, 'filler-' || n || '@example.org', '\\x00', 'none'
FROM generate_series(1, {PLAYERS}) n;
INSERT INTO scores (user_id, board, season, score, version, last_action_id, last_action_at)
SELECT id, 'global', 1, hashtext(username), 1, 'f', now() FROM users WHERE username LIKE 'filler-%';
INSERT INTO score_history (user_id, board, season, version, action_id, action, value, score_increment, previous_score,
    new_score, request_id, accepted_at)
SELECT user_id, board, season, version, 'f', 'level_complete', 1, score, 0, score, 'r', now() FROM scores;
INSERT INTO inbox_keys (user_id, action_id, nonce, action, value)
SELECT user_id, 'f', 'n', 'level_complete', 1 FROM scores;
"""


@pytest.fixture
def crowded(stores: Stores, raw: psycopg.Connection[tuple[object, ...]]) -> None:
    """A database in which walking through a table would be the worse plan."""
    stores.ranking.top("global", 1)  # the board and its season are there from its first use on
    raw.execute(FILL)
    raw.execute("ANALYZE")


def test_playing_signing_in_reading_and_moderating_go_by_indexes(
    crowded: None,
    stores: Stores,
    client: FlaskClient,
    sign_up: Callable[[], SignedIn],
    submit: Callable[..., object],
    drain: DrainOnce,
    query: Query,
    service_headers: Callable[..., dict[str, str]],
) -> None:
    person = sign_up()
    person_account: Registered = person.account
    stores.ranking.rebuild("global")  # which walks the board's scores, once
    before = walked(query)

    submit(person_account)
    drain()
    for path in (
        "/api/v1/scores/me",
        "/api/v1/scores/me/history?limit=5",
        "/api/v1/leaderboards/global?limit=10",
        f"/api/v1/leaderboards/global/around/{person_account.user_id}",
    ):
        assert client.get(path, headers=person.headers).status_code == 200, path
    refresh = {"Authorization": f"Bearer {person.refresh_token}"}
    assert client.post("/api/v1/auth/refresh", headers=refresh).status_code == 200

    assert walked(query) == before


def walked(query: Query) -> dict[str, int]:
    """Table → how often all of it was read, as PostgreSQL counts."""
    query("SELECT pg_stat_force_next_flush()")
    rows = query(
        "SELECT relname, seq_scan FROM pg_stat_user_tables WHERE relname LIKE ANY (:names)", names=list(GROWING)
    )
    return {str(name): int(str(times)) for name, times in rows}
