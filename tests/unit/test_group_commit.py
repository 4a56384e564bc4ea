"""Requests that arrive during a write share the next one; each gets its own verdict, and nobody is left waiting."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Sequence

import pytest
from hypothesis import given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st

from models.errors import NotReady, Overloaded, QueueUnavailable
from models.pipeline import group_commit
from models.pipeline.group_commit import GroupCommit
from tests.fixtures.threads import at_once, background
from tests.fixtures.waiting import eventually


class Store:
    """Writes groups; each write can be held at its beginning and made to fail."""

    def __init__(self) -> None:
        self.groups: list[list[int]] = []
        self.deadlines: list[float] = []
        self.begun = threading.Semaphore(0)
        self.go_on = threading.Semaphore(0)
        self.fail_with: list[BaseException | None] = []
        self.held = True

    def write(self, items: list[int], deadline: float) -> list[str]:
        self.groups.append(items)
        self.deadlines.append(deadline)
        number = len(self.groups) - 1
        if self.held:
            self.begun.release()
            assert self.go_on.acquire(timeout=10)
        failure = self.fail_with[number] if number < len(self.fail_with) else None
        if failure is not None:
            raise failure
        return [f"v{item}" for item in items]


class Caller:
    """One request in a thread, and what it was told."""

    def __init__(self, commits: GroupCommit[int, str], items: Sequence[int]) -> None:
        self.verdicts: Sequence[str] | None = None
        self.error: BaseException | None = None
        self._thread = background(lambda: self._run(commits, items))

    def _run(self, commits: GroupCommit[int, str], items: Sequence[int]) -> None:
        try:
            self.verdicts = commits.submit(items)
        except BaseException as error:  # noqa: BLE001 - what it was told is what the test asks
            self.error = error

    def join(self) -> Caller:
        self._thread.join(10)
        assert not self._thread.is_alive()
        return self


@pytest.fixture
def store() -> Store:
    return Store()


@pytest.fixture
def commits(store: Store) -> GroupCommit[int, str]:
    return GroupCommit(store.write)


def waiting(commits: GroupCommit[int, str], how_many: int) -> Callable[[], bool]:
    return lambda: len(commits._waiting) == how_many


def queue_behind_a_write(commits: GroupCommit[int, str], store: Store, how_many: int) -> tuple[Caller, list[Caller]]:
    """A leader whose write has begun, and that many callers waiting behind it, in order."""
    leader = Caller(commits, [0])
    assert store.begun.acquire(timeout=5)
    followers = []
    for number in range(1, how_many + 1):
        followers.append(Caller(commits, [number]))
        eventually(waiting(commits, number))
    return leader, followers


def is_idle(commits: GroupCommit[int, str]) -> bool:
    return not commits._led and not commits._waiting and commits._waiting_items == 0


def test_alone_nobody_waits_for_company(commits: GroupCommit[int, str], store: Store) -> None:
    store.held = False
    assert commits.submit([7]) == ["v7"]
    assert commits.submit([8, 9]) == ["v8", "v9"]
    assert store.groups == [[7], [8, 9]]
    assert is_idle(commits)


def test_who_comes_during_a_write_goes_with_the_next_one(commits: GroupCommit[int, str], store: Store) -> None:
    leader, followers = queue_behind_a_write(commits, store, 5)
    store.held = False
    store.go_on.release()
    assert leader.join().verdicts == ["v0"]
    assert [caller.join().verdicts for caller in followers] == [[f"v{number}"] for number in range(1, 6)]
    assert store.groups == [[0], [1, 2, 3, 4, 5]]
    assert is_idle(commits)


def test_there_is_one_write_at_a_time(commits: GroupCommit[int, str]) -> None:
    now, most, lock = 0, 0, threading.Lock()

    def write(items: list[int], deadline: float) -> list[str]:
        nonlocal now, most
        with lock:
            now += 1
            most = max(most, now)
        with lock:
            now -= 1
        return [str(item) for item in items]

    commits = GroupCommit(write)
    results = at_once([lambda n=n: commits.submit([n, -n]) for n in range(32)])
    assert results == [[str(n), str(-n)] for n in range(32)]
    assert most == 1
    assert is_idle(commits)


@pytest.mark.parametrize("error", [NotReady(), QueueUnavailable()])
def test_a_refusal_reaches_all_of_its_group_and_nobody_else(
    commits: GroupCommit[int, str], store: Store, error: Exception
) -> None:
    store.fail_with = [None, error]
    leader, followers = queue_behind_a_write(commits, store, 3)
    store.go_on.release()
    assert store.begun.acquire(timeout=5)
    late = Caller(commits, [9])
    eventually(waiting(commits, 1))
    store.held = False
    store.go_on.release()
    assert leader.join().verdicts == ["v0"]
    assert [caller.join().error for caller in followers] == [error] * 3
    assert late.join().verdicts == ["v9"]
    assert is_idle(commits)


@pytest.mark.parametrize("failure", [ValueError("a fault of ours"), KeyboardInterrupt(), SystemExit()])
def test_nobody_is_lost_when_the_leader_dies_of_it(
    commits: GroupCommit[int, str], store: Store, failure: BaseException
) -> None:
    store.fail_with = [None, failure]
    leader, followers = queue_behind_a_write(commits, store, 3)
    store.go_on.release()
    assert store.begun.acquire(timeout=5)
    late = Caller(commits, [9])
    eventually(waiting(commits, 1))
    store.held = False
    store.go_on.release()
    assert leader.join().verdicts == ["v0"]
    assert followers[0].join().error is failure
    assert [type(caller.join().error) for caller in followers[1:]] == [QueueUnavailable] * 2
    assert late.join().verdicts == ["v9"]
    assert is_idle(commits)


def test_too_many_waiting_are_told_to_come_back_and_nothing_of_theirs_is_written(
    commits: GroupCommit[int, str], store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    """I8: every queue has a bound."""
    monkeypatch.setattr(group_commit, "WAITING_MOST", 3)
    leader, followers = queue_behind_a_write(commits, store, 2)
    with pytest.raises(Overloaded) as refused:
        commits.submit([50, 51])
    assert refused.value.retry_after_seconds == 1
    store.held = False
    store.go_on.release()
    assert [caller.join().error for caller in (leader, *followers)] == [None] * 3
    assert store.groups == [[0], [1, 2]]
    assert commits.submit([60]) == ["v60"]


def test_a_group_has_a_bound_and_the_rest_goes_next(
    commits: GroupCommit[int, str], store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(group_commit, "GROUP_MOST", 2)
    leader, followers = queue_behind_a_write(commits, store, 5)
    store.held = False
    store.go_on.release()
    for caller in (leader, *followers):
        assert caller.join().error is None
    assert store.groups == [[0], [1, 2], [3, 4], [5]]


def test_a_call_larger_than_a_group_is_still_written_as_one(
    commits: GroupCommit[int, str], store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(group_commit, "GROUP_MOST", 2)
    store.held = False
    assert commits.submit(range(5)) == [f"v{n}" for n in range(5)]
    assert len(store.groups) == 1


def test_who_waits_too_long_gives_up_and_is_not_written_later(
    commits: GroupCommit[int, str], store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    """I8: every wait has a deadline."""
    leader = Caller(commits, [0])
    assert store.begun.acquire(timeout=5)
    monkeypatch.setattr(group_commit, "MARGIN_SECONDS", group_commit.DEADLINE_SECONDS - 0.05)
    with pytest.raises(QueueUnavailable):
        commits.submit([1])
    assert commits._waiting_items == 0
    store.held = False
    store.go_on.release()
    assert leader.join().verdicts == ["v0"]
    assert store.groups == [[0]]
    assert is_idle(commits)


def test_who_gives_up_at_the_moment_the_lead_is_passed_on_leads_the_others(
    commits: GroupCommit[int, str], store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Otherwise nobody would write any more: the lead would be with somebody who went home."""
    callers: list[Caller] = []
    give_up = commits._give_up

    def late(ticket: object) -> bool:
        callers.append(Caller(commits, [2]))
        eventually(waiting(commits, 2))
        store.held = False
        store.go_on.release()
        eventually(lambda: ticket.leads)  # type: ignore[attr-defined]
        return give_up(ticket)  # type: ignore[arg-type]

    leader = Caller(commits, [0])
    assert store.begun.acquire(timeout=5)
    monkeypatch.setattr(group_commit, "MARGIN_SECONDS", group_commit.DEADLINE_SECONDS - 0.5)
    monkeypatch.setattr(commits, "_give_up", late)
    with pytest.raises(QueueUnavailable):
        commits.submit([1])
    assert callers[0].join().verdicts == ["v2"]
    assert leader.join().verdicts == ["v0"]
    assert store.groups == [[0], [2]]
    assert is_idle(commits)


def test_who_waits_for_a_write_that_has_begun_gets_its_answer(
    commits: GroupCommit[int, str], store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Waiting too long counts while in the queue; what is being written may still come out well."""
    given_up = threading.Event()
    give_up = commits._give_up

    def noticed(ticket: object) -> bool:
        left = give_up(ticket)  # type: ignore[arg-type]
        given_up.set()
        return left

    monkeypatch.setattr(group_commit, "MARGIN_SECONDS", group_commit.DEADLINE_SECONDS - 0.5)
    monkeypatch.setattr(commits, "_give_up", noticed)
    _, followers = queue_behind_a_write(commits, store, 2)
    store.go_on.release()
    assert store.begun.acquire(timeout=5)
    assert given_up.wait(5)
    store.go_on.release()
    assert [caller.join().verdicts for caller in followers] == [["v1"], ["v2"]]
    assert is_idle(commits)


def test_a_write_is_told_when_the_oldest_of_its_callers_must_have_an_answer(
    commits: GroupCommit[int, str], store: Store
) -> None:
    """I8: nobody waits longer than that, whether in the queue or for the write."""
    before = time.monotonic()
    _, followers = queue_behind_a_write(commits, store, 1)
    after = time.monotonic()
    followers.append(Caller(commits, [2]))
    eventually(waiting(commits, 2))
    store.held = False
    store.go_on.release()
    assert [caller.join().verdicts for caller in followers] == [["v1"], ["v2"]]
    assert store.groups == [[0], [1, 2]]
    for deadline in store.deadlines:
        assert before + group_commit.DEADLINE_SECONDS <= deadline <= after + group_commit.DEADLINE_SECONDS


def test_who_is_interrupted_while_waiting_does_not_take_the_lead_along(
    commits: GroupCommit[int, str], store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A greenlet that is killed, or a main thread on Ctrl-C."""
    original = group_commit._Ticket

    class Interrupted(original[int, str]):  # type: ignore[valid-type, misc]
        def wait(self, seconds: float) -> bool:
            store.held = False
            store.go_on.release()
            assert super().wait(5)
            raise KeyboardInterrupt

    def ticket(items: Sequence[int]) -> object:
        return Interrupted(items) if list(items) == [1] else original(items)

    leader = Caller(commits, [0])
    assert store.begun.acquire(timeout=5)
    monkeypatch.setattr(group_commit, "_Ticket", ticket)
    with pytest.raises(KeyboardInterrupt):
        commits.submit([1])
    assert leader.join().verdicts == ["v0"]
    assert Caller(commits, [2]).join().verdicts == ["v2"]
    assert is_idle(commits)


@hypothesis_settings(max_examples=20)
@given(st.lists(st.lists(st.integers(), min_size=1, max_size=4), min_size=1, max_size=16), st.sets(st.integers(0, 20)))
def test_each_caller_gets_the_verdicts_of_its_own_items(calls: list[list[int]], failing: set[int]) -> None:
    writes = 0

    def write(items: list[int], deadline: float) -> list[str]:
        nonlocal writes
        writes += 1
        if writes in failing:
            raise NotReady
        return [f"v{item}" for item in items]

    commits = GroupCommit(write)
    results = at_once([lambda items=items: commits.submit(items) for items in calls])
    for items, result in zip(calls, results, strict=True):
        assert isinstance(result, NotReady) or result == [f"v{item}" for item in items]
    assert is_idle(commits)
