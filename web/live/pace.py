"""When boards are looked at: at once when idle, then at most once a tick; one greenlet a board."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Final

import gevent
import structlog
from gevent.event import Event

from models.errors import ScoreboardError

log = structlog.get_logger(__name__)

#: 100 looks a second at most: below what an eye sees as a step.
TICK_SECONDS: Final = 0.010
#: And after a look a rest of a quarter of what it took, at least. A sweep over 1,000 sockets takes some 8 ms, one over
#: 5,000 takes 40: it gives way to everything else in between, and each delta then gathers what changed meanwhile.
REST: Final = 0.25
#: After a failed look. Short, for who waits for a first snapshot waits for this.
RETRY_SECONDS: Final = 0.25


def _look_at_nothing(_board: str) -> None:
    """Stands in for the hub until it is there."""


class Pace:
    """Calls `tick` for boards that somebody asked to look at."""

    def __init__(self) -> None:
        self.tick: Callable[[str], float | None] = _look_at_nothing
        self._asked: dict[str, Event] = {}
        self._greenlets: list[gevent.Greenlet] = []

    def wake(self, board: str) -> None:
        """Look at the board soon. Never waits, so it may be called from the event loop itself."""
        asked = self._asked.get(board)
        if asked is None:
            asked = self._asked[board] = Event()
            self._greenlets.append(gevent.spawn(self._beat, board, asked))
        asked.set()

    def stop(self) -> None:
        """Look no more."""
        gevent.killall(self._greenlets, block=False)

    def _beat(self, board: str, asked: Event) -> None:
        due: float | None = None
        while True:
            asked.wait(None if due is None else max(0.0, due - time.monotonic()))
            asked.clear()
            started = time.monotonic()
            try:
                due = self.tick(board)
            except ScoreboardError as error:
                log.warning("board cannot be read", **{"event.action": "tick-failed"}, board=board, error=error.detail)
                due = started + RETRY_SECONDS
            except Exception:
                log.exception("tick failed", **{"event.action": "tick-failed"}, board=board)
                due = started + RETRY_SECONDS
            took = time.monotonic() - started
            gevent.sleep(max(TICK_SECONDS - took, REST * took))
