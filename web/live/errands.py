"""Work that may wait for a store, done off the event loop by a few greenlets, with a bound on what queues."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable

import gevent
import structlog

log = structlog.get_logger(__name__)


class Errands:
    """Runs jobs in order of arrival, at most `at_once` at a time."""

    def __init__(self, *, at_once: int, waiting_most: int) -> None:
        self._at_once = at_once
        self._waiting_most = waiting_most
        self._waiting: deque[Callable[[], None]] = deque()
        self._running = 0

    def run(self, job: Callable[[], None]) -> bool:
        """Take the job on; False when too many wait already. Never waits itself."""
        if len(self._waiting) >= self._waiting_most:
            return False
        self._waiting.append(job)
        if self._running < self._at_once:
            self._running += 1
            gevent.spawn(self._work)
        return True

    def _work(self) -> None:
        try:
            while self._waiting:
                job = self._waiting.popleft()
                try:
                    job()
                except Exception:
                    log.exception("errand failed", **{"event.action": "errand-failed"})
        finally:
            self._running -= 1
