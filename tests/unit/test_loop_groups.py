"""Requests on an event loop share commits as threads do: each gets its own verdict, and nobody is left waiting."""

from __future__ import annotations

import time
from collections.abc import Callable

import pytest
from greenlet import getcurrent, greenlet
from hypothesis import given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st

from models.errors import NotReady, Overloaded, QueueUnavailable, ScoreboardError
from models.pipeline import loop_groups
from models.pipeline.loop_groups import LoopGroups


class Store:
    """Writes groups; each write stands aside until the test lets it go on."""

    def __init__(self) -> None:
        self.groups: list[list[int]] = []
        self.deadlines: list[float] = []
        self.fail_with: dict[int, Exception] = {}
        self._resume: list[Callable[[], object]] = []

    def write(self, items: list[int], deadline: float) -> list[str]:
        number = len(self.groups)
        self.groups.append(items)
        self.deadlines.append(deadline)
        me = getcurrent()
        assert me.parent is not None
        self._resume.append(me.switch)
        me.parent.switch()
        if number in self.fail_with:
            raise self.fail_with[number]
        return [f"v{item}" for item in items]

    def go_on(self) -> None:
        """Let the oldest write end."""
        self._resume.pop(0)()


class Callers:
    """What each item's sender was told."""

    def __init__(self, commits: LoopGroups[int, str]) -> None:
        self._commits = commits
        self.told: dict[int, list[str | ScoreboardError]] = {}

    def submit(self, item: int, seconds: float = 9.0) -> None:
        """Send one."""
        self.told[item] = []
        self._commits.submit(item, time.monotonic() + seconds, self.told[item].append)


@pytest.fixture
def store() -> Store:
    return Store()


@pytest.fixture
def callers(store: Store) -> Callers:
    return Callers(LoopGroups(_Still(), store.write))


class _Still:
    """A loop whose timers ring when the test says so."""

    def __init__(self) -> None:
        self.timers: list[Callable[[], object]] = []

    def call_later(self, _seconds: float, call: Callable[[], object]) -> _Still:
        self.timers.append(call)
        return self

    def cancel(self) -> None:
        self.timers.clear()

    def spawn(self, work: Callable[[], None]) -> None:
        greenlet(work, parent=getcurrent()).switch()


def test_who_comes_alone_is_written_at_once(store: Store, callers: Callers) -> None:
    callers.submit(1)
    assert store.groups == [[1]]
    assert callers.told == {1: []}, "an answer before the commit would break I1"
    store.go_on()
    assert callers.told == {1: ["v1"]}


def test_who_comes_during_a_write_goes_with_the_next_in_order(store: Store, callers: Callers) -> None:
    for item in range(1, 5):
        callers.submit(item)
    assert store.groups == [[1]]
    store.go_on()
    assert store.groups == [[1], [2, 3, 4]]
    assert callers.told == {1: ["v1"], 2: [], 3: [], 4: []}
    store.go_on()
    assert callers.told == {item: [f"v{item}"] for item in range(1, 5)}
    callers.submit(5)
    store.go_on()
    assert callers.told[5] == ["v5"]


def test_a_group_has_the_time_of_its_oldest(store: Store, callers: Callers) -> None:
    callers.submit(1)
    callers.submit(2, seconds=4)
    callers.submit(3, seconds=9)
    store.go_on()
    assert store.deadlines[1] == pytest.approx(time.monotonic() + 4, abs=1)


@pytest.mark.parametrize("failure", [NotReady(), ZeroDivisionError()])
def test_a_failed_write_fails_its_own_and_no_other(store: Store, callers: Callers, failure: Exception) -> None:
    store.fail_with = {1: failure}
    for item in (1, 2, 3):
        callers.submit(item)
    store.go_on()
    callers.submit(4)
    store.go_on()
    told = failure if isinstance(failure, ScoreboardError) else QueueUnavailable()
    assert [type(callers.told[item][0]) for item in (2, 3)] == [type(told)] * 2
    store.go_on()
    assert (callers.told[1], callers.told[4]) == (["v1"], ["v4"])


def test_a_sender_who_cannot_be_answered_keeps_no_other_from_its_answer(store: Store) -> None:
    commits: LoopGroups[int, str] = LoopGroups(_Still(), store.write)
    callers = Callers(commits)
    callers.submit(1)
    commits.submit(2, time.monotonic() + 9, lambda _verdict: 1 // 0)
    callers.submit(3)
    store.go_on()
    store.go_on()
    assert callers.told[3] == ["v3"]


def test_who_would_be_answered_too_late_is_let_go_unwritten(store: Store) -> None:
    loop = _Still()
    callers = Callers(LoopGroups(loop, store.write))
    callers.submit(1)
    callers.submit(2, seconds=loop_groups.MARGIN_SECONDS - 0.1)
    callers.submit(3)
    for ring in list(loop.timers):
        ring()
    assert isinstance(callers.told[2][0], QueueUnavailable)
    assert callers.told[3] == []
    store.go_on()
    assert store.groups == [[1], [3]]


def test_more_than_may_wait_are_told_to_come_back(
    store: Store, callers: Callers, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(loop_groups, "WAITING_MOST", 2)
    for item in (1, 2, 3):
        callers.submit(item)
    with pytest.raises(Overloaded):
        callers.submit(4)
    store.go_on()
    store.go_on()
    assert store.groups == [[1], [2, 3]]


@hypothesis_settings(max_examples=50)
@given(st.lists(st.booleans(), max_size=60), st.sets(st.integers(0, 20)))
def test_in_any_order_of_arrivals_and_commits_each_is_told_once_and_its_own(
    arrives: list[bool], failing: set[int]
) -> None:
    store = Store()
    store.fail_with = {number: NotReady() for number in failing}
    callers = Callers(LoopGroups(_Still(), store.write))
    for item, arrival in enumerate(arrives):
        if arrival:
            callers.submit(item)
        elif store._resume:
            store.go_on()
    while store._resume:
        store.go_on()
    written = [item for group in store.groups for item in group]
    assert written == sorted(callers.told), "each is written once, in the order of arrival"
    for number, group in enumerate(store.groups):
        for item in group:
            (verdict,) = callers.told[item]
            assert isinstance(verdict, NotReady) if number in failing else verdict == f"v{item}"
