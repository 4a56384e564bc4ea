"""The service on a Redis Cluster of three masters: what belongs together is together, and what moves is followed."""

from __future__ import annotations

import asyncio
import hashlib
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from typing import Any
from uuid import UUID

import hiredis
import pytest
import redis
from limits import parse
from limits.strategies import SlidingWindowCounterRateLimiter

from models.boards import events
from models.boards.events import BoardChanged
from models.boards.places import Standing
from models.boards.ranking import BoardMissing, Keys, RankingStore, script_text, top_arguments
from models.errors import NotReady
from models.guard.rules import load_rules
from models.guard.suspicion import Noted, Subject, Suspicion
from models.pipeline import wake
from models.settings import DEFAULT_RULES
from models.storage.loop_cluster import LoopCluster
from models.storage.loop_redis import NO_ANSWER
from models.storage.redis import node_of, open_redis
from models.stores import Stores
from tests.fixtures.own_redis import HOST, OwnCluster
from tests.fixtures.people import server_update
from tests.fixtures.threads import background
from web import credit
from web.credit import Credit, Limit
from web.limits import Counters
from web.live.feed import Feed

BOARDS = [f"board-{number}" for number in range(12)]


@pytest.fixture
def redis_url(redis_cluster: OwnCluster) -> str:
    """What all stores of these tests are opened with."""
    redis_cluster.clear()
    return redis_cluster.url


@pytest.fixture
def client(redis_url: str) -> Iterator[redis.Redis]:
    with open_redis(redis_url) as client:
        yield client


def standing(number: int, score: int, version: int = 1) -> Standing:
    return Standing(str(UUID(int=number)), f"p{number}", score, 1, version)


def built(store: RankingStore, board: str) -> Keys:
    keys = Keys(board, 1)
    assert store.begin_build(keys, "one", 10)
    assert store.load_build(keys, "one", 10, [standing(n, n) for n in range(1, 4)])
    assert (store.finish_build(keys, "one", 7) or 0) >= 7
    return keys


def test_each_board_is_on_one_node_and_boards_are_on_all(client: redis.Redis) -> None:
    store = RankingStore(client)
    nodes = set()
    for board in BOARDS:
        keys = built(store, board)
        before = store.version(keys)
        assert store.refresh(keys, [standing(1, 50, version=2)]) == (before + 1, 1)
        assert [entry.score for entry in store.top(keys, 10, 0).entries] == [50, 3, 2]
        assert store.version(keys) == before + 1
        nodes.add(port_of(client, keys.live()[0]))
    assert len(nodes) == 3


def test_updates_reach_boards_and_whoever_listens(
    stores: Stores, players, submit_batch, drain, eventually: Callable[..., object]
) -> None:
    """From accepting to the feed, on whatever nodes that is."""
    heard: list[BoardChanged] = []

    class Hub:
        changed = staticmethod(heard.append)
        missed = staticmethod(lambda: gaps.append(1))

    gaps: list[int] = []
    feed = Feed(open_redis(stores.settings.redis_url), ["global", "skill"], Hub())
    thread = background(feed.run)
    eventually(lambda: len(gaps) == 2)
    ada, bob = players(2)
    stores.ranking.top("global", 1)
    submit_batch([server_update(ada, value=2), server_update(bob, value=1)])
    drain()
    assert [entry.user_id for entry in stores.ranking.top("global", 10).entries] == [ada.user_id, bob.user_id]
    eventually(lambda: [event.board for event in heard] == ["global"])
    feed.stop()
    thread.join(5)


def test_a_worker_that_stays_is_called(client: redis.Redis) -> None:
    """Whoever calls counts those who listen on the node where they do."""
    for shard in range(6):
        with wake.Attendance(client, shard, lambda: None) as attendance:
            assert wake.call(client, shard) == "heard"
            assert attendance.called()
            assert wake.call(client, shard) == "under way"
            wake.lower_flag(client, shard)
        assert wake.call(client, shard) == "nobody"


def test_suspicion_of_many_is_added_and_told_in_order(client: redis.Redis) -> None:
    rule = load_rules(DEFAULT_RULES).rules[0]
    subjects = [Subject(rule, f"198.51.100.{n}") for n in range(60)]
    suspicion = Suspicion(client)
    for times in (1, 2):
        found = suspicion.add({subject: Noted(float(n), n) for n, subject in enumerate(subjects)})
        assert [found[subject].events for subject in subjects] == [times * n for n in range(60)]
    assert len({port_of(client, subject.key) for subject in subjects}) == 3


def test_limits_are_counted_on_credit_and_one_by_one(client: redis.Redis, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(credit, "JOINING_SECONDS", 0)
    hundred = Limit(parse("100/minute"), "user")
    storage = Counters("", client)
    process = Credit(storage, client)
    process.report()
    callers = [f"caller-{number}" for number in range(30)]
    assert all(process.spend([(hundred, caller)]) for caller in callers for _ in range(5))
    assert not process.spend([(hundred, callers[0])])
    process.report()
    counted = SlidingWindowCounterRateLimiter(storage)
    assert {counted.get_window_stats(hundred.item, "user", caller).remaining for caller in callers} == {95}
    assert all(counted.hit(hundred.item, "user", callers[0]) for _ in range(95))
    assert not counted.hit(hundred.item, "user", callers[0])
    assert process.spend([(hundred, callers[0])])
    process.report()
    assert not process.spend([(hundred, callers[0])])
    assert process.spend([(hundred, callers[1])])


def test_one_loop_reads_all_nodes_hears_what_changes_on_each_and_follows_a_slot_that_moves(
    client: redis.Redis, redis_cluster: OwnCluster
) -> None:
    store = RankingStore(client)
    boards = {board: built(store, board) for board in BOARDS}
    assert {store.top(keys, 1, 0).total for keys in boards.values()} == {3}  # and the script is on every node
    sha = hashlib.sha1(script_text("read", may_move=True).encode(), usedforsecurity=False).hexdigest()

    async def until(holds: Callable[[], bool], seconds: float = 10) -> None:
        deadline = time.monotonic() + seconds
        while not holds():
            assert time.monotonic() < deadline
            await asyncio.sleep(0.01)

    async def run() -> None:
        loop = asyncio.get_running_loop()
        line = LoopCluster(loop, redis_cluster.url, "sb:{")
        heard: list[Any] = []
        line.on_changed = heard.append

        async def total(keys: Keys) -> Any:
            answer: asyncio.Future[Any] = loop.create_future()
            line.ask("EVALSHA", sha, 3, *keys.live(), *top_arguments(1, 0), told=answer.set_result)
            found = await answer
            return found if found is NO_ANSWER or isinstance(found, hiredis.ReplyError) else found and found[1]

        line.start()
        try:
            await until(lambda: all(line.is_current(f"{{{board}:1}}".encode()) for board in BOARDS))
            assert [await total(keys) for keys in boards.values()] == [3] * len(BOARDS)
            heard.clear()
            for board, keys in boards.items():
                store.refresh(keys, [standing(9, 9)])
                await until(lambda keys=keys: any(keys.live()[2].encode() in (names or ()) for names in heard))
                assert line.is_current(f"{{{board}:1}}"), "and hears nothing else"
            assert None not in heard
            assert [await total(keys) for keys in boards.values()] == [4] * len(BOARDS)

            moved = boards[BOARDS[0]]
            redis_cluster.move(moved.live()[0])
            assert isinstance(await total(moved), hiredis.ReplyError)  # MOVED: the ordinary way is taken meanwhile
            with pytest.raises(BoardMissing):  # its copy is not trusted: it is of another node's history
                store.top(moved, 1, 0)
            built(store, BOARDS[0])
            await until(lambda: None in heard and line.is_current(f"{{{BOARDS[0]}:1}}"))
            assert await total(moved) == 3
        finally:
            line.close()

    asyncio.run(run())


def test_a_node_that_dies_is_replaced_by_its_replica(
    client: redis.Redis, redis_cluster: OwnCluster, eventually: Callable[..., object]
) -> None:
    """Others' boards are there all the time; its own are built anew on the replica."""
    store = RankingStore(client)
    dies, stays = (next(b for b in BOARDS if redis_cluster.owner_of(Keys(b, 1).live()[0]) == n) for n in (1, 2))
    heard: list[BoardChanged] = []

    class Hub:
        changed = staticmethod(heard.append)
        missed = staticmethod(lambda: None)

    feed = Feed(open_redis(redis_cluster.url), [dies, stays], Hub())
    thread = background(feed.run)
    for board in (dies, stays):
        built(store, board)
    redis_cluster.add_replica(of=1)
    redis_cluster.kill_master(1)

    def is_replaced() -> bool:
        started = time.monotonic()
        assert store.top(Keys(stays, 1), 1, 0).total == 3
        with suppress(NotReady):
            try:
                return store.top(Keys(dies, 1), 1, 0) is None
            except BoardMissing:
                return True
            finally:
                assert time.monotonic() - started < 3.5
        return False

    eventually(is_replaced, 20, 0.1)
    assert [entry.score for entry in store.top(built(store, dies), 3, 0).entries] == [3, 2, 1]
    assert wake.call(client, 0) == "nobody"

    def is_heard() -> bool:
        with suppress(redis.RedisError):
            events.publish(client, BoardChanged(dies, 1, 7, 0, 0, (), ()))
        return bool(heard)

    eventually(is_heard, 10, 0.1)
    feed.stop()
    thread.join(5)


def test_a_cluster_that_is_away_is_not_ready_at_once_and_no_reason_not_to_start() -> None:
    """I8."""
    with open_redis(f"redis+cluster://{HOST}:1,{HOST}:2") as client:
        store = RankingStore(client)
        for _ in range(2):
            with pytest.raises(NotReady):
                store.top(Keys("global", 1), 1, 0)
        with pytest.raises(redis.RedisError):
            wake.call(client, 0)
        assert Suspicion(client).add({}) == {}


def port_of(client: redis.Redis, key: str) -> int:
    return int(node_of(client, key).connection_pool.connection_kwargs["port"])
