"""Boards in Redis are held against Postgres: damage of any kind is found, mended, counted; health is left alone."""

from __future__ import annotations

import random
import threading
from collections import Counter
from collections.abc import Callable
from uuid import UUID, uuid4

import pytest
import redis

from models.boards import events
from models.boards.agreement import Cause
from models.boards.events import BoardChanged
from models.boards.places import Standing, refresh_arguments
from models.boards.ranking import Keys
from models.boards.rebuild import VERSIONS_PER_EPOCH
from models.errors import NotReady
from models.pipeline import compare, repair
from models.pipeline.repair import Comparison, Repair
from models.settings import Settings
from models.stores import Stores
from tests.fixtures.people import register, server_update
from tests.fixtures.servers import in_parts
from tests.fixtures.service import Query
from tests.fixtures.threads import at_once

PLAYERS = 30
KEYS = Keys("global", 1)
RANKING, VALUES, META = KEYS.live()
Damage = Callable[[Stores, list[UUID]], object]


@pytest.fixture(autouse=True)
def _quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(compare, "SETTLE_SECONDS", 0.0)


@pytest.fixture
def played(stores: Stores, drain: Callable[..., object]) -> Stores:
    """A board with players, in Redis."""
    updates = [server_update(person, value=1 + n % 7) for n, person in enumerate(register(stores, PLAYERS))]
    stores.acceptor.accept_batch(updates, address=None, request_id="b")
    drain()
    stores.ranking.top("global", 1)
    return stores


@pytest.fixture
def told() -> list[BoardChanged]:
    """What was published."""
    return []


@pytest.fixture
def repairs(played: Stores, told: list[BoardChanged]) -> Repair:
    return Repair(played.engine, played.ranking, played.registry, told.append)


def on_the_board(stores: Stores) -> list[tuple[str, str, int, int]]:
    page = stores.ranking.top("global", 1000)
    assert page.total == len(page.entries)
    return [(entry.user_id, entry.username, entry.score, entry.reached_at) for entry in page.entries]


def from_postgres(query: Query) -> list[tuple[object, ...]]:
    return query(
        "SELECT user_id::text, username, score,"
        " (extract(epoch FROM coalesce(reached_at, s.created_at)) * 1000000)::bigint AS reached"
        " FROM scores s JOIN users u ON u.id = user_id WHERE board = 'global' ORDER BY score DESC, reached, user_id"
    )


def put(stores: Stores, user: UUID, **changes: object) -> None:
    """Write a player's parts as a refresh would, guarded by nothing."""
    forget(stores, user)
    found = {"score": 5, "reached_at": 5, "version": 1, "username": "somebody", **changes}
    key, place, double, version, name = refresh_arguments(Standing(user_id=str(user), **found))
    stores.redis.zadd(RANKING, {place + key: float(double)})
    stores.redis.hset(VALUES, key, place + version + name.encode())


def forget(stores: Stores, user: UUID) -> bytes:
    value = stores.redis.hget(VALUES, user.bytes) or b""
    stores.redis.zrem(RANKING, value[:16] + user.bytes)
    stores.redis.hdel(VALUES, user.bytes)
    return value


def take_out(stores: Stores, users: list[UUID]) -> None:
    forget(stores, users[0])


def rename(stores: Stores, users: list[UUID]) -> None:
    value = stores.redis.hget(VALUES, users[0].bytes)
    stores.redis.hset(VALUES, users[0].bytes, value[:24] + b"mallory")


def misplace(stores: Stores, users: list[UUID]) -> None:
    """The ranking has the player at another place than the player's value says; the counts agree."""
    value = stores.redis.hget(VALUES, users[0].bytes)
    stores.redis.zrem(RANKING, value[:16] + users[0].bytes)
    stores.redis.zadd(RANKING, {b"\x00" * 16 + users[0].bytes: -9e18})


def misorder(stores: Stores, users: list[UUID]) -> None:
    """The right member under a wrong double: it stands at a wrong rank."""
    value = stores.redis.hget(VALUES, users[0].bytes)
    stores.redis.zadd(RANKING, {value[:16] + users[0].bytes: 1e9})


def double(stores: Stores, users: list[UUID]) -> None:
    """One player twice in the ranking, another not at all; the counts agree."""
    value = stores.redis.hget(VALUES, users[1].bytes)
    stores.redis.zrem(RANKING, value[:16] + users[1].bytes)
    stores.redis.zadd(RANKING, {b"\x00" * 16 + users[0].bytes: -9e18})


def write_nonsense(stores: Stores, users: list[UUID]) -> None:
    """A member that is nobody's, and a value that is nobody's, so that the counts agree."""
    stores.redis.zadd(RANKING, {b"nonsense": -9e18})
    stores.redis.hset(VALUES, b"nonsense", b"nonsense")


PLAYERS_DAMAGE: dict[str, tuple[Damage, Cause]] = {
    "a score with a later version": (lambda s, u: put(s, u[0], score=999, version=99), Cause.AHEAD),
    "a score of an earlier version": (lambda s, u: put(s, u[0], score=1, version=0), Cause.BEHIND),
    "another score of the same version": (lambda s, u: put(s, u[0], score=999), Cause.DIFFERING),
    "another time": (lambda s, u: put(s, u[0], score=10, reached_at=1), Cause.DIFFERING),
    "another name": (rename, Cause.DIFFERING),
    "a player who is missing": (take_out, Cause.MISSING),
    "a player too many": (lambda s, u: put(s, uuid4()), Cause.SURPLUS),
    "a player at another place than the player's value": (misplace, Cause.DIFFERING),
    "a player at a wrong rank": (misorder, Cause.DIFFERING),
    "a player twice and another not at all": (double, Cause.DIFFERING),
    "what is no player": (write_nonsense, Cause.SURPLUS),
}
MISSING_PARTS: dict[str, list[str]] = {
    "players": [VALUES],
    "ranking": [RANKING],
    "meta": [META],
    "ranking and meta": [RANKING, META],
    "everything": [RANKING, VALUES, META],
}


def users_of(query: Query) -> list[UUID]:
    """The players; the first is in the middle of the board."""
    return [UUID(str(user_id)) for (user_id,) in query("SELECT user_id FROM scores ORDER BY score, user_id OFFSET 15")]


HOW: dict[str, Callable[[Repair], Comparison]] = {
    "sample": lambda repairs: repairs.sample("global"),
    "whole": lambda repairs: repairs.repair("global", 60),
    "on demand": lambda repairs: repairs.compare("global", mend=True),
}


@pytest.mark.parametrize("how", HOW)
@pytest.mark.parametrize("damage", PLAYERS_DAMAGE)
def test_what_was_changed_behind_our_back_is_found_mended_and_counted(
    played, repairs, query, told, damage, how
) -> None:
    """I5; and I6: mending takes no version back."""
    before = played.ranking.version("global")
    change, cause = PLAYERS_DAMAGE[damage]
    change(played, users_of(query))
    found = HOW[how](repairs)
    assert not found.agrees
    assert cause in found.causes
    assert found.rebuilt == (cause not in {Cause.MISSING, Cause.BEHIND})
    assert found.refreshed == (0 if found.rebuilt else 1)
    assert on_the_board(played) == from_postgres(query)
    assert played.ranking.version("global") > before
    assert [event.version for event in told] == [played.ranking.version("global")]
    again = HOW[how](repairs)
    assert (again.agrees, again.rebuilt, again.refreshed, again.players) == (True, False, 0, PLAYERS)


@pytest.mark.parametrize("how", HOW)
@pytest.mark.parametrize("part", MISSING_PARTS)
def test_a_board_of_which_keys_were_lost_is_built_anew(played, repairs, query, part, how) -> None:
    before = played.ranking.version("global")
    played.redis.delete(*MISSING_PARTS[part])
    found = HOW[how](repairs)
    assert found.is_missing
    assert found.rebuilt
    assert played.ranking.version("global") > before
    assert on_the_board(played) == from_postgres(query)


@pytest.mark.parametrize("how", HOW)
def test_a_board_that_looks_empty_is_filled(played, repairs, query, how) -> None:
    played.redis.delete(RANKING, VALUES)
    found = HOW[how](repairs)
    assert found.causes == {Cause.MISSING: PLAYERS}
    assert on_the_board(played) == from_postgres(query)


@pytest.mark.parametrize("how", HOW)
def test_a_board_restored_from_before_the_last_build_is_rebuilt_above_all_its_versions(played, repairs, how) -> None:
    """I6: clients were told of later versions than those it would count on from."""
    copy = {key: played.redis.dump(key) for key in KEYS.live()}
    told = played.ranking.rebuild("global")
    for key, content in copy.items():
        played.redis.restore(key, 0, content, replace=True)
    found = HOW[how](repairs)
    assert (found.is_of_the_past, found.rebuilt) == (True, True)
    assert played.ranking.version("global") > told
    assert HOW[how](repairs).agrees


def test_many_who_are_behind_are_a_board_of_another_time_and_lead_to_a_new_epoch(
    played, repairs, query, monkeypatch
) -> None:
    """I6: single refreshes would count on from a version that readers have seen with other scores."""
    monkeypatch.setattr(repair, "REFRESH_MOST", 5)
    before = played.ranking.version("global")
    for user in users_of(query)[:6]:
        put(played, user, version=0)
    found = repairs.sample("global")
    assert (found.causes, found.rebuilt) == ({Cause.BEHIND: 6}, True)
    assert played.ranking.version("global") > before + VERSIONS_PER_EPOCH // 2


def test_verifying_changes_nothing(played, repairs, query, told) -> None:
    take_out(played, users_of(query))
    version = played.ranking.version("global")
    assert [repairs.compare("global").causes for _ in range(2)] == [{Cause.MISSING: 1}] * 2
    assert played.ranking.version("global") == version
    played.redis.delete(META)
    assert repairs.compare("global").is_missing
    assert played.redis.exists(META) == 0
    assert told == []


class TestOnItsWay:
    """What a batch has committed and Redis was not told of yet is no difference."""

    def test_a_batch_whose_mark_stands_is_left_to_the_sweeper(
        self, played, repairs, players, submit_batch, drain, monkeypatch
    ) -> None:
        def away(*_: object) -> None:
            raise NotReady("not now")

        with monkeypatch.context() as patch:
            patch.setattr(played.ranking, "refresh", away)
            submit_batch([server_update(person) for person in players(3)])
            drain()
        for look in HOW.values():
            assert look(repairs).agrees

    def test_a_difference_that_is_gone_at_the_second_look_is_none(self, played, repairs, query, monkeypatch) -> None:
        user = users_of(query)[0]
        value = forget(played, user)

        def settle(_seconds: float) -> None:
            played.redis.zadd(RANKING, {value[:16] + user.bytes: -float(2**63 - 1 - int.from_bytes(value[:8]))})
            played.redis.hset(VALUES, user.bytes, value)

        monkeypatch.setattr(compare.time, "sleep", settle)
        assert repairs.sample("global").agrees

    @pytest.mark.slow
    def test_a_healthy_board_under_load_is_never_mended(
        self, played, players, submit_batch, worker, open_process, monkeypatch
    ) -> None:
        """Samples and whole comparisons beside drains, new players, and builds: not one finding."""
        people = players(40)
        # A build's epoch is taken a moment before its end: who looks twice at once may see that moment twice.
        monkeypatch.setattr(compare, "SETTLE_SECONDS", 0.1)
        stop = threading.Event()
        findings: list[Comparison] = []
        looked = Counter[str]()
        refresh = played.ranking.refresh

        def refresh_late(*arguments: object) -> object:
            """So that most looks come between a commit and its refresh."""
            pause.wait(0.02)
            return refresh(*arguments)

        pause = threading.Event()
        monkeypatch.setattr(played.ranking, "refresh", refresh_late)

        def play() -> None:
            try:
                for _ in range(120):
                    submit_batch([server_update(random.choice(people)) for _ in range(8)])
                    worker.drain(0)
            finally:
                stop.set()

        def build() -> None:
            while not stop.wait(0.2):
                played.ranking.rebuild("global")

        def look(how: str) -> None:
            other = open_process()
            repairs = Repair(other.engine, other.ranking, other.registry, lambda event: None)
            while not stop.is_set():
                found = HOW[how](repairs)
                looked[how] += 1
                if not found.agrees:
                    findings.append(found)

        results = at_once([play, build, lambda: look("sample"), lambda: look("whole")], 60)
        assert [result for result in results if result is not None] == []
        assert findings == []
        assert min(looked.values()) >= 3, looked


@in_parts
class TestLargeBoards:
    """A comparison of all is bounded in time and goes on where it stood."""

    def test_it_goes_on_where_its_time_was_up_and_begins_anew_after_the_end(
        self, played, repairs, query, monkeypatch
    ) -> None:
        monkeypatch.setattr(compare, "CHUNK", 10)
        parts = [repairs.repair("global", 0.0).players for _ in range(PLAYERS // 10)]
        assert parts == [10, 10, 10]
        assert repairs.repair("global", 0.0).players == 0, "the end: only the count is left"
        assert repairs.repair("global", 60).players == PLAYERS

    def test_another_process_goes_on_and_one_that_died_costs_its_part_alone(
        self, played, repairs, query, open_process, monkeypatch
    ) -> None:
        monkeypatch.setattr(compare, "CHUNK", 10)
        assert repairs.repair("global", 0.0).players == 10
        other = open_process()
        rest = Repair(other.engine, other.ranking, other.registry, lambda event: None)
        assert rest.repair("global", 60).players == 20

    def test_a_player_too_many_is_found_at_the_end_by_the_count(self, played, repairs, monkeypatch) -> None:
        monkeypatch.setattr(compare, "CHUNK", 10)
        put(played, uuid4(), score=-(2**62))
        found = [repairs.repair("global", 0.0) for _ in range(4)]
        assert [part.agrees for part in found] == [True, True, True, False]
        assert found[-1].causes == {Cause.SURPLUS: 1}
        assert found[-1].rebuilt

    def test_a_sample_is_of_bounded_size_and_has_the_top_and_others(self, played, repairs, query, monkeypatch) -> None:
        monkeypatch.setattr(compare, "SAMPLE_TOP", 4)
        monkeypatch.setattr(compare, "SAMPLE_STRETCH", 3)
        picked = [compare.Comparer(played.engine, played.ranking, played.registry, "global").pick() for _ in range(60)]
        top = [entry.user_id for entry in played.ranking.top("global", 4).entries]
        assert all(pick.user_ids[:4] == top and len(pick.user_ids) <= 10 for pick in picked)
        assert len({user_id for pick in picked for user_id in pick.user_ids}) == PLAYERS


def test_without_redis_a_comparison_says_so_at_once(environment, open_process) -> None:
    """I8."""
    away = open_process(Settings.from_env({**environment, "REDIS_URL": "unix:///nobody-is-here"}))
    repairs = Repair(away.engine, away.ranking, away.registry, lambda event: None)
    for look in HOW.values():
        with pytest.raises(NotReady):
            look(repairs)


def test_a_repair_that_cannot_be_published_is_a_repair_all_the_same(played, query) -> None:
    """I7: an event is a hint."""

    def lost(_event: BoardChanged) -> None:
        raise redis.ConnectionError("gone")

    take_out(played, users_of(query))
    assert Repair(played.engine, played.ranking, played.registry, lost).sample("global").refreshed == 1
    assert on_the_board(played) == from_postgres(query)


def test_what_was_mended_reaches_who_listens(played, repairs, query) -> None:
    with played.redis.pubsub() as listener:
        listener.subscribe(events.channel_of("global"))
        listener.get_message(timeout=1)
        take_out(played, users_of(query))
        publisher = Repair(played.engine, played.ranking, played.registry, lambda e: events.publish(played.redis, e))
        publisher.sample("global")
        heard = listener.get_message(timeout=1)
    assert events.decode(heard["data"]).version == played.ranking.version("global")
