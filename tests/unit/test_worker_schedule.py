"""Beat keeps time by a clock that nobody sets, and leaves out ticks that nobody takes."""

from __future__ import annotations

from datetime import timedelta

import pytest

from worker import schedule


def test_a_clock_that_is_set_back_by_an_hour_delays_no_tick(monkeypatch: pytest.MonkeyPatch) -> None:
    sweep = schedule.schedule_of(1)["sweep"]["schedule"]
    before = schedule.steady_now()
    real = schedule.time.time
    monkeypatch.setattr(schedule.time, "time", lambda: real() - 3_600)
    passed = schedule.steady_now() - before
    assert timedelta(0) <= passed < timedelta(seconds=5)
    assert sweep.is_due(before - timedelta(seconds=2)).is_due


def test_no_tick_carries_a_time_of_day() -> None:
    """A worker whose clock is ahead of beat's would throw away whatever says `expires`."""
    for entry in schedule.schedule_of(4).values():
        assert "expires" not in entry["options"]
        assert entry["options"]["expiration"] >= 5.0
