"""Boards are looked at at once when idle, and never for more than four fifths of the time."""

from __future__ import annotations

import time
from itertools import pairwise

import gevent
import pytest

from web.live.pace import TICK_SECONDS, Pace


@pytest.fixture
def pace():
    found = Pace()
    yield found
    found.stop()


def looks(pace: Pace, took_seconds: float, seconds: float) -> list[tuple[float, float]]:
    """When each look began and ended, while somebody asks all the time."""
    seen: list[tuple[float, float]] = []

    def tick(_board: str) -> None:
        began = time.monotonic()
        time.sleep(took_seconds)
        seen.append((began, time.monotonic()))

    pace.tick = tick
    until = time.monotonic() + seconds
    while time.monotonic() < until:
        pace.wake("global")
        gevent.sleep(0.001)
    return seen


def test_a_quick_look_is_repeated_no_sooner_than_a_tick_later(pace: Pace) -> None:
    seen = looks(pace, 0.0, 0.2)
    assert len(seen) > 1
    assert all(later[0] - sooner[0] >= TICK_SECONDS * 0.95 for sooner, later in pairwise(seen))


def test_a_look_that_takes_long_is_followed_by_a_rest(pace: Pace) -> None:
    seen = looks(pace, 0.06, 0.5)
    assert len(seen) > 1
    assert all(later[0] - sooner[1] >= 0.06 / 4 * 0.95 for sooner, later in pairwise(seen))


def test_who_asks_while_nobody_looks_is_seen_at_once(pace: Pace) -> None:
    seen: list[float] = []
    pace.tick = lambda _board: seen.append(time.monotonic())
    pace.wake("global")
    gevent.sleep(0)
    gevent.sleep(0)
    assert len(seen) == 1
