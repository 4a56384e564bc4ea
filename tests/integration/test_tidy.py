"""The inbox stays small whatever went through it."""

from __future__ import annotations

import psycopg
import pytest

from models.pipeline import tidy

LOOK = "EXPLAIN (ANALYZE, BUFFERS, FORMAT JSON) SELECT seq FROM inbox WHERE shard = 0 ORDER BY seq LIMIT 500"


@pytest.fixture
def went_through(raw: psycopg.Connection[object], player) -> psycopg.Connection[object]:
    """A connection to a database whose inbox as many updates went through as are worth a vacuum."""
    raw.execute(
        "INSERT INTO inbox (shard, user_id, action_id, action, value, request_id)"
        " SELECT 0, %s, n::text, 'level_complete', 1, 'r' FROM generate_series(1, %s) n",
        (player.user_id, tidy.DEAD_MOST),
    )
    raw.execute("DELETE FROM inbox")
    raw.execute("SELECT pg_stat_force_next_flush()")
    return raw


def pages(raw: psycopg.Connection[object]) -> int:
    """That a look at the inbox walks through."""
    raw.execute("SET enable_seqscan = off")
    [(plan,)] = raw.execute(LOOK).fetchall()
    return int(plan[0]["Plan"]["Shared Hit Blocks"])


def test_a_look_does_not_walk_past_all_that_was_ever_applied(went_through, stores) -> None:
    before = pages(went_through)
    assert tidy.vacuum_inbox(stores.engine)
    assert pages(went_through) < before / 5
    went_through.execute("SELECT pg_stat_force_next_flush()")
    assert not tidy.vacuum_inbox(stores.engine), "not again at once"


def test_nothing_is_done_for_a_few(stores, submit, player, drain) -> None:
    submit(player)
    drain()
    assert not tidy.vacuum_inbox(stores.engine)


def test_nobody_is_waited_for(went_through, stores) -> None:
    with went_through.transaction():
        went_through.execute("LOCK TABLE inbox IN SHARE UPDATE EXCLUSIVE MODE")
        before = pages(went_through)
        tidy.vacuum_inbox(stores.engine)
        assert pages(went_through) > before / 5, "it was left out"
