"""Lets so many requests into a web process at once and refuses the rest before they cost anything (I8).

In front of Flask, since a refusal there costs as much as a read: when five times too much comes, refusing is most of
the work. No token, limit or body is looked at and no store asked, so a refusal changes nothing (I9).
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING, Final

import structlog

from models.errors import Overloaded
from web import metrics
from web.problems import problem_answer
from web.requests import request_id_of
from web.wsgi import Answer

if TYPE_CHECKING:
    from _typeshed.wsgi import StartResponse, WSGIApplication, WSGIEnvironment

#: A process has 112 threads (api/serving/serving.py); each of these may hold one for 9 s while Postgres is frozen. The
#: others are for health checks, boards out of Redis, and for saying no.
#: Writes: a burst of 64 clients is let in whole. With five times too much offered to one core, those let in took 0.3 to
#: 0.4 s (p99; docs/performance.md).
WRITES_MOST: Final = 64
#: What players ask about themselves comes from Postgres too, and must not take the threads of the others.
OWN_READS_MOST: Final = 32
OTHERS_MOST: Final = 16
EXTENSION: Final = "scoreboard-gate"
RETRY_AFTER_SECONDS: Final = 1
LOG_EVERY_SECONDS: Final = 1.0

log = structlog.get_logger(__name__)


class Lane:
    """So many requests of one kind at a time."""

    def __init__(self, name: str, most: int) -> None:
        self.name = name
        self._most = most
        self._lock = threading.Lock()
        self.inside = 0

    def enter(self) -> bool:
        """Take a slot; False at once when there is none."""
        with self._lock:
            if self.inside >= self._most:
                return False
            self.inside += 1
        return True

    def leave(self) -> None:
        """Give the slot back."""
        with self._lock:
            self.inside -= 1

    @property
    def full(self) -> bool:
        """Whether the next would be refused."""
        return self.inside >= self._most


class Gate:
    """WSGI middleware; one a process, outermost."""

    def __init__(
        self,
        app: WSGIApplication,
        allowed_origins: Iterable[str],
        *,
        writes_most: int = WRITES_MOST,
        own_reads_most: int = OWN_READS_MOST,
    ) -> None:
        self._app = app
        self._allowed = frozenset(allowed_origins)
        self.writes = Lane("writes", writes_most)
        self.own_reads = Lane("own reads", own_reads_most)
        self._log = _Tally()

    def __call__(self, environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
        """Pass the request on when its lane has room; views answer in one piece, so it has left when they return."""
        lane = self._lane(environ)
        if lane is None:
            return self._app(environ, start_response)
        if not lane.enter():
            return self._refuse(lane, environ, start_response)
        try:
            return self._app(environ, start_response)
        finally:
            lane.leave()

    def _lane(self, environ: WSGIEnvironment) -> Lane | None:
        path = environ.get("PATH_INFO", "")
        method = environ["REQUEST_METHOD"]
        if method == "POST":  # a list of ranks is a read of Redis that needs a body
            return self.writes if path.startswith("/api/") and not path.endswith("/ranks") else None
        return self.own_reads if method in ("GET", "HEAD") and path.startswith("/api/v1/scores/") else None

    def _refuse(self, lane: Lane, environ: WSGIEnvironment, start_response: StartResponse) -> list[bytes]:
        request_id = request_id_of(environ.get("HTTP_X_REQUEST_ID"))
        self.refused(lane, 1)
        return refusal(request_id).send(environ, start_response, request_id, self._allowed)

    def refused(self, lane: Lane, times: int) -> None:
        """Count and log that so many found it full."""
        metrics.REFUSED.labels(Overloaded.code).inc(times)
        self._log.add(lane.name, times)


def refusal(request_id: str) -> Answer:
    """What to say when a lane is full."""
    error = Overloaded(retry_after_seconds=RETRY_AFTER_SECONDS)
    return problem_answer(error.code, error.detail, request_id, error=error)


class _Tally:
    """Counts refusals into a line a second: a line each would cost more than the refusal."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._lock = threading.Lock()
        self._refused = 0
        self._said_at = float("-inf")

    def add(self, lane: str, times: int) -> None:
        with self._lock:
            self._refused += times
            now = self._clock()
            if now - self._said_at < LOG_EVERY_SECONDS:
                return
            refused, self._refused, self._said_at = self._refused, 0, now
        log.warning(
            "requests refused", **{"event.action": "admit", "error.code": "overloaded"}, lane=lane, refused=refused
        )
