"""A request's deadline is known to every wait on its way (I8)."""

from __future__ import annotations

import math
import threading

from models import deadlines


def test_nobody_hurries_where_nobody_waits() -> None:
    assert deadlines.answer_by() == math.inf
    assert deadlines.remaining() == math.inf


def test_time_runs_from_the_beginning_of_a_request_to_its_end() -> None:
    deadlines.begin(5.0)
    try:
        assert 4.9 < deadlines.remaining() <= 5.0
    finally:
        deadlines.end()
    assert deadlines.remaining() == math.inf


def test_what_is_left_is_never_less_than_nothing() -> None:
    with deadlines.within(-1.0):
        assert deadlines.remaining() == 0.0


def test_a_piece_of_work_has_its_own_time_and_gives_the_requests_back() -> None:
    with deadlines.within(1.0):
        with deadlines.within(10.0):
            assert deadlines.remaining() > 9.0
        assert deadlines.remaining() <= 1.0


def test_a_threads_deadline_is_its_own() -> None:
    seen: list[float] = []
    with deadlines.within(1.0):
        thread = threading.Thread(target=lambda: seen.append(deadlines.remaining()))
        thread.start()
        thread.join()
    assert seen == [math.inf]
