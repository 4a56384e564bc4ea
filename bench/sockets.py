"""What do sockets cost: fan-out beside C and flask-sock, memory, a crowd that comes back, deltas, scores?

    .venv/bin/python -m bench.sockets --rounds 5 --seconds 8
    .venv/bin/python -m bench.sockets --quick

Needs a C compiler: clients and the floor, an epoll server that sends ready-made frames, are programs in C. The socket
process has one core and its clients the other; all else runs where it finds room. While a fan-out is measured nothing
else is under way but what changes the board. Prints the medians and writes all runs to `bench/results/sockets.json`.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import socket
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from urllib.parse import urlsplit
from urllib.request import urlopen

import msgspec
import psutil
from tqdm import tqdm

from bench.harness import crowd, machine, native, players
from bench.harness.crowd import Crowd, masked
from bench.harness.players import BOARD, Player
from bench.harness.socket_scores import scores
from bench.harness.stack import Stack, free_port, running
from models.boards import events
from models.boards.events import BoardChanged
from models.boards.places import Standing
from models.stores import open_stores

RESULTS = Path(__file__).parent / "results"
#: One player alone sends all updates that are looked for; twenty thousand sockets come from three addresses.
SETTINGS = {"LIMIT_USER": "1000000/second", "PIN_CORES": "on"}
PLAYERS = 1_000
RATE = 50.0
HELLO = masked(b'{"type":"subscribe","top":100}')
POINTS = 10
#: Updates before those that count: everybody is awake then.
WARM_UPDATES = 5

#: Handshakes under way while idle sockets are opened one after the other: what a crowd leaves behind in the process'
#: memory is another matter.
AT_ONCE = 50
#: What a process has open besides its sockets, amply.
DESCRIPTORS_BESIDE = 1_000

Figures = dict[str, float]


def fan_out(stack: Stack, sockets: int, seconds: float) -> Figures:
    """CPU a frame of the service's socket process, of flask-sock as it comes, and of the floor."""
    with open_stores(stack.settings) as stores, _listening(stack, sockets) as listening:
        processes = _socket_processes(stack)
        page = stores.ranking.top(BOARD, 1)
        first, score = page.entries[0], page.entries[0].score
        cpu, began = _cpu(processes), time.perf_counter()
        for number in range(int(RATE * seconds)):
            time.sleep(max(0.0, began + number / RATE - time.perf_counter()))
            score += POINTS
            standing = Standing(first.user_id, first.username, score, first.reached_at, 1_000_000 + score)
            version = stores.ranking.refresh(BOARD, page.season, [standing])
            now = events.now()
            events.publish(stores.redis, BoardChanged(BOARD, page.season, version or 0, now, now, (), ()))
        time.sleep(0.2)
        cpu, took = _cpu(processes) - cpu, time.perf_counter() - began
        records = listening.end()
    frames = len(records) - sockets
    size = round(sum(record.size for record in records[sockets:]) / frames)
    floor = crowd.floor(free_port(1), sockets, size=size, rate=RATE, seconds=seconds)
    fastest = crowd.floor(free_port(1), sockets, size=size, rate=0, seconds=seconds / 2)
    naive = _naive_fan_out(sockets, size, seconds)
    us = 1e6 * cpu / frames
    return {
        "us": round(us, 2),
        "floor_us": round(floor.us, 2),
        "naive_us": round(naive, 2),
        "to_floor": round(us / floor.us, 2),
        "naive_to_floor": round(naive / floor.us, 2),
        "frames_a_core": round(1e6 / us),
        "floor_frames_a_core": round(fastest.frames / fastest.seconds),
        "sweeps": round(frames / sockets / took, 1),
        "bytes": size,
    }


def deltas(stack: Stack, everybody: Sequence[Player], sockets: int, seconds: float) -> Figures:
    """From the 202 to the delta on each of the sockets, open loop; the whole service takes part."""
    with urlopen(f"{stack.api}/api/v1/leaderboards/{BOARD}?limit=1") as answer:  # noqa: S310 - our own http address
        first = json.load(answer)["entries"][0]
    player = next(each for each in everybody if each.user_id == first["user_id"])
    find = f'"user_id":"{player.user_id}","username":"{first["username"]}","score":'
    body = msgspec.json.encode
    requests = [
        players.request("POST", "/api/v1/scores/update", body(players.signed(player)), player.token)
        for _ in range(WARM_UPDATES + int(RATE * seconds))
    ]
    with _listening(stack, sockets, find=find) as listening, socket.create_connection(stack.address) as wire:
        for request in requests[:WARM_UPDATES]:
            _ask(wire, request)
            time.sleep(0.1)
        base, accepted = first["score"] + POINTS * WARM_UPDATES, []
        cpu, began = stack.cpu_seconds(), time.perf_counter()
        for number, request in enumerate(requests[WARM_UPDATES:]):
            time.sleep(max(0.0, began + number / RATE - time.perf_counter()))
            _ask(wire, request)
            accepted.append(time.monotonic_ns())
        time.sleep(0.5)
        used = {part: value - cpu.get(part, 0.0) for part, value in stack.cpu_seconds().items()}
        took = time.perf_counter() - began
        records = listening.end()
    shown, waits = [0] * sockets, []
    for record in records:
        upto = (record.number - base) // POINTS
        waits += [(record.at_ns - at) / 1e6 for at in accepted[shown[record.socket] : max(0, upto)]]
        shown[record.socket] = max(shown[record.socket], upto)
    waits.sort()
    return {
        "p50_ms": round(waits[len(waits) // 2], 1),
        "p90_ms": round(waits[int(len(waits) * 0.9)], 1),
        "p99_ms": round(waits[int(len(waits) * 0.99)], 1),
        "missing": sum(len(accepted) - each for each in shown),
        "lost": listening.lost,
        **{f"{part}_percent": round(100 * value / took, 1) for part, value in used.items() if value > 0.005 * took},
    }


def idle(stack: Stack, sockets: int) -> Figures:
    """Resident memory a socket that listens, by the growth of the process; beyond what the kernel holds for it."""
    process = max(_socket_processes(stack), key=lambda each: each.memory_info().rss)
    before = process.memory_info().rss
    with _listening(stack, sockets, at_once=AT_ONCE) as listening:
        time.sleep(2)
        grown = process.memory_info().rss - before
        figures = {"bytes": round(grown / sockets), "open_ms": listening.open_ms, "all_ms": listening.all_ms}
    time.sleep(2)
    return {**figures, "sockets": sockets}


def come_back(stack: Stack, sockets: int) -> Figures:
    """All connect at once: until the last has its snapshot."""
    with _listening(stack, sockets) as listening:
        figures = {"all_ms": listening.all_ms}
        listening.end()
    time.sleep(2)
    return {**figures, "lost": listening.lost}


@contextmanager
def _listening(stack: Stack, sockets: int, *, find: str = "", at_once: int | None = None) -> Iterator[Crowd]:
    """A crowd that listens to the board: it has the second core, and who serves it the first."""
    url = urlsplit(stack.sockets)
    path = f"/ws/v1/leaderboards/{BOARD}"
    host, port = url.hostname or "127.0.0.1", url.port or 80
    processes, cores = _socket_processes(stack), list(os.sched_getaffinity(0))
    for process in processes:
        process.cpu_affinity(cores[:1])
    try:
        with crowd.crowd(host, port, sockets, path=path, hello=HELLO, find=find, at_once=at_once, core=1) as listening:
            listening.await_open()
            listening.await_first()
            time.sleep(0.5)
            yield listening
    finally:
        for process in processes:
            process.cpu_affinity(cores)


def _naive_fan_out(sockets: int, size: int, seconds: float) -> float:
    """CPU µs a frame of flask-sock as it comes."""
    port = free_port(1)
    environ = {**os.environ, "SOCKETS": str(sockets), "RATE": str(RATE), "BYTES": str(size)}
    gunicorn = [
        Path(sys.executable).with_name("gunicorn"),
        "--worker-class",
        "gevent",
        "--workers",
        1,
        "--backlog",
        4096,
    ]
    command = [*gunicorn, "--worker-connections", 4 * sockets, "--bind", f"127.0.0.1:{port}", "--log-level", "error"]
    words = native.pinned(0, [*command, "bench.baseline.naive_sockets:app"])
    with subprocess.Popen(words, env=environ, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as server:
        time.sleep(2)
        with crowd.crowd("127.0.0.1", port, sockets, core=1) as listening:
            listening.await_first()
            process = psutil.Process(server.pid).children()
            cpu, began = _cpu(process), time.monotonic_ns()
            time.sleep(seconds)
            cpu, ended = _cpu(process) - cpu, time.monotonic_ns()
            frames = sum(began <= record.at_ns < ended for record in listening.end())
        server.terminate()
    return 1e6 * cpu / max(1, frames)


def _socket_processes(stack: Stack) -> list[psutil.Process]:
    return [each for each in stack.process.children(recursive=True) if "web/live/gunicorn" in " ".join(each.cmdline())]


def _cpu(processes: Sequence[psutil.Process]) -> float:
    return sum(_used(process) for process in processes)


def _used(process: psutil.Process) -> float:
    times = process.cpu_times()
    return float(times.user + times.system)


def _ask(wire: socket.socket, request: bytes) -> None:
    wire.sendall(request)
    answer = wire.recv(65536)
    if b" 202 " not in answer[:20]:
        raise SystemExit(f"an update was refused: {answer!r}")


def main() -> None:
    """Measure, print, and keep."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--seconds", type=float, default=8.0)
    parser.add_argument(
        "--quick", action="store_true", help="one round of 3 s, and 2,000 idle sockets in place of 20,000"
    )
    options = parser.parse_args()
    rounds, seconds = (1, 3.0) if options.quick else (options.rounds, options.seconds)
    many, returning = (2_000, 1_000) if options.quick else (_descriptors(20_000), 5_000)
    runs: dict[str, list[Figures]] = {}
    with running(SETTINGS) as stack:
        everybody = players.populate(stack.settings, PLAYERS)
        time.sleep(2)
        runs[f"{many:,} idle"] = [idle(stack, many)]
        steps: dict[str, Callable[[], Figures]] = {
            "fan-out to 1,000": lambda: fan_out(stack, 1_000, seconds),
            "202 to delta, 1,000 sockets": lambda: deltas(stack, everybody, 1_000, seconds),
            f"{returning:,} come back": lambda: come_back(stack, returning),
            "scores over sockets": lambda: scores(stack, everybody, seconds),
        }
        for _ in tqdm(range(rounds), desc="sockets"):
            for name, measured in steps.items():
                runs.setdefault(name, []).append(measured())
            _keep(runs, rounds=rounds, seconds=seconds)
    for name, found in runs.items():
        print(f"\n{name}")
        for figure, (median, least, most) in _medians(found).items():
            print(f"  {figure:24}{median:14,.2f}{'' if least == most else f'   {least:,.2f} to {most:,.2f}'}")


def _descriptors(sockets: int) -> int:
    """How many sockets one process may have here, up to so many: the limit is raised where that is allowed."""
    wanted = sockets + DESCRIPTORS_BESIDE
    hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    try:
        resource.setrlimit(resource.RLIMIT_NOFILE, (max(wanted, hard), max(wanted, hard)))
    except ValueError:
        return min(sockets, hard - DESCRIPTORS_BESIDE)
    return sockets


def _keep(runs: dict[str, list[Figures]], *, rounds: int, seconds: float) -> None:
    """Write all runs so far."""
    RESULTS.mkdir(exist_ok=True)
    table = {name: _medians(found) for name, found in runs.items()}
    kept = {"machine": machine.describe(), "rounds": rounds, "seconds": seconds, "table": table, "runs": runs}
    (RESULTS / "sockets.json").write_text(json.dumps(kept, indent=1) + "\n", "utf-8")


def _medians(found: Sequence[Figures]) -> dict[str, tuple[float, float, float]]:
    """Median, least and most of each figure."""
    names = dict.fromkeys(name for figures in found for name in figures)
    every = {name: [figures[name] for figures in found if name in figures] for name in names}
    return {name: (statistics.median(values), min(values), max(values)) for name, values in every.items()}


if __name__ == "__main__":
    main()
