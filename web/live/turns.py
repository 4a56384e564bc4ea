"""gevent's event loop, as what runs on any loop uses it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import gevent
from gevent import get_hub


class Timer:
    """A call that is due."""

    __slots__ = ("_timer",)

    def __init__(self, timer: Any) -> None:
        self._timer = timer

    def cancel(self) -> None:
        """Call it no more. Repeatable."""
        self._timer.stop()
        self._timer.close()


class GeventTurns:
    """Runs things in later turns of the loop."""

    def call_later(self, seconds: float, call: Callable[[], object]) -> Timer:
        """Call it from the loop itself: it may not wait."""
        timer = get_hub().loop.timer(seconds)
        timer.start(call)
        return Timer(timer)

    def spawn(self, work: Callable[[], None]) -> None:
        """Run it in a greenlet of its own, where it may wait."""
        gevent.spawn(work)
