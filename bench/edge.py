"""What does the edge's cache do for a crowd of readers, and what does the API hear of it?

    .venv/bin/python -m bench.edge --rounds 3 --seconds 8
    .venv/bin/python -m bench.edge --quick

nginx and HAProxy in front of a stack of its own, by TLS, while the board changes twenty times a second; beside each run
the same reads directly from the API, in the clear. Needs wrk, nginx, haproxy and openssl. Somebody looks at the board
by the edge all the time and notes its versions; the API's own figures say how many reads came to it. Prints the medians
and writes all runs to `bench/results/edge.json`.
"""

from __future__ import annotations

import argparse
import http.client
import json
import os
import signal
import ssl
import statistics
import subprocess
import tempfile
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from pathlib import Path
from types import ModuleType
from typing import Final
from urllib.request import Request, urlopen

from bench.harness import machine, players, wrk
from bench.harness.players import BOARD, Player
from bench.harness.stack import Stack, free_port, running
from deploy.production.places import OFFSETS, Places
from deploy.production.servers import haproxy, nginx
from deploy.production.servers.edge import Edge

RESULTS = Path(__file__).parent / "results"
EDGES: Final[dict[str, tuple[str, ModuleType]]] = {"nginx": ("lb-1", nginx), "HAProxy": ("lb-2", haproxy)}
#: Limits that one load generator must not meet.
OPEN: Final = Edge(
    apis=("api-1",), sockets=("sockets-1",), requests_a_second=1_000_000, burst=1_000_000, requests_at_once=60_000
)
SETTINGS: Final = {"TRUSTED_PROXIES": "1", "LIMIT_USER": "1000000/second", "PIN_CORES": "on"}
CONNECTIONS: Final = 64
CHANGE_SECONDS: Final = 0.05
LOOK_SECONDS: Final = 0.02
#: The API puts what it answered on its loop into its figures once a second.
TELL_SECONDS: Final = 1.5
READY_SECONDS: Final = 20.0


@dataclass(frozen=True, slots=True)
class StackPlaces(Places):
    """Those of an edge in front of a stack that has ports of its own."""

    api: int = 0
    sockets: int = 0

    def port(self, name: str) -> int:
        """The port of a name."""
        return {"api-1": self.api, "sockets-1": self.sockets}.get(name) or self.base + OFFSETS[name]


@dataclass(frozen=True, slots=True)
class Run:
    """What one run gave; `asked` and `unchanged` are the API's 200 and 304."""

    rate: float
    p50_ms: float
    p99_ms: float
    failed: int
    versions: int
    asked: int
    unchanged: int
    direct: float


@dataclass
class Measured:
    """The runs of one edge and one kind of read."""

    edge: str
    read: str
    runs: list[Run] = field(default_factory=list)

    def line(self) -> str:
        """Medians."""
        rate = statistics.median(run.rate for run in self.runs)
        ratio = statistics.median(run.rate / run.direct for run in self.runs)
        p50, p99 = (statistics.median(getattr(run, name) for run in self.runs) for name in ("p50_ms", "p99_ms"))
        asked, versions = sum(run.asked for run in self.runs), sum(run.versions for run in self.runs)
        unchanged, failed = sum(run.unchanged for run in self.runs), sum(run.failed for run in self.runs)
        return (
            f"{self.edge:9}{self.read:34}{rate:9,.0f}{ratio:9.2f}{p50:8.1f}{p99:8.1f}{failed:8}"
            f"{versions:10}{asked:8}{unchanged:6}{asked / max(1, versions):9.2f}"
        )


@contextmanager
def fronted(kind: str, stack: Stack, folder: Path) -> Iterator[int]:
    """One edge in front of the stack; its port."""
    name, server = EDGES[kind]
    sockets = int(stack.sockets.rpartition(":")[2])
    places = StackPlaces(free_port(max(OFFSETS.values()) + 1), stack.address[1], sockets)
    part = server.part(name, folder / name, places, edge=OPEN)
    process = subprocess.Popen(
        part.arguments, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, start_new_session=True
    )
    try:
        deadline = time.monotonic() + READY_SECONDS
        while not part.ready():
            if process.poll() is not None or time.monotonic() > deadline:
                raise SystemExit(f"{kind} did not get ready")
            time.sleep(0.05)
        yield places.port(name)
    finally:
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()


@contextmanager
def changing(stack: Stack, everybody: Sequence[Player]) -> Iterator[None]:
    """The board gets a version more each CHANGE_SECONDS."""
    token, ended = players.service_token(stack.settings, "scores:write"), threading.Event()

    def change() -> None:
        turn = 0
        while not ended.wait(CHANGE_SECONDS):
            turn += 1
            update = {"user_id": everybody[turn % len(everybody)].user_id, "action_id": f"edge-{time.time_ns()}"}
            body = json.dumps({"updates": [{**update, "action": "level_complete"}]}).encode()
            headers = {"Content-Type": "application/json", "Authorization": f"Bearer {token}"}
            urlopen(Request(f"{stack.api}/api/v1/scores/batch", body, headers)).close()  # noqa: S310 - our own address

    thread = threading.Thread(target=change)
    thread.start()
    try:
        yield
    finally:
        ended.set()
        thread.join()


@contextmanager
def looking(port: int, path: str) -> Iterator[set[str]]:
    """The ETags that a reader sees by the edge."""
    seen: set[str] = set()
    ended = threading.Event()

    def look() -> None:
        unverified = ssl._create_unverified_context()  # noqa: S323, SLF001 - the certificate is our own, of a moment ago
        connection = http.client.HTTPSConnection("127.0.0.1", port, context=unverified)
        while not ended.wait(LOOK_SECONDS):
            connection.request("GET", path, headers={"Accept-Encoding": "gzip"})
            answer = connection.getresponse()
            answer.read()
            seen.add(answer.headers["ETag"].removeprefix("W/"))
        connection.close()

    thread = threading.Thread(target=look)
    thread.start()
    try:
        yield seen
    finally:
        ended.set()
        thread.join()


def heard(stack: Stack) -> tuple[int, int]:
    """Reads of boards that the API answered so far: whole, and as not modified."""
    time.sleep(TELL_SECONDS)
    with urlopen(f"{stack.api}/metrics") as answer:  # noqa: S310 - our own address
        lines = answer.read().decode().splitlines()
    found = dict(line.rsplit(" ", 1) for line in lines if line.startswith("scoreboard_leaderboard_reads_total{"))
    page, same = (
        found.get(f'scoreboard_leaderboard_reads_total{{how="{how}"}}', 0) for how in ("page", "not_modified")
    )
    return int(float(page)), int(float(same))


def measure(stack: Stack, everybody: Sequence[Player], port: int, limit: int, *, seconds: float) -> Run:
    """One run by the edge, and one directly."""
    path = f"/api/v1/leaderboards/{BOARD}?limit={limit}"
    request = players.request("GET", path).replace(b"\r\n\r\n", b"\r\nAccept-Encoding: gzip\r\n\r\n")
    with tempfile.NamedTemporaryFile(prefix="sb-requests-") as file, changing(stack, everybody):
        players.write([request], Path(file.name))
        direct = wrk.run(stack.api, Path(file.name), seconds=seconds, connections=CONNECTIONS)
        with looking(port, path) as versions:  # from now on, so that the crowd finds a page that is kept
            before = heard(stack)
            versions.clear()
            found = wrk.run(f"https://127.0.0.1:{port}", Path(file.name), seconds=seconds, connections=CONNECTIONS)
        after = heard(stack)
    return Run(
        rate=round(found.rate, 1),
        p50_ms=found.p50_ms,
        p99_ms=found.p99_ms,
        failed=found.failed + found.refused,
        versions=len(versions),
        asked=after[0] - before[0],
        unchanged=after[1] - before[1],
        direct=round(direct.rate, 1),
    )


def main() -> None:
    """Measure, print, and keep."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--seconds", type=float, default=8.0)
    parser.add_argument("--quick", action="store_true", help="nginx alone, the top 100, one round of 3 s")
    options = parser.parse_args()
    rounds, seconds = (1, 3.0) if options.quick else (options.rounds, options.seconds)
    limits = [100] if options.quick else [100, 10]
    measured: list[Measured] = []
    with running(SETTINGS) as stack, tempfile.TemporaryDirectory(prefix="sb-edge-") as folder:
        everybody = players.populate(stack.settings, 100_000, playing=1_000)
        for kind in ["nginx"] if options.quick else list(EDGES):
            with fronted(kind, stack, Path(folder)) as port:
                for limit in limits:
                    measured.append(Measured(kind, f"top {limit} of 100,000, compressed"))
                    for _ in range(rounds):
                        measured[-1].runs.append(measure(stack, everybody, port, limit, seconds=seconds))
    print(f"{'':43}{'rate/s':>9}{'/direct':>9}{'p50':>8}{'p99 ms':>8}{'failed':>8}{'versions':>10}", end="")
    print(f"{'asked':>8}{'304':>6}{'each':>9}")
    for each in measured:
        print(each.line())
    RESULTS.mkdir(exist_ok=True)
    kept = {"machine": machine.describe(), "seconds": seconds, "runs": [asdict(each) for each in measured]}
    (RESULTS / "edge.json").write_text(json.dumps(kept, indent=1) + "\n", "utf-8")


if __name__ == "__main__":
    main()
