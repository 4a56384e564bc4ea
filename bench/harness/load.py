"""A load on a running stack: what came back, what was applied of it, and what it cost each part of the service."""

from __future__ import annotations

import tempfile
import threading
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import psycopg

from bench.harness import paced, players, wrk
from bench.harness.paced import Paced
from bench.harness.stack import Stack

#: A backlog that is gone so soon after the last answer was none.
DRAIN_SECONDS_MOST = 60.0


@dataclass(frozen=True, slots=True)
class Outcome:
    """One run. CPU is in µs an answer, by part; wrk's own is not in it."""

    rate: float
    p50_ms: float
    p99_ms: float
    refused: int
    failed: int
    applied: int
    applied_in_time: float  # a second, until the load ended
    backlog_most: int
    drained_ms: float
    cpu_us: dict[str, float] = field(default_factory=dict)


def replay(stack: Stack, requests: Sequence[bytes], *, seconds: float, connections: int = 32) -> Outcome:
    """Send requests in a closed loop, each once, and watch the inbox meanwhile."""
    with tempfile.NamedTemporaryFile(prefix="sb-requests-") as file, players.connected(stack.settings) as connection:
        connection.autocommit = True
        players.write(requests, Path(file.name))
        watch = _Backlog(connection)
        applied_before, cpu_before = applied(connection), stack.cpu_seconds()
        watch.start()
        found = wrk.run(stack.api, Path(file.name), seconds=seconds, connections=connections)
        watch.stop()
        in_time, cpu, ended = applied(connection) - applied_before, stack.cpu_seconds(), time.perf_counter()
        await_empty(connection)
        drained_ms = 1000 * (time.perf_counter() - ended)
        every = applied(connection) - applied_before
    answers = max(1, found.requests)
    cost = {part: round(1e6 * (used - cpu_before.get(part, 0.0)) / answers, 1) for part, used in cpu.items()}
    return Outcome(
        rate=round(found.rate, 1),
        p50_ms=found.p50_ms,
        p99_ms=found.p99_ms,
        refused=found.refused,
        failed=found.failed,
        applied=every,
        applied_in_time=round(in_time / seconds, 1),
        backlog_most=watch.most,
        drained_ms=round(drained_ms, 1),
        cpu_us={part: used for part, used in cost.items() if used >= 0.5},
    )


def offer(stack: Stack, requests: Sequence[bytes], *, rate: float, seconds: float) -> Paced:
    """Send requests in an open loop, and return when what was accepted is applied."""
    with tempfile.NamedTemporaryFile(prefix="sb-requests-") as file, players.connected(stack.settings) as connection:
        connection.autocommit = True
        players.write(requests, Path(file.name))
        found = paced.run(stack.address, Path(file.name), rate=rate, seconds=seconds)
        await_empty(connection)
    return found


class _Backlog:
    """Looks at the inbox once a second."""

    def __init__(self, connection: psycopg.Connection[tuple[object, ...]]) -> None:
        self._connection = connection
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._look, daemon=True)
        self.most = 0

    def start(self) -> None:
        """Begin."""
        self._thread.start()

    def stop(self) -> None:
        """End; the connection is free then."""
        self._ended.set()
        self._thread.join()

    def _look(self) -> None:
        while not self._ended.wait(1.0):
            self.most = max(self.most, _count(self._connection, "SELECT count(*) FROM inbox"))


def applied(connection: psycopg.Connection[tuple[object, ...]]) -> int:
    """How many were ever applied."""
    return _count(connection, "SELECT count(*) FROM score_history")


def await_empty(connection: psycopg.Connection[tuple[object, ...]]) -> None:
    """Return when all that was accepted is applied, or after DRAIN_SECONDS_MOST."""
    deadline = time.monotonic() + DRAIN_SECONDS_MOST
    while connection.execute("SELECT 1 FROM inbox LIMIT 1").fetchone() and time.monotonic() < deadline:
        time.sleep(0.005)


def _count(connection: psycopg.Connection[tuple[object, ...]], query: str) -> int:
    row = connection.execute(query).fetchone()
    return int(str(row[0])) if row else 0
