"""Limits that are counted on credit hold to 5 %, whatever the processes, and refuse nobody too early."""

from __future__ import annotations

import time
from collections.abc import Callable

import pytest
import redis
from hypothesis import HealthCheck, given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st
from limits import parse
from limits.storage import RedisStorage
from limits.strategies import SlidingWindowCounterRateLimiter

from models.storage.redis import open_redis
from web import credit
from web.credit import Credit, Limit
from web.limits import Counters

HUNDRED = Limit(parse("100/minute"), "user")

Join = Callable[[], Credit]


@pytest.fixture
def storage(redis_url: str) -> RedisStorage:
    return Counters("", open_redis(redis_url))


@pytest.fixture
def counted(storage: RedisStorage) -> Callable[[str], bool]:
    """`counted(caller)` lets one in as flask-limiter does, in Redis."""
    limiter = SlidingWindowCounterRateLimiter(storage)
    return lambda caller: limiter.hit(HUNDRED.item, HUNDRED.kind, caller)


@pytest.fixture
def join(storage: RedisStorage, redis_url: str, monkeypatch: pytest.MonkeyPatch) -> Join:
    """`join()` is one more process that gives credit; it reports when told to."""
    monkeypatch.setattr(credit, "JOINING_SECONDS", 0)
    monkeypatch.setattr(credit, "CONFIRMED_SECONDS", 60)
    processes: list[Credit] = []

    def run() -> Credit:
        processes.append(Credit(storage, open_redis(redis_url)))
        for each in processes * 2:  # so that each has heard of all
            each.report()
        return processes[-1]

    return run


def spent(process: Credit, caller: str = "ada", most: int = 1000) -> int:
    """How many in a row are let in on credit."""
    return next(count for count in range(most + 1) if not process.spend([(HUNDRED, caller)]))


def test_processes_share_five_in_a_hundred(join: Join) -> None:
    first = join()
    assert spent(first) == 5
    second = join()
    assert (spent(first, "bob"), spent(second, "bob")) == (2, 2)


def test_what_was_reported_counts_where_flask_limiter_counts(join: Join, counted: Callable[[str], bool]) -> None:
    process = join()
    for _ in range(10):
        assert spent(process) == 5
        process.report()
    assert sum(counted("ada") for _ in range(100)) == 50


def test_a_full_window_has_no_credit_until_redis_lets_somebody_in(
    join: Join, counted: Callable[[str], bool], storage: RedisStorage
) -> None:
    process = join()
    assert sum(counted("ada") for _ in range(100)) == 100
    assert spent(process) == 5
    process.report()
    assert spent(process) == 0
    assert not counted("ada")
    assert spent(process, "bob") == 5
    storage.reset()
    assert counted("ada")
    process.has_room((HUNDRED, "ada"))
    assert spent(process) == 5


def test_all_windows_or_none(join: Join) -> None:
    process = join()
    other = Limit(parse("40/minute"), "address")
    windows = [(HUNDRED, "ada"), (other, "192.0.2.1")]
    assert [process.spend(windows) for _ in range(3)] == [True, True, False]
    assert spent(process) == 3


def test_a_small_limit_is_counted_one_by_one(join: Join) -> None:
    process = join()
    assert not process.spend([(Limit(parse("19/minute"), "user"), "ada")])


def test_a_new_process_gives_none_until_the_others_have_heard_of_it(
    storage: RedisStorage, redis_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(credit, "JOINING_SECONDS", 0.2)
    process = Credit(storage, open_redis(redis_url))
    assert spent(process) == 0
    process.report()
    assert spent(process) == 0
    time.sleep(0.25)
    assert spent(process) == 5


def test_without_redis_there_is_none(join: Join, redis_url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    process = join()
    assert spent(process) == 5

    def away(**_arguments: object) -> object:
        raise redis.ConnectionError

    monkeypatch.setattr(process, "_script", away)
    with pytest.raises(redis.RedisError):
        process.report()
    assert spent(process, "bob") == 0


def test_a_report_that_is_overdue_ends_it(join: Join, monkeypatch: pytest.MonkeyPatch) -> None:
    process = join()
    monkeypatch.setattr(credit, "CONFIRMED_SECONDS", 0)
    assert spent(process) == 0


def test_it_begins_by_itself_when_it_is_asked_for(
    storage: RedisStorage, redis_url: str, monkeypatch: pytest.MonkeyPatch, eventually
) -> None:
    monkeypatch.setattr(credit, "JOINING_SECONDS", 0)
    process = Credit(storage, open_redis(redis_url))
    process.start()
    try:
        eventually(lambda: process.spend([(HUNDRED, "ada")]))
        eventually(lambda: not process._unreported)
    finally:
        process.close()


@hypothesis_settings(max_examples=30, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    processes=st.integers(1, 4),
    steps=st.lists(st.tuples(st.integers(0, 3), st.integers(1, 9), st.booleans()), min_size=150, max_size=250),
)
def test_no_order_of_requests_and_reports_lets_in_more_than_five_in_a_hundred_too_many(
    storage: RedisStorage,
    counted: Callable[[str], bool],
    redis_url: str,
    monkeypatch: pytest.MonkeyPatch,
    processes: int,
    steps: list[tuple[int, int, bool]],
) -> None:
    monkeypatch.setattr(credit, "JOINING_SECONDS", 0)
    monkeypatch.setattr(credit, "CONFIRMED_SECONDS", 60)
    client = open_redis(redis_url)
    client.flushdb()
    there = [Credit(storage, client) for _ in range(processes)]
    for each in there * 2:
        each.report()
    let_in = 0
    for number, requests, reports in steps:
        process = there[number % processes]
        for _ in range(requests):
            if process.spend([(HUNDRED, "ada")]):
                let_in += 1
            elif counted("ada"):
                process.has_room((HUNDRED, "ada"))
                let_in += 1
            else:
                assert let_in >= 100, "refused too early"
        if reports:
            process.report()
    assert 100 <= let_in <= 105
