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


class Process:
    """A worker process' lookout, with what it finds in the inbox, and for which shards it stood in."""

    def __init__(self, stores: Stores) -> None:
        self.waiting = [0, 1]
        self.stood_in: list[int] = []
        self._lookout = Lookout(stores.redis, SHARDS, lambda: self.waiting, self.stood_in.append)

    def look(self) -> int | None:
        return self._lookout.look()


def take(stores: Stores, shard: int, seconds_ago: float = 0.0) -> None:
    """As if a worker had taken a task of that shard."""
    key = names.seen_key(names.apply_queue(shard, SHARDS))
    stores.redis.set(key, b"1", px=int(1000 * (names.WORKER_SEEN_SECONDS - seconds_ago)))


def test_it_keeps_out_of_what_is_taken(stores: Stores) -> None:
    process = Process(stores)
    take(stores, 0)
    take(stores, 1, seconds_ago=MISSED_SECONDS - 1)
    assert process.look() is None
    assert process.stood_in == []


def test_it_stands_in_for_what_nobody_takes_and_stays_until_somebody_does(stores: Stores) -> None:
    process = Process(stores)
    take(stores, 0)
    take(stores, 1, seconds_ago=MISSED_SECONDS + 0.1)
    assert process.look() == 1
    process.waiting = []  # it has applied them, and listens for more
    assert process.look() == 1
    take(stores, 1)
    assert process.look() is None
    assert process.stood_in == [1, 1]


def test_nothing_that_lies_is_nothing_to_do(stores: Stores) -> None:
    process = Process(stores)
    process.waiting = []
    assert process.look() is None


def test_two_processes_stand_in_for_a_shard_each(stores: Stores) -> None:
    one, two, three = (Process(stores) for _ in range(3))
    assert [one.look(), two.look(), three.look()] == [0, 1, None]
    assert [one.look(), two.look(), three.look()] == [0, 1, None]


def test_one_process_goes_from_shard_to_shard_and_lets_go_of_what_it_leaves(stores: Stores) -> None:
    one, two = Process(stores), Process(stores)
    assert one.look() == 0
    one.waiting = [1]
    assert one.look() == 1
    two.waiting = [0, 1]
    assert two.look() == 0
