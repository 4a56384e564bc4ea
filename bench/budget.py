"""What does one update cost, and one read: CPU by part, commits, round trips, bytes, wake-ups?

    .venv/bin/python -m bench.budget

From counters only, while a load runs: the kernel's of each process, PostgreSQL's, Redis' and the service's own.
PostgreSQL's connections are told apart by what they said last. Writes all to `bench/results/budget.json`. The counts,
not the times, are pinned by `tests/integration/test_round_trips.py` and `test_early_boards.py`.
"""

from __future__ import annotations

import argparse
import json
from collections import defaultdict
from collections.abc import Sequence
from pathlib import Path
from typing import Final
from urllib.request import urlopen

import psutil
import redis

from bench.harness import load, machine, players
from bench.harness.players import BOARD
from bench.harness.stack import Stack, part_of, running
from bench.harness.workloads import around_everybody, top, updates_of_all

RESULTS = Path(__file__).parent / "results"
WARM_SECONDS = 3.0
#: What a connection of PostgreSQL said last, and the phase it serves.
_PHASES: Final = {
    "-- Accepts": "postgres: accept",
    "-- Applies": "postgres: apply",
    "SELECT pg_advisory": "postgres: apply",
    "COMMIT": "postgres: apply",
}
_NAMES: Final = {
    "web": "web: read, admit, commit, answer",
    "worker": "worker: apply, tell",
    "redis": "redis: boards, limits, broker",
    "sockets": "sockets: deltas to nobody",
    "postgres": "postgres: WAL, vacuum, archive",
}

Figures = dict[str, float]


def budget(stack: Stack, requests: Sequence[bytes], seconds: float) -> Figures:
    """Of one answer."""
    phases = _phases(stack)
    before, cpu = _counters(stack), _processes(stack, phases)
    outcome = load.replay(stack, requests, seconds=seconds)
    after, cpu_after = _counters(stack), _processes(stack, phases)
    answers = outcome.rate * seconds
    figures: Figures = {"answers/s": outcome.rate}
    for part, (used, woken) in sorted(cpu_after.items(), key=lambda item: -item[1][0]):
        figures[f"CPU µs: {part}"] = round(1e6 * (used - cpu[part][0]) / answers, 1)
        figures[f"wake-ups: {part}"] = round((woken - cpu[part][1]) / answers, 2)
    for name, value in after.items():
        figures[name] = round((value - before[name]) / answers, 3)
    figures["CPU µs: all"] = round(sum(value for name, value in figures.items() if name.startswith("CPU µs: ")), 1)
    return {name: value for name, value in figures.items() if value}


def _phases(stack: Stack) -> dict[int, str]:
    """What PostgreSQL's connections are for, by process id."""
    with players.connected(stack.settings) as connection:
        rows = connection.execute("SELECT pid, query FROM pg_stat_activity WHERE backend_type = 'client backend'")
        said = {int(str(pid)): str(query) for pid, query in rows.fetchall()}
    return {
        pid: next((phase for word, phase in _PHASES.items() if query.startswith(word)), "postgres: other")
        for pid, query in said.items()
    }


def _processes(stack: Stack, phases: dict[int, str]) -> dict[str, tuple[float, int]]:
    """CPU seconds and wake-ups (voluntary switches) so far, by part."""
    found: defaultdict[str, tuple[float, int]] = defaultdict(lambda: (0.0, 0))
    for process in stack.process.children(recursive=True):
        try:
            part = part_of(process)
            times, woken = process.cpu_times(), _woken(process)
        except (psutil.Error, OSError):
            continue
        name = phases.get(process.pid) or _NAMES.get(part, part)
        used, switches = found[name]
        found[name] = used + times.user + times.system, switches + woken
    return found


def _woken(process: psutil.Process) -> int:
    """Voluntary switches of all its threads."""
    switches = 0
    for status in Path(f"/proc/{process.pid}/task").glob("*/status"):
        for line in status.read_text("utf-8").splitlines():
            if line.startswith("voluntary_ctxt_switches"):
                switches += int(line.split()[1])
    return switches


def _counters(stack: Stack) -> Figures:
    """PostgreSQL's, Redis' and our own, so far."""
    with players.connected(stack.settings) as connection:
        row = connection.execute(
            "SELECT xact_commit, (SELECT wal_bytes::float8 FROM pg_stat_wal) FROM pg_stat_database"
            " WHERE datname = current_database()"
        ).fetchone()
    commits, wal = row or (0, 0)
    with redis.Redis.from_url(stack.settings.redis_url) as client:
        stats = client.info("stats")
    with urlopen(stack.api + "/metrics") as answer:  # noqa: S310 - our own http address
        metrics = _metrics(answer.read().decode())
    return {
        "commits": float(str(commits)),
        "WAL bytes": float(str(wal)),
        "PostgreSQL round trips: accept": metrics["scoreboard_accept_group_rows_count"],
        "transactions: apply": metrics["scoreboard_apply_batch_rows_count"],
        "Redis commands": float(stats["total_commands_processed"]),
        "Redis bytes in": float(stats["total_net_input_bytes"]),
        "Redis bytes out": float(stats["total_net_output_bytes"]),
    }


def _metrics(exposition: str) -> defaultdict[str, float]:
    found: defaultdict[str, float] = defaultdict(float)
    for line in exposition.splitlines():
        name, _, value = line.rpartition(" ")
        if name and not name.startswith("#"):
            found[name] = float(value)
    return found


def main() -> None:
    """Measure, print, and keep."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seconds", type=float, default=10.0)
    options = parser.parse_args()
    found: dict[str, Figures] = {}
    with running({"LIMIT_USER": "1000000/second", "PIN_CORES": "on"}) as stack:
        everybody = players.populate(stack.settings, 100_000, playing=1_000)
        load.replay(stack, updates_of_all(stack, everybody, WARM_SECONDS), seconds=WARM_SECONDS)
        for name, requests in (
            ("an update", updates_of_all),
            ("top 100, as kept", top(100)),
            ("around a player, 10, not asked for before", around_everybody),
        ):
            found[name] = budget(stack, requests(stack, everybody, options.seconds), options.seconds)
            print(f"\n{name} ({BOARD} of 100,000)")
            for figure, value in found[name].items():
                print(f"  {figure:44}{value:12,.2f}")
    RESULTS.mkdir(exist_ok=True)
    kept = {"machine": machine.describe(), "budget": found}
    (RESULTS / "budget.json").write_text(json.dumps(kept, indent=1) + "\n", "utf-8")


if __name__ == "__main__":
    main()
