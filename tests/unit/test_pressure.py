"""Batches are held back while what was accepted before is late, and no longer than is promised (I8)."""

from __future__ import annotations

import time
from typing import Any, cast

import pytest

from models import deadlines
from models.pipeline import pressure as pressure_module
from models.pipeline.inbox import InboxState
from models.pipeline.pressure import HOLD_SECONDS_MOST, YOUNG_SECONDS, Pressure


class Inbox:
    """An inbox whose oldest row is so old, and young again after some looks."""

    def __init__(self, age_seconds: float, looks: int = 10_000) -> None:
        self.age_seconds, self.looks = age_seconds, looks

    def connect(self) -> Inbox:
        return self

    def __enter__(self) -> Inbox:
        return self

    def __exit__(self, *_: object) -> None:
        pass

    def state(self, _connection: object) -> InboxState:
        self.looks -= 1
        return InboxState(1_000, self.age_seconds if self.looks > 0 else 0.0)


@pytest.fixture
def held_seconds(monkeypatch: pytest.MonkeyPatch):
    """`held_seconds(inbox)`: how long a batch is held back."""

    def run(inbox: Inbox) -> float:
        monkeypatch.setattr(pressure_module.inbox, "state", inbox.state)
        found = Pressure(cast(Any, inbox), depth_limit=10_000, age_limit_seconds=900)
        looks = inbox.looks
        found.state()
        deadline = time.monotonic() + 5
        while inbox.looks == looks and time.monotonic() < deadline:
            time.sleep(0.001)
        time.sleep(0.01)
        began = time.monotonic()
        found.hold_back()
        held = time.monotonic() - began
        found.close()
        return held

    return run


def test_while_rows_are_young_nobody_is_held(held_seconds) -> None:
    assert held_seconds(Inbox(YOUNG_SECONDS / 2)) < 0.05


def test_a_batch_goes_on_when_the_rows_are_young_again(held_seconds) -> None:
    assert 0.1 < held_seconds(Inbox(10 * YOUNG_SECONDS, looks=4)) < HOLD_SECONDS_MOST


def test_nobody_is_held_for_longer_than_is_said(held_seconds) -> None:
    assert HOLD_SECONDS_MOST <= held_seconds(Inbox(10.0)) < HOLD_SECONDS_MOST + 0.2


def test_who_must_be_answered_soon_is_held_half_of_that(held_seconds) -> None:
    with deadlines.within(0.4):
        assert held_seconds(Inbox(10.0)) < 0.3
