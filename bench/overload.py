"""What remains of goodput when five times too much is offered?

    make run LIMIT_USER=1000000/second LIMIT_ADDRESS=1000000/second LIMIT_REGISTRATION=1000000/second
    .venv/bin/python -m bench.overload --api http://127.0.0.1:8000 --pin <process id of the stack> --seconds 60

First the peak in a closed loop (and once more in the end, since machines have slow moments), then 1, 2 and 5 times that
in an open one: updates are due by the clock, whatever has been answered, and latency counts from when they were due.
With `--pin` the stack runs on the first core and this on the second. Afterwards each player's score must be what their
accepted updates are worth.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import time
from collections import Counter, deque
from collections.abc import Iterator
from dataclasses import dataclass, field
from itertools import cycle
from statistics import mean
from urllib.parse import urlsplit

import psutil

from bench.harness.players import Player
from bench.harness.wire import Request, Wire, http, register, signed

LATE_SECONDS = 10.0
PEAK_SECONDS = 12.0
POINTS = 10  # of one level_complete


@dataclass
class Load:
    """What came of one phase."""

    seconds: float
    offered: int = 0
    statuses: Counter[str] = field(default_factory=Counter)
    accepted_ms: list[float] = field(default_factory=list)
    refused_ms: list[float] = field(default_factory=list)
    late: int = 0
    unanswered: int = 0
    malformed: int = 0  # refusals without Retry-After, or without a code of a problem
    codes: Counter[str] = field(default_factory=Counter)
    in_time: int = 0  # accepted while the phase lasted: what came later says nothing about it
    began: float = field(default_factory=time.perf_counter)
    accepted_of: Counter[str] = field(default_factory=Counter)

    def note(self, player: Player, due: float, head: bytes, body: bytes) -> None:
        """Count an answer."""
        now = time.perf_counter()
        took, status = now - due, head[9:12].decode()
        self.statuses[status] += 1
        self.late += took > LATE_SECONDS
        if status == "202":
            self.accepted_ms.append(took * 1000)
            self.accepted_of[player.user_id] += 1
            self.in_time += now - self.began <= self.seconds
        elif status in ("503", "429"):
            self.refused_ms.append(took * 1000)
            code = str(json.loads(body).get("code", ""))
            self.codes[code] += 1
            self.malformed += b"\r\nretry-after:" not in head.lower() or not code

    def summary(self) -> dict[str, object]:
        """The figures of the table."""
        return {
            "offered_per_second": round(self.offered / self.seconds, 1),
            "goodput_per_second": round(self.in_time / self.seconds, 1),
            "answers": dict(self.statuses),
            "refused": dict(self.codes),
            "malformed_refusals": self.malformed,
            "late": self.late,
            "unanswered": self.unanswered,
            "accepted_p50_ms": quantile(self.accepted_ms, 0.5),
            "accepted_p99_ms": quantile(self.accepted_ms, 0.99),
            "refused_p99_ms": quantile(self.refused_ms, 0.99),
        }


def quantile(values: list[float], at: float) -> float | None:
    """A quantile, rounded; None of nothing."""
    return round(sorted(values)[int(len(values) * at)], 1) if values else None


class Connections:
    """Keep-alive connections, each with one request under way at a time."""

    def __init__(self, address: tuple[str, int], most: int) -> None:
        self._address, self._most = address, most
        self._wanted: deque[tuple[float, Player, Request]] = deque()
        self._there = asyncio.Event()
        self.load = Load(1)
        self.busy = 0

    async def start(self) -> None:
        """Open all of them."""
        self._tasks = [asyncio.create_task(self._serve()) for _ in range(self._most)]

    def send(self, due: float, player: Player, request: Request) -> None:
        """Give a request to the next connection that is free."""
        self._wanted.append((due, player, request))
        self._there.set()

    @property
    def under_way(self) -> int:
        """Requests that have no answer yet."""
        return len(self._wanted) + self.busy

    def forget(self) -> None:
        """Count what has no answer; what was not even sent will not be any more."""
        self.load.unanswered += self.under_way
        self._wanted.clear()

    async def _serve(self) -> None:
        reader, writer = await asyncio.open_connection(*self._address)
        while True:
            while not self._wanted:
                self._there.clear()
                await self._there.wait()
            due, player, request = self._wanted.popleft()
            self.busy += 1
            try:
                writer.write(request)
                head = await reader.readuntil(b"\r\n\r\n")
                at = head.lower().find(b"content-length:")
                body = await reader.readexactly(int(head[at + 15 :].split(b"\r\n", 1)[0]))
                self.load.note(player, due, head, body)
            except (OSError, asyncio.IncompleteReadError):
                self.load.unanswered += 1
                reader, writer = await asyncio.open_connection(*self._address)
            finally:
                self.busy -= 1


async def closed(
    connections: Connections, work: Iterator[tuple[Player, Request]], at_once: int, seconds: float
) -> Load:
    """As many as are answered, `at_once` under way."""
    connections.load = load = Load(seconds)
    end = time.perf_counter() + seconds
    while time.perf_counter() < end:
        for _ in range(at_once - connections.under_way):
            load.offered += 1
            connections.send(time.perf_counter(), *next(work))
        await asyncio.sleep(0.0005)
    await settle(connections)
    return load


async def opened(connections: Connections, work: Iterator[tuple[Player, Request]], rate: float, seconds: float) -> Load:
    """`rate` a second, by the clock."""
    connections.load = load = Load(seconds)
    started = time.perf_counter()
    while (now := time.perf_counter()) < started + seconds:
        while (due := started + load.offered / rate) <= now:
            load.offered += 1
            connections.send(due, *next(work))
        await asyncio.sleep(0.001)
    await settle(connections)
    return load


async def settle(connections: Connections) -> None:
    """Wait for the last answers, a little longer than is promised; who has none then is counted."""
    end = time.perf_counter() + LATE_SECONDS + 2
    while connections.under_way and time.perf_counter() < end:
        await asyncio.sleep(0.01)
    connections.forget()


def pin(stack: int) -> None:
    """The stack's processes on the first core, this one on the second."""
    first, second = sorted(os.sched_getaffinity(0))[:2]
    root = psutil.Process(stack)
    for process in (root, *root.children(recursive=True)):
        for thread in process.threads():
            os.sched_setaffinity(thread.id, {first})
    os.sched_setaffinity(0, {second})
    print(f"pinned: the stack to core {first}, this to core {second}")


def presigned(players: list[Player], count: int) -> Iterator[tuple[Player, Request]]:
    """Signed before they are due, so that the generator stays cheap."""
    made = [(player, signed(player)) for player, _ in zip(cycle(players), range(count), strict=False)]
    return iter(made)


def misapplied(address: tuple[str, int], players: list[Player], loads: list[Load]) -> int:
    """Waits for the inbox to drain, and counts players whose score is not that of their accepted updates.

    Means nothing after a phase with requests unanswered: of those nobody knows whether they were accepted.
    """
    wire = Wire(address)
    while json.loads(wire.ask(http("GET", "/readyz"))[1])["parts"]["inbox"]["depth"]:
        time.sleep(0.1)
    wrong = 0
    for player in players:
        accepted = sum(load.accepted_of[player.user_id] for load in loads)
        score = json.loads(wire.ask(http("GET", "/api/v1/scores/me", token=player.token))[1])["score"]
        wrong += score != accepted * POINTS
    return wrong


async def measure(options: argparse.Namespace, address: tuple[str, int], players: list[Player]) -> dict[str, Load]:
    """All phases."""
    connections = Connections(address, options.connections)
    await connections.start()
    await closed(connections, presigned(players, 20_000), options.at_once, 2)  # warm
    warm = connections.load
    loads = {"warm": warm, "peak": await closed(connections, presigned(players, 60_000), options.at_once, PEAK_SECONDS)}
    peak = peak_of(loads)
    for times in options.times:
        work = presigned(players, int(times * peak * options.seconds) + 10)
        loads[f"{times:g}x"] = await opened(connections, work, times * peak, options.seconds)
    loads["peak again"] = await closed(connections, presigned(players, 60_000), options.at_once, PEAK_SECONDS)
    return loads


def peak_of(loads: dict[str, Load]) -> float:
    """Accepted a second in a closed loop: the mean of before and after."""
    return mean(load.in_time / load.seconds for name, load in loads.items() if name.startswith("peak"))


def main() -> None:
    """Measure, print the table, then JSON."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--api", default="http://127.0.0.1:8000")
    parser.add_argument("--pin", type=int, help="process id of the stack")
    parser.add_argument("--seconds", type=float, default=15)
    parser.add_argument("--times", type=float, nargs="*", default=[1, 2, 5])
    parser.add_argument("--players", type=int, default=200)
    parser.add_argument("--connections", type=int, default=500)
    parser.add_argument("--at-once", type=int, default=48, help="of the closed loop that finds the peak")
    options = parser.parse_args()
    target = urlsplit(options.api)
    address = (target.hostname or "127.0.0.1", target.port or 80)
    if options.pin:
        pin(options.pin)
    players = register(address, options.players)
    loads = asyncio.run(measure(options, address, players))
    figures = {name: load.summary() for name, load in loads.items()}
    for name, found in figures.items():
        print(f"{name:6}", *(f"{what}={value}" for what, value in found.items()))
    wrong = misapplied(address, players, list(loads.values()))
    for name, load in loads.items():
        if name[0].isdigit():
            print(f"{name}: goodput is {load.in_time / load.seconds / peak_of(loads):.0%} of the peak")
    print(f"players whose score is not that of their accepted updates: {wrong}")
    print(json.dumps(figures))


if __name__ == "__main__":
    main()
