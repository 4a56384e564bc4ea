"""How many updates and reads a second over HTTP, beside a route that does nothing and a naive build?

    .venv/bin/python -m bench.rates --rounds 5 --seconds 10
    .venv/bin/python -m bench.rates --quick

A stack of its own for each size of board. In every round each workload is measured right after the bare route, since
shared machines drift by tens of percent within the hour: the ratio is what compares. First wrk asks for as much as it
gets, in a closed loop, each update sent once; then half of that is asked for in an open loop, whose latencies omit
nothing. Prints the medians and writes all runs to `bench/results/rates.json`.
"""

from __future__ import annotations

import argparse
import json
import statistics
import tempfile
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from itertools import groupby
from pathlib import Path
from typing import Any

from tqdm import tqdm

from bench.harness import baselines, load, machine, players, wrk
from bench.harness.load import Outcome
from bench.harness.paced import Paced
from bench.harness.players import Player
from bench.harness.stack import Stack, running
from bench.harness.workloads import WORKLOADS, Workload

RESULTS = Path(__file__).parent / "results"
#: Limits are raised, as for any benchmark: one player alone is to send thousands a second.
SETTINGS = {"LIMIT_USER": "1000000/second"}
#: As many play on the large boards as on the small one; the others stand there.
PLAYING = 1_000
#: Before a round counts: tokens and keys are known then, and credit is given.
WARM_SECONDS = 3.0
BARE_SECONDS = 4.0
#: What is asked for in the open loop, as a share of what the closed one before it got.
PACE = 0.5


@dataclass
class Measured:
    """A workload's runs."""

    workload: str
    goal: float
    each: int
    runs: list[Outcome] = field(default_factory=list)
    paced: list[Paced] = field(default_factory=list)  # not for batches
    bare: list[float] = field(default_factory=list)
    naive: list[float] = field(default_factory=list)

    def summary(self) -> dict[str, Any]:
        """Medians; rates in what the goal counts: updates, for batches."""
        rates = [run.rate * self.each for run in self.runs]
        applied = [run.applied_in_time for run in self.runs]
        ratios = [rate / bare for rate, bare in zip(rates, self.bare, strict=True)]
        return {
            "workload": self.workload,
            "goal": self.goal,
            "rate": round(statistics.median(rates)),
            "least": round(min(rates)),
            "most": round(max(rates)),
            "applied": round(statistics.median(applied)),
            "to_bare": round(statistics.median(ratios), 2),
            "to_naive": round(statistics.median(rates) / statistics.median(self.naive), 1) if self.naive else None,
            "p50_ms": statistics.median(run.p50_ms for run in self.runs),
            "p99_ms": statistics.median(run.p99_ms for run in self.runs),
            "paced": round(statistics.median(run.rate for run in self.paced)) if self.paced else None,
            "paced_p50_ms": statistics.median(run.p50_ms for run in self.paced) if self.paced else None,
            "paced_p99_ms": statistics.median(run.p99_ms for run in self.paced) if self.paced else None,
            "backlog_most": max(run.backlog_most for run in self.runs),
            "drained_ms": statistics.median(run.drained_ms for run in self.runs),
        }


def measure(workloads: Sequence[Workload], *, rounds: int, seconds: float) -> list[Measured]:
    """All rounds of the workloads, which share a board's size."""
    board = workloads[0].board
    measured = {w.name: Measured(w.name, w.goal, w.each) for w in workloads}
    with running({**SETTINGS, "PIN_CORES": "on"}) as stack, baselines.bare_route() as bare:
        everybody = players.populate(stack.settings, board, playing=PLAYING)
        load.replay(stack, players.updates(everybody, 20_000), seconds=WARM_SECONDS)
        for _ in range(rounds):
            for workload in tqdm(workloads, desc=f"board of {board:,}", leave=False):
                found = measured[workload.name]
                found.bare.append(_rate(bare, [players.request("GET", "/")], min(seconds // 2, BARE_SECONDS)))
                requests = workload.requests(stack, everybody, seconds)
                found.runs.append(load.replay(stack, requests, seconds=seconds, connections=workload.connections))
                if workload.each == 1:
                    rate = PACE * found.runs[-1].rate
                    requests = workload.requests(stack, everybody, seconds / 2)
                    found.paced.append(load.offer(stack, requests, rate=rate, seconds=seconds / 2))
        if compared := [w for w in workloads if w.naive]:
            _measure_naive(stack, everybody, compared, measured, seconds)
    return list(measured.values())


def _measure_naive(
    stack: Stack,
    everybody: Sequence[Player],
    workloads: Sequence[Workload],
    measured: dict[str, Measured],
    seconds: float,
) -> None:
    with baselines.naive_service(stack, list(everybody), board=workloads[0].board) as url:
        for workload in tqdm(workloads, desc="the naive build", leave=False):
            requests = workload.requests(stack, everybody, seconds / 4)
            measured[workload.name].naive.append(_rate(url, requests, seconds))


def _rate(url: str, requests: Sequence[bytes], seconds: float) -> float:
    with tempfile.NamedTemporaryFile(prefix="sb-requests-") as file:
        players.write(requests, Path(file.name))
        return round(wrk.run(url, Path(file.name), seconds=seconds).rate, 1)


def show(measured: Sequence[Measured]) -> None:
    """Print the table."""
    heads = ("goal", 8), ("rate/s", 9), ("least-most", 16), ("applied/s", 11), ("/bare", 7), ("/naive", 8), ("p50", 7)
    print(f"\n{'':34}{''.join(f'{head:>{width}}' for head, width in heads)}{'p99 ms':>8}   at half: p50, p99 ms")
    for each in measured:
        s = each.summary()
        spread = f"{s['least']:,}-{s['most']:,}"
        print(
            f"{s['workload']:34}{s['goal']:8,.0f}{s['rate']:9,}{spread:>16}{s['applied']:11,}{s['to_bare']:7.2f}"
            f"{s['to_naive'] or '':>8}{s['p50_ms']:7.1f}{s['p99_ms']:8.1f}"
            + (f"   {s['paced']:,}/s: {s['paced_p50_ms']:.1f}, {s['paced_p99_ms']:.1f}" if s["paced"] else "")
        )


def main() -> None:
    """Measure, print, and keep."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--seconds", type=float, default=10.0)
    parser.add_argument("--quick", action="store_true", help="one round of 3 s, without the board of a million")
    parser.add_argument("--only", metavar="WORD", help="only workloads whose name has this word in it")
    options = parser.parse_args()
    rounds, seconds = (1, 3.0) if options.quick else (options.rounds, options.seconds)
    chosen = [w for w in WORKLOADS if not options.only or options.only in w.name]
    chosen = [w for w in chosen if not (options.quick and w.board >= 1_000_000)]
    measured: list[Measured] = []
    for _, workloads in groupby(chosen, key=lambda workload: workload.board):
        measured += measure(list(workloads), rounds=rounds, seconds=seconds)
        keep(measured, rounds=rounds, seconds=seconds)
    show(measured)


def keep(measured: Sequence[Measured], *, rounds: int, seconds: float) -> None:
    """Write all runs so far."""
    RESULTS.mkdir(exist_ok=True)
    kept = {
        "machine": machine.describe(),
        "rounds": rounds,
        "seconds": seconds,
        "table": [m.summary() for m in measured],
        "runs": [asdict(m) for m in measured],
    }
    (RESULTS / "rates.json").write_text(json.dumps(kept, indent=1) + "\n", "utf-8")


if __name__ == "__main__":
    main()
