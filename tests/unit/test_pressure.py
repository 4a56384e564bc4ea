"""Batches are held back while what was accepted before is late, and no longer than is promised (I8)."""

from __future__ import annotations

import time
from typing import Any, cast

import pytest

from models import deadlines
from models.pipeline import pressure as pressure_module
from models.pipeline.inbox import InboxState
from models.pipeline.pressure import HOLD_SECONDS_MOST, HOLD_SHARE, Pressure


class Inbox:
    """An inbox whose oldest row is so old."""

    def __init__(self, age_seconds: float) -> None:
        self.age_seconds, self.looks = age_seconds, 0

    def connect(self) -> Inbox:
        return self

    def __enter__(self) -> Inbox:
        return self

    def __exit__(self, *_: object) -> None:
        pass

    def state(self, _connection: object) -> InboxState:
        self.looks += 1
        return InboxState(1_000, self.age_seconds)


@pytest.fixture
def held_seconds(monkeypatch: pytest.MonkeyPatch):
    """`held_seconds(inbox)`: how long a batch is held back."""

    def run(inbox: Inbox) -> float:
        monkeypatch.setattr(pressure_module.inbox, "state", inbox.state)
        found = Pressure(cast(Any, inbox), depth_limit=10_000, age_limit_seconds=900)
        found.state()
        deadline = time.monotonic() + 5
        while not inbox.looks and time.monotonic() < deadline:
            time.sleep(0.001)
        time.sleep(0.01)
        began = time.monotonic()
        found.hold_back()
        held = time.monotonic() - began
        found.close()
        return held

    return run


def test_while_rows_are_young_nobody_is_held(held_seconds) -> None:
    assert held_seconds(Inbox(0.02)) < 0.15


def test_the_later_the_rows_the_longer_a_batch_is_held(held_seconds) -> None:
    assert 0.2 <= held_seconds(Inbox(0.2 / HOLD_SHARE)) < 0.45
    assert 0.5 <= held_seconds(Inbox(0.5 / HOLD_SHARE)) < 0.9


def test_nobody_is_held_for_longer_than_is_said(held_seconds) -> None:
    assert HOLD_SECONDS_MOST <= held_seconds(Inbox(10.0)) < HOLD_SECONDS_MOST + 0.2


def test_who_must_be_answered_soon_is_held_half_of_that(held_seconds) -> None:
    with deadlines.within(0.4):
        assert held_seconds(Inbox(10.0)) < 0.3
