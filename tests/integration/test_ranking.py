"""The boards in Redis: exact at every read, rebuilt once when missing, and never going back (I5, I6)."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Sequence
from uuid import UUID, uuid4

import pytest
import redis
from hypothesis import given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st
from sqlalchemy import event, text

from models.boards import rebuild
from models.boards import standings as standings_store
from models.boards.places import Standing
from models.boards.ranking import BoardMissing, Entry, Keys, Page, RankingStore
from models.boards.rebuild import VERSIONS_PER_EPOCH
from models.errors import BoardUnknown, NotFound, NotReady
from models.settings import Settings
from models.stores import Stores
from tests.fixtures.people import register, server_update
from tests.fixtures.threads import at_once

LEAST, MOST = -(2**63), 2**63 - 1
scores = st.sampled_from([LEAST, LEAST + 1, -1, 0, 1, 2**53, 2**53 + 1, MOST - 1, MOST]) | st.integers(LEAST, MOST)
times = st.integers(0, 3) | st.integers(0, 2**53)
user_ids = st.integers(0, 40).map(lambda n: str(UUID(int=n)))
boards = st.dictionaries(user_ids, st.tuples(scores, times), max_size=25)


@pytest.fixture(scope="module")
def client(valkey_server: str) -> Iterator[redis.Redis]:
    with redis.Redis.from_url(valkey_server.replace("db=0", "db=3")) as client:
        client.flushdb()
        yield client


def standing(user_id: str, score: int, reached_at: int, version: int = 1) -> Standing:
    return Standing(user_id, f"name of {user_id[-2:]}", score, reached_at, version)


def in_order(board: dict[str, tuple[int, int]]) -> list[Entry]:
    """The contract's order, by Python."""
    ordered = sorted(board.items(), key=lambda item: (-item[1][0], item[1][1], item[0]))
    return [
        Entry(rank, user_id, f"name of {user_id[-2:]}", score, reached_at)
        for rank, (user_id, (score, reached_at)) in enumerate(ordered, start=1)
    ]


def put(client: redis.Redis, standings: Sequence[Standing]) -> tuple[RankingStore, Keys]:
    """A fresh board with these standings."""
    store, keys = RankingStore(client), Keys(f"b{uuid4()}", 1)
    assert store.begin_build(keys, "build", 10)
    assert store.finish_build(keys, "build", 1) == 1
    store.refresh(keys, standings)
    return store, keys


def build(client: redis.Redis, standings: Sequence[Standing]) -> tuple[RankingStore, Keys]:
    """The same by a build."""
    store, keys = RankingStore(client), Keys(f"b{uuid4()}", 1)
    assert store.begin_build(keys, "build", 10)
    assert store.load_build(keys, "build", 10, standings)
    assert store.finish_build(keys, "build", 1) == 1
    return store, keys


@pytest.mark.parametrize("make", [put, build])
class TestReads:
    """Against sorted()."""

    @hypothesis_settings(max_examples=60)
    @given(board=boards, start=st.integers(0, 30), count=st.integers(1, 30))
    def test_a_page_is_that_stretch_of_the_sorted_board(self, client, make, board, start, count) -> None:
        store, keys = make(client, [standing(user, *place) for user, place in board.items()])
        page = store.top(keys, count, start)
        assert page.entries == tuple(in_order(board)[start : start + count])
        assert page.total == len(board)

    @hypothesis_settings(max_examples=40)
    @given(board=boards, count=st.integers(1, 30), data=st.data())
    def test_around_a_player_are_the_neighbours(self, client, make, board, count, data) -> None:
        store, keys = make(client, [standing(user, *place) for user, place in board.items()])
        expected = in_order(board)
        user_id = data.draw(user_ids)
        if user_id not in board:
            with pytest.raises(NotFound):
                store.around(keys, user_id, count)
            return
        place = next(entry.rank for entry in expected if entry.user_id == user_id) - 1
        first = max(0, min(place - count // 2, len(expected) - count))
        page = store.around(keys, user_id, count)
        assert page.entries == tuple(expected[first : first + count])
        assert user_id in {entry.user_id for entry in page.entries}

    @hypothesis_settings(max_examples=40)
    @given(board=boards, asked=st.lists(user_ids, max_size=20))
    def test_ranks_of_some_are_theirs_on_the_whole_board(self, client, make, board, asked) -> None:
        store, keys = make(client, [standing(user, *place) for user, place in board.items()])
        expected = tuple(entry for entry in in_order(board) if entry.user_id in asked)
        assert store.ranks(keys, asked).entries == expected


changes = st.lists(st.lists(st.tuples(user_ids, scores, times, st.integers(1, 6)), max_size=6), max_size=8)


@hypothesis_settings(max_examples=60)
@given(changes)
def test_only_a_later_version_of_a_score_is_taken_and_each_change_raises_the_boards_version(client, batches) -> None:
    """I5, I6: refreshes in any order, doubled or late."""
    store, keys = put(client, [])
    version, held = store.version(keys), {}
    for batch in batches:
        before = dict(held)
        for user_id, score, reached_at, number in batch:
            if number > held.get(user_id, (0, 0, 0))[2]:
                held[user_id] = (score, reached_at, number)
        told, changed = store.refresh(keys, [standing(*change) for change in batch])
        assert told == store.version(keys)
        assert (changed > 0) == (held != before)
        assert told == version + (1 if changed else 0)
        version = told
        expected = in_order({user_id: place[:2] for user_id, place in held.items()})
        assert store.top(keys, 100, 0) == Page(keys.board, 1, version, len(held), tuple(expected))


def test_a_board_that_is_missing_is_not_refreshed_into_half_a_board(client) -> None:
    store, keys = RankingStore(client), Keys(f"b{uuid4()}", 1)
    assert store.refresh(keys, [standing(str(uuid4()), 1, 1)]) == (None, 0)
    with pytest.raises(BoardMissing):
        store.top(keys, 10, 0)
    assert not client.exists(*keys.live())


class TestBuilds:
    """A build stands beside the board until it is whole."""

    def test_a_build_under_way_is_not_seen_and_another_cannot_begin(self, client) -> None:
        store, keys = put(client, [standing(str(UUID(int=1)), 1, 1)])
        assert store.begin_build(keys, "one", 10)
        store.load_build(keys, "one", 10, [standing(str(UUID(int=n)), n, 1) for n in range(2, 9)])
        assert store.top(keys, 10, 0).total == 1
        assert not store.begin_build(keys, "two", 10)
        assert not store.load_build(keys, "two", 10, [standing(str(UUID(int=99)), 1, 1)])
        assert store.finish_build(keys, "two", 1) is None
        assert store.top(keys, 10, 0).total == 1

    def test_a_refresh_during_a_build_is_in_it_whether_it_comes_before_or_after_its_player_is_loaded(self, client):
        store, keys = put(client, [])
        early, late = str(UUID(int=1)), str(UUID(int=2))
        store.begin_build(keys, "one", 10)
        store.refresh(keys, [standing(early, 50, 1, version=2)])
        store.load_build(keys, "one", 10, [standing(early, 10, 1, version=1), standing(late, 20, 1, version=1)])
        store.refresh(keys, [standing(late, 60, 1, version=2)])
        store.finish_build(keys, "one", 1)
        assert [(entry.user_id, entry.score) for entry in store.top(keys, 10, 0).entries] == [(late, 60), (early, 50)]

    def test_a_build_raises_the_version_even_above_a_board_that_ran_ahead(self, client) -> None:
        store, keys = put(client, [standing(str(UUID(int=1)), 1, 1)])
        before = store.version(keys)
        store.begin_build(keys, "one", 10)
        assert store.finish_build(keys, "one", 1) == before + 1

    def test_a_board_that_went_empty_is_replaced_whole(self, client) -> None:
        store, keys = put(client, [standing(str(UUID(int=1)), 1, 1)])
        store.begin_build(keys, "one", 10)
        store.finish_build(keys, "one", 1)
        assert store.top(keys, 10, 0).entries == ()

    def test_who_found_the_board_missing_and_comes_late_does_not_build_it_again(self, client) -> None:
        store, keys = RankingStore(client), Keys(f"b{uuid4()}", 1)
        assert store.begin_build(keys, "one", 10, only_if_missing=True)
        store.finish_build(keys, "one", 1)
        assert not store.begin_build(keys, "late", 10, only_if_missing=True)
        assert store.begin_build(keys, "asked for", 10)

    def test_a_builder_that_stopped_is_taken_over(self, client, eventually) -> None:
        store, keys = RankingStore(client), Keys(f"b{uuid4()}", 1)
        store.begin_build(keys, "dead", 1)
        store.load_build(keys, "dead", 1, [standing(str(UUID(int=1)), 1, 1)])
        assert not store.begin_build(keys, "next", 1)
        eventually(lambda: store.begin_build(keys, "next", 10))
        assert store.finish_build(keys, "dead", 1) is None
        store.load_build(keys, "next", 10, [standing(str(UUID(int=2)), 2, 1)])
        store.finish_build(keys, "next", 1)
        assert [entry.score for entry in store.top(keys, 10, 0).entries] == [2]


@pytest.fixture
def played(stores: Stores, drain: Callable[..., object]) -> Stores:
    """A board with 60 players."""
    updates = [server_update(person, value=1 + n % 7) for n, person in enumerate(register(stores, 60))]
    stores.acceptor.accept_batch(updates, address=None, request_id="b")
    drain()
    return stores


def from_postgres(stores: Stores, board: str = "global") -> list[tuple[str, int, int]]:
    with stores.engine.connect() as connection:
        rows = connection.execute(
            text(
                "SELECT user_id::text, score, (extract(epoch FROM coalesce(reached_at, created_at)) * 1000000)::bigint"
                " FROM scores WHERE board = :board ORDER BY score DESC, coalesce(reached_at, created_at), user_id"
            ),
            {"board": board},
        )
        return [tuple(row) for row in rows]


def as_lines(page: Page) -> list[tuple[str, int, int]]:
    return [(entry.user_id, entry.score, entry.reached_at) for entry in page.entries]


@pytest.fixture
def builds(played: Stores) -> list[str]:
    """The boards built from now on."""
    found: list[str] = []
    played.ranking.on_rebuilt = lambda board, seconds: found.append(board)
    return found


def test_a_missing_board_is_rebuilt_from_postgres_alone(played) -> None:
    played.redis.flushdb()
    assert as_lines(played.ranking.top("global", 1000)) == from_postgres(played)


def test_twenty_readers_of_a_missing_board_build_it_once(played, builds) -> None:
    played.redis.flushdb()
    pages = at_once([lambda: played.ranking.top("global", 1000) for _ in range(20)])
    assert {as_lines(page) == from_postgres(played) for page in pages} == {True}
    assert builds == ["global"]


def test_readers_of_two_processes_build_it_once(played, builds, open_process) -> None:
    other = open_process()
    other.ranking.on_rebuilt = lambda board, seconds: builds.append(board)
    played.redis.flushdb()
    processes = [played, other]
    pages = at_once([lambda n=n: processes[n % 2].ranking.top("global", 1000) for n in range(20)])
    assert {as_lines(page) == from_postgres(played) for page in pages} == {True}
    assert builds == ["global"]


@pytest.mark.parametrize("part", [0, 1, 2])
def test_one_key_that_was_evicted_leads_to_a_rebuild_and_never_to_half_a_board(played, builds, part) -> None:
    played.ranking.top("global", 1)
    builds.clear()
    played.redis.delete(Keys("global", 1).live()[part])
    assert as_lines(played.ranking.top("global", 1000)) == from_postgres(played)
    assert builds == ["global"]


@pytest.mark.parametrize("part", [0, 1])
def test_a_refresh_after_an_eviction_does_not_make_half_a_board_look_whole(played, part, submit_batch, drain) -> None:
    """The next reader must not see only those who played since."""
    played.ranking.top("global", 1)
    played.redis.delete(Keys("global", 1).live()[part])
    submit_batch([server_update(person) for person in register(played, 3)])
    drain()
    assert as_lines(played.ranking.top("global", 1000)) == from_postgres(played)


def test_versions_never_go_back_over_a_flush_or_a_rebuild(played, submit_batch, drain) -> None:
    """I6."""
    [person] = register(played, 1)
    seen = [played.ranking.top("global", 1).version]
    for _ in range(3):
        played.redis.flushdb()
        seen.append(played.ranking.top("global", 1).version)
        submit_batch([server_update(person)])
        drain()
        seen.append(played.ranking.version("global"))
        seen.append(played.ranking.rebuild("global"))
    assert seen == sorted(set(seen))
    assert seen[-1] > VERSIONS_PER_EPOCH


def test_a_rebuild_under_load_is_complete_and_readers_never_see_less(
    played, players, submit_batch, drain, monkeypatch
) -> None:
    """I5: what is committed during a build is in it."""
    monkeypatch.setattr(rebuild, "CHUNK", 5)
    people = players(40)
    stop = threading.Event()
    faults: list[str] = []

    def play() -> None:
        for person in people * 2:
            submit_batch([server_update(person)])
            drain()
        stop.set()

    def read() -> None:
        total, version = 0, 0
        while not stop.is_set():
            page = played.ranking.top("global", 1000)
            ranked = [(-entry.score, entry.reached_at, entry.user_id) for entry in page.entries]
            if ranked != sorted(ranked) or len(ranked) != page.total:
                faults.append(f"a page out of order, or short of {page.total}")
            if page.total < total or page.version < version:
                faults.append(f"{page.total} of {total} players, version {page.version} after {version}")
            total, version = page.total, page.version

    def build_again() -> None:
        while not stop.is_set():
            played.ranking.rebuild("global")

    results = at_once([play, read, read, build_again])
    assert [result for result in results if result is not None] == []
    assert faults == []
    assert as_lines(played.ranking.top("global", 1000)) == from_postgres(played)


def test_a_board_without_scores_is_an_empty_list_and_is_built_once(stores) -> None:
    page = stores.ranking.top("skill", 10)
    assert (page.entries, page.total) == ((), 0)
    again = stores.ranking.top("skill", 10)
    assert again.version == page.version


def test_unknown_boards_and_players_are_told_apart(played) -> None:
    for read in (
        lambda: played.ranking.top("pigs", 1),
        lambda: played.ranking.ranks("pigs", []),
        lambda: played.ranking.version("pigs"),
        lambda: played.ranking.around("pigs", str(uuid4()), 3),
    ):
        with pytest.raises(BoardUnknown):
            read()
    with pytest.raises(NotFound):
        played.ranking.around("global", str(uuid4()), 3)


def test_without_redis_reads_say_not_ready_at_once(environment, open_process) -> None:
    """I8."""
    away = open_process(Settings.from_env({**environment, "REDIS_URL": "unix:///nobody-is-here"}))
    for read in (
        lambda: away.ranking.top("global", 1),
        lambda: away.ranking.version("global"),
        lambda: away.ranking.ranks("global", [str(uuid4())]),
    ):
        with pytest.raises(NotReady) as refused:
            read()
        assert refused.value.retry_after_seconds == 1


def test_while_postgres_cannot_be_read_a_missing_board_is_not_ready_and_comes_back_by_itself(
    played, monkeypatch
) -> None:
    monkeypatch.setattr(rebuild, "PATIENCE_SECONDS", 0.2)
    played.redis.flushdb()
    with played.engine.connect() as connection:
        connection.execute(text("LOCK TABLE seasons IN ACCESS EXCLUSIVE MODE"))
        with pytest.raises(NotReady, match="being rebuilt"):
            played.ranking.top("global", 1)
        connection.rollback()
    monkeypatch.setattr(rebuild, "PATIENCE_SECONDS", 10)
    assert as_lines(played.ranking.top("global", 1000)) == from_postgres(played)


def test_a_page_is_one_round_trip_to_redis_and_none_to_postgres(played) -> None:
    played.ranking.top("global", 1)
    statements: list[str] = []
    event.listen(played.engine, "before_cursor_execute", lambda *arguments: statements.append(arguments[2]))
    before = played.redis.info("commandstats")
    played.ranking.top("global", 1000)
    after = played.redis.info("commandstats")
    asked = {name: stats["calls"] - before.get(name, {"calls": 0})["calls"] for name, stats in after.items()}
    assert statements == []
    assert asked["cmdstat_evalsha"] == 1


def test_a_background_build_that_fails_is_tried_again_by_the_next_reader(played, monkeypatch) -> None:
    monkeypatch.setattr(rebuild, "PATIENCE_SECONDS", 5)
    original, failures = standings_store.of_board, iter([True])

    def fail_once(*arguments: object) -> object:
        if next(failures, False):
            raise NotReady("not this time")
        return original(*arguments)

    monkeypatch.setattr(standings_store, "of_board", fail_once)
    monkeypatch.setattr(rebuild, "STALE_SECONDS", 1)
    played.redis.flushdb()
    assert as_lines(played.ranking.top("global", 1000)) == from_postgres(played)
