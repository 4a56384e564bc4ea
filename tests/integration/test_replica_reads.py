"""Reads at the replica: near enough, and never older than what their player was told (read-your-writes)."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from deploy.postgres.alone import go_alone, go_together
from models.boards import rebuild, standings
from models.settings import Settings
from models.storage import replica
from models.stores import Stores
from tests.fixtures.pair import Pair
from tests.fixtures.people import register, server_update
from tests.fixtures.service import environment_for
from tests.fixtures.waiting import eventually

_BOARDS = [("global", 1)]


@pytest.fixture(scope="module")
def asynchronous(pair: Pair) -> Pair:
    """Commits wait for no replica here, so that it can be behind."""
    pair.migrate()
    with pair.one.connect() as connection:
        go_alone(connection)
    return pair


@pytest.fixture
def environment(asynchronous: Pair, redis_url: str, tmp_path: Path) -> dict[str, str]:
    asynchronous.empty()
    return {**environment_for(asynchronous.service_url(), redis_url, tmp_path), **asynchronous.environment()}


@pytest.fixture
def asked(stores: Stores) -> list[bool]:
    """Of each read that the replica was asked for, whether it answered."""
    found: list[bool] = []
    stores.replica.on_read = found.append
    eventually(lambda: stores.replica.lag_seconds() < 1)
    return found


@contextmanager
def paused(pair: Pair) -> Iterator[None]:
    """The replica receives and does not replay."""
    with pair.two.connect() as connection:
        connection.execute("SELECT pg_wal_replay_pause()")
        eventually(lambda: connection.execute("SELECT pg_get_wal_replay_pause_state()").fetchone() == ("paused",))
        try:
            yield
        finally:
            connection.execute("SELECT pg_wal_replay_resume()")


def newest(stores: Stores, player) -> str | None:
    rows = stores.history.page(player.user_id, _BOARDS, before=None, limit=5)
    return rows[0].action_id if rows else None


def test_a_replica_that_keeps_up_answers(stores: Stores, player, submit, drain, asked) -> None:
    submit(player, "a-1")
    drain()
    eventually(lambda: newest(stores, player) == "a-1" and asked[-1])


def test_who_was_told_of_an_update_never_reads_an_older_state_and_others_go_on_at_the_replica(
    asynchronous: Pair, stores: Stores, players, submit, drain, asked
) -> None:
    ada, bob = players(2)
    submit(ada, "a-1")
    submit(bob, "b-1")
    drain()
    eventually(lambda: newest(stores, bob) == "b-1" and asked[-1])
    with paused(asynchronous):
        for number in range(2, 6):
            submit(ada, f"a-{number}")
            drain()
            assert newest(stores, ada) == f"a-{number}"
            assert not asked[-1]
        assert newest(stores, bob) == "b-1"
        assert asked[-1]
    eventually(lambda: newest(stores, ada) == "a-5" and asked[-1])


def test_a_replica_that_is_behind_by_more_than_the_limit_is_not_read(
    asynchronous: Pair, stores: Stores, players, submit, drain, asked, open_process, environment
) -> None:
    ada, bob = players(2)
    submit(bob, "b-1")
    drain()
    near = open_process(Settings.from_env({**environment, "REPLICA_LAG_LIMIT_SECONDS": "1"}))
    eventually(lambda: near.replica.lag_seconds() < 0.5)
    with paused(asynchronous):
        submit(ada)
        eventually(lambda: near.replica.lag_seconds() > 1)
        assert not near.replica.is_near()
        assert newest(near, bob) == "b-1"
        assert stores.replica.is_near()  # 5 s here
    eventually(lambda: near.replica.lag_seconds() < 0.5)


def test_a_board_is_built_from_the_replica_once_that_has_what_was_committed_before(
    asynchronous: Pair, stores: Stores, players, submit_batch, drain, asked, monkeypatch
) -> None:
    """I5, I6: from a replica that is behind it would show, and publish, what is past."""
    people = players(3)
    submit_batch([server_update(each) for each in people])
    drain()
    eventually(lambda: stores.ranking.rebuild("global") and asked[-1])
    monkeypatch.setattr(replica, "CATCH_UP_SECONDS", 0.1)
    with paused(asynchronous):
        submit_batch([server_update(people[2], value=5)])
        drain()
        told = stores.ranking.top("global", 10)
        reads = len(asked)
        assert stores.ranking.rebuild("global") > told.version
        assert len(asked) == reads  # the primary was asked
        assert stores.ranking.top("global", 10).entries == told.entries


def test_builds_from_a_replica_that_lags_under_load_lose_nothing_and_never_go_back(
    asynchronous: Pair, stores: Stores, submit_batch, drain, asked, monkeypatch
) -> None:
    """I5, I6: the same as for builds from the primary (test_ranking.py), while it is a little behind all the time."""
    monkeypatch.setattr(rebuild, "CHUNK", 5)
    people = register(stores, 30)
    submit_batch([server_update(each) for each in people])
    drain()
    assert stores.ranking.rebuild("global") is not None  # or the reader might be the one who builds, and not `build`
    asynchronous.delay_replay(milliseconds=40)
    ended = threading.Event()
    faults: list[str] = []
    builds: list[int | None] = []

    def build() -> None:
        while not ended.is_set():
            builds.append(stores.ranking.rebuild("global"))

    def read() -> None:
        scores: dict[str, int] = {}
        version = 0
        while not ended.is_set():
            page = stores.ranking.top("global", 100)
            lower = [e.user_id for e in page.entries if e.score < scores.get(e.user_id, 0)]
            if lower or page.version < version or len(page.entries) != len(people):
                faults.append(f"{len(lower)} scores went back, version {page.version} after {version}")
            scores, version = {e.user_id: e.score for e in page.entries}, page.version

    threads = [threading.Thread(target=work) for work in (build, read)]
    for thread in threads:
        thread.start()
    try:
        until = time.monotonic() + 1.5
        while time.monotonic() < until:
            submit_batch([server_update(each) for each in people[:7]])
            drain()
    finally:
        ended.set()
        for thread in threads:
            thread.join()
        asynchronous.delay_replay(milliseconds=0)
    assert faults == []
    assert any(asked)  # the replica answered some of the builds
    assert None not in builds
    with stores.engine.connect() as connection:
        known = {s.user_id: s.score for chunk in standings.of_board(connection, "global", 1, 100) for s in chunk}
    assert {e.user_id: e.score for e in stores.ranking.top("global", 100).entries} == known


def test_without_its_replica_the_primary_answers_and_a_server_that_follows_nobody_is_no_replica(
    asynchronous: Pair, stores: Stores, player, submit, drain, asked
) -> None:
    submit(player, "a-1")
    drain()
    one, two = (asynchronous.one.host, asynchronous.one.port), (asynchronous.two.host, asynchronous.two.port)
    asynchronous.pooler.point(one, one)  # as promote leaves it
    try:
        for _ in range(3):
            assert newest(stores, player) == "a-1"
            assert stores.ranking.rebuild("global") is not None
        eventually(lambda: stores.replica.lag_seconds() > 0.5)
        assert stores.replica.open_current() is None
    finally:
        asynchronous.pooler.point(one, two)
    asynchronous.stop(asynchronous.two)
    try:
        assert newest(stores, player) == "a-1"
        assert stores.ranking.rebuild("global") is not None
        assert newest(stores, player) == "a-1"
    finally:
        asynchronous.start(asynchronous.two)
        with asynchronous.one.connect() as connection:
            go_together(connection)
            go_alone(connection)
