"""A log line for each request, in ECS like all others, written from a thread of its own a few at a time.

Writing it where it arises takes longer than accepting an update: 77 µs, and the reader of standard error may be slow.
"""

from __future__ import annotations

import sys
import threading
import time
from collections import deque
from typing import Final, NamedTuple, TextIO

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
    update: tuple[str, str] | None = None  # the player and the action of one that was accepted
    trace: tuple[str, str] | None = None  # trace and span, if it is traced


class RequestLog:
    """Takes what was served; never blocks, never raises."""

    def __init__(self, service: str, level: str, file: TextIO | None = None) -> None:
        """`level` is the process's: with `warning` and above no lines are written."""
        self._service = service
        self._level = level
        self._file = UnfailingFile(file or sys.stderr)
        self._second, self._instant = -1, ""
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
            lines.append(self._line(time.time(), "warning", "request lines lost", f'"scoreboard":{{"lost":{lost}}}'))
        if lines:
            self._file.write("".join(lines))
            self._file.flush()

    def line(self, served: Served) -> str:
        """The request's line. A template and no encoder, for there are thousands a second: only a path may hold
        characters that JSON writes otherwise.
        """
        more = "" if served.code is None else f',"error":{{"code":"{served.code}"}}'
        if served.update is not None:
            user_id, action_id = served.update
            more += f',"scoreboard":{{"action":{{"id":"{action_id}"}}}},"user":{{"id":"{user_id}"}}'
        if served.trace is not None:
            trace_id, span_id = served.trace
            more += f',"span":{{"id":"{span_id}"}},"trace":{{"id":"{trace_id}"}}'
        return self._line(
            served.ended_at,
            "debug" if served.path in QUIET else "info",
            "request",
            f'"event":{{"action":"request","duration":{served.nanoseconds}}},'
            f'"http":{{"request":{{"id":"{served.request_id}","method":"{served.method}"}},'
            f'"response":{{"status_code":{served.status}}}}},'
            f'"url":{{"path":{_encode(served.path).decode()}}}{more}',
        )

    def _line(self, at: float, level: str, message: str, fields: str) -> str:
        second, fraction = divmod(int(at * 1000), 1000)
        if second != self._second:
            self._second, self._instant = second, time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(second))
        return (
            f'{{"@timestamp":"{self._instant}.{fraction:03d}Z","log.level":"{level}","message":"{message}",'
            f'"ecs.version":"{ECS_VERSION}",{fields},"service":{{"name":"{self._service}"}}}}\n'
        )
