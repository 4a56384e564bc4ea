"""Where nobody sends for a worker, the lookouts of the workers stand in; where somebody does, they keep out of it."""

from __future__ import annotations

import pytest

from models import names
from models.settings import Settings
from models.stores import Stores
from worker.lookout import Lookout
from worker.presence import MISSED_SECONDS

SHARDS = 2


@pytest.fixture
def stores(environment: dict[str, str], open_process) -> Stores:
    environment["SHARDS"] = str(SHARDS)
    return open_process(Settings.from_env(environment))


@pytest.fixture
def stood_in() -> list[tuple[int, float]]:
    """For which shards, and for how many seconds at most."""
    return []


@pytest.fixture
def lookout(stores: Stores, stood_in: list[tuple[int, float]]) -> Lookout:
    """Of a process that finds rows in both shards."""
    return Lookout(stores.redis, SHARDS, lambda: [0, 1], lambda shard, seconds: stood_in.append((shard, seconds)))


def take(stores: Stores, shard: int, seconds_ago: float = 0.0) -> None:
    """As if a worker had taken a task of that shard."""
    key = names.seen_key(names.apply_queue(shard, SHARDS))
    stores.redis.set(key, b"1", px=int(1000 * (names.WORKER_SEEN_SECONDS - seconds_ago)))


def test_it_stands_in_for_what_nobody_takes(stores, lookout, stood_in) -> None:
    take(stores, 0)
    assert lookout.look() == [1]
    take(stores, 1, seconds_ago=MISSED_SECONDS + 0.1)
    stores.redis.delete(names.stand_in_key(1))
    assert lookout.look() == [1]
    assert [shard for shard, _ in stood_in] == [1, 1]


def test_it_keeps_out_of_what_is_taken(stores, lookout, stood_in) -> None:
    take(stores, 0)
    take(stores, 1, seconds_ago=MISSED_SECONDS - 1)
    assert lookout.look() == []
    assert stood_in == []


def test_of_several_processes_one_stands_in_and_it_divides_its_time(stores, lookout, stood_in) -> None:
    assert lookout.look() == [0, 1]
    assert lookout.look() == []
    assert stood_in == [(0, 0.5), (1, 0.5)]
