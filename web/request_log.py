"""A log line for each request, in ECS like all others, written from a thread of its own a few at a time.

Writing it where it arises takes longer than accepting an update: 77 µs, and the reader of standard error may be slow.
"""

from __future__ import annotations

import sys
import threading
import time
from collections import deque
from typing import Any, Final, NamedTuple, TextIO

import msgspec

from models.logs import ECS_VERSION, UnfailingFile

#: Lines gather for so long, so that a busy process writes fifty times a second instead of five thousand.
GATHER_SECONDS: Final = 0.02
#: Lines that may wait while the reader of standard error does not read; what comes on top is counted, not kept (I8).
WAITING_MOST: Final = 50_000
#: What monitoring asks every few seconds; told at the level `debug`.
QUIET: Final = frozenset(("/healthz", "/readyz", "/metrics"))

_encode: Final = msgspec.json.Encoder().encode


class Served(NamedTuple):
    """A request that was answered."""

    ended_at: float  # Unix seconds
    nanoseconds: int
    request_id: str
    method: str
    path: str
    status: int
    code: str | None  # of the problem it was answered with


class RequestLog:
    """Takes what was served; never blocks, never raises."""

    def __init__(self, service: str, level: str, file: TextIO | None = None) -> None:
        """`level` is the process's: with `warning` and above no lines are written."""
        self._service = {"name": service}
        self._level = level
        self._file = UnfailingFile(file or sys.stderr)
        self._served: deque[Served] = deque()
        self._lost = 0
        self._called = False
        self._call = threading.Event()
        self._stopping = False
        self._thread: threading.Thread | None = None
        self._starting = threading.Lock()

    def note(self, served: Served) -> None:
        """Have its line written soon."""
        if self._level != "debug" and (self._level != "info" or served.path in QUIET):
            return
        if len(self._served) >= WAITING_MOST:
            self._lost += 1
            return
        self._served.append(served)
        if not self._called:
            self._called = True
            if self._thread is None:
                self._start()
            self._call.set()

    def close(self) -> None:
        """Write what is left, and stop."""
        self._stopping = True
        self._call.set()
        if self._thread is not None:
            self._thread.join(timeout=2)
        self._write()

    def _start(self) -> None:
        with self._starting:  # not before the first request: a process may fork until then
            if self._thread is None:
                self._thread = threading.Thread(target=self._run, name="request-log", daemon=True)
                self._thread.start()

    def _run(self) -> None:
        while not self._stopping:
            self._call.wait()
            self._call.clear()
            time.sleep(GATHER_SECONDS)
            self._called = False  # from here on, who comes calls again
            self._write()

    def _write(self) -> None:
        lines = []
        while self._served:
            try:
                lines.append(self.line(self._served.popleft()))
            except IndexError:  # close() and the thread met
                break
        if lost := self._lost:
            self._lost -= lost
            lines.append(self._record(time.time(), "warning", "request lines lost", {"lost": lost}))
        if lines:
            self._file.write("".join(lines))
            self._file.flush()

    def line(self, served: Served) -> str:
        """The request's line."""
        return self._record(
            served.ended_at,
            "debug" if served.path in QUIET else "info",
            "request",
            None if served.code is None else {"code": served.code},
            event={"action": "request", "duration": served.nanoseconds},
            http={
                "request": {"id": served.request_id, "method": served.method},
                "response": {"status_code": served.status},
            },
            url={"path": served.path},
        )

    def _record(
        self, at: float, level: str, message: str, ours: dict[str, Any] | None, **fields: dict[str, Any]
    ) -> str:
        record: dict[str, Any] = {"@timestamp": instant(at), "log.level": level, "message": message}
        record["ecs.version"] = ECS_VERSION
        record |= fields
        if ours is not None:
            record["scoreboard"] = ours
        record["service"] = self._service
        return _encode(record).decode() + "\n"


def instant(unix_seconds: float) -> str:
    """RFC 3339 with milliseconds, as all lines have it."""
    milliseconds = int(unix_seconds * 1000)
    return f"{time.strftime('%Y-%m-%dT%H:%M:%S', time.gmtime(milliseconds // 1000))}.{milliseconds % 1000:03d}Z"
