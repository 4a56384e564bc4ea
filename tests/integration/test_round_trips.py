"""How often Postgres is asked: once for an accept, and as often for a thousand as for one."""

from __future__ import annotations

import os
import re
import tempfile
from collections import Counter
from collections.abc import Callable

import psycopg
import pytest
from psycopg.pq import Trace
from sqlalchemy import event

from models.pipeline import drain
from models.stores import Stores
from tests.fixtures.people import server_update


def round_trips(connection: psycopg.Connection[object], work: Callable[[], object]) -> int:
    """How often libpq, by its own trace, waited for an answer while `work` ran."""
    with tempfile.TemporaryFile("w+") as trace:
        connection.pgconn.trace(trace.fileno())
        connection.pgconn.set_trace_flags(Trace.SUPPRESS_TIMESTAMPS | Trace.REGRESS_MODE)
        try:
            work()
        finally:
            connection.pgconn.untrace()
        os.lseek(trace.fileno(), 0, os.SEEK_SET)
        return len(re.findall(r"^F\t\S+\t(?:Sync\nF\t\S+\tFlush|Sync|Flush|Query)\b", trace.read(), re.MULTILINE))


@pytest.fixture
def warm(stores: Stores, player, players, submit, submit_batch, worker) -> Stores:
    """Connections open, statements prepared, keys and seasons known."""
    for _ in range(2):
        submit(player, "again")
        submit_batch([server_update(player)])
        submit(players(1)[0], action="daily_bonus")
        worker.drain(0)
    stores.revocations.start()
    return stores


@pytest.fixture
def asked_elsewhere(warm: Stores) -> list[str]:
    """Statements on the shared pool, outside the acceptor's own connection."""
    statements: list[str] = []
    event.listen(warm.engine, "before_cursor_execute", lambda *arguments: statements.append(arguments[2]))
    return statements


def test_one_accept_is_one_round_trip(warm, player, submit) -> None:
    assert round_trips(warm.acceptor.writer._connection, lambda: submit(player)) == 1


def test_a_repeat_is_two_the_write_that_finds_nothing_new_and_the_look_at_why(warm, player, submit) -> None:
    submit(player, "a-1")
    assert round_trips(warm.acceptor.writer._connection, lambda: submit(player, "a-1")) == 2


def test_an_accept_asks_nothing_else(warm, player, submit, asked_elsewhere) -> None:
    warm.pressure.state()
    asked_elsewhere.clear()
    submit(player)
    # The look at the inbox once a second and the replica of revocations belong to no request.
    own = ("FROM inbox", "FROM revoked_tokens", "FROM restrictions", "key_changed_at")
    assert [s for s in asked_elsewhere if not any(part in s for part in own)] == []


@pytest.mark.parametrize("size", [1, 100, 1000])
def test_a_batch_is_accepted_in_one_round_trip_whatever_its_size(warm, player, submit_batch, size) -> None:
    updates = [server_update(player) for _ in range(size)]
    assert round_trips(warm.acceptor.writer._connection, lambda: submit_batch(updates)) == 1


@pytest.mark.parametrize("size", [1, 40, 400])
def test_a_batch_is_applied_in_as_many_round_trips_whatever_its_size(
    warm, players, worker, submit_batch, query, monkeypatch, size
) -> None:
    """The lock with a look at the oldest row, then the batch and its commit; and twice one to see that none is left."""
    monkeypatch.setattr(drain, "OLD_SECONDS", 60.0)  # a row that waited for a second is taken up more warily
    people = players(min(size, 20))
    submit_batch([server_update(people[n % len(people)], "boss_defeated") for n in range(size)])
    asked = round_trips(worker._connection, lambda: worker.drain(0))
    assert query("SELECT count(*) FROM inbox") == [(0,)]
    assert asked == 2 + 1 + 1


@pytest.mark.parametrize("size", [1, 40])
def test_redis_is_told_of_a_batch_in_one_call_and_one_event_a_board(warm, players, worker, submit_batch, size) -> None:
    def commands() -> Counter[str]:
        stats = warm.redis.info("commandstats")
        return Counter({name.removeprefix("cmdstat_"): figures["calls"] for name, figures in stats.items()})

    people = players(size)
    submit_batch([server_update(each) for each in people])
    before = commands()
    assert worker.drain(0).applied == size
    asked = commands() - before
    assert (asked["evalsha"], asked["publish"]) == (1, 1)


def test_a_cool_down_costs_a_bounded_number_more(warm, player, submit) -> None:
    assert round_trips(warm.acceptor.writer._connection, lambda: submit(player, action="daily_bonus")) == 4
