"""`python -m tests.faults.soak`: twenty minutes under load with a fault every thirty seconds; what grows?"""

from __future__ import annotations

import argparse
import json
import random
import signal
import sys
import threading
import time
from collections import defaultdict
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from statistics import linear_regression, mean
from typing import Any, Final

import psutil
import psycopg

from deploy.local.processes import marked
from tests.faults.checker import judge
from tests.faults.laboratory import CLIENTS, Fault, Laboratory
from tests.faults.nemesis.catalogue import FAULTS
from tests.faults.ways import Ways

PAUSE_SECONDS: Final = 30.0
#: Well before the players' tokens lapse.
RENEW_SECONDS: Final = 300.0
SAMPLE_SECONDS: Final = 5.0
#: What comes before is warming up: caches fill, pools open.
WARM_UP_PART: Final = 0.25
PROCESSES: Final = ("web", "sockets", "worker", "beat", "flower")
#: Harm that is over within seconds, and needs no other clock or crowd.
FAMILIES: Final = ("processes", "postgres", "network", "events", "redis")
_LEFT_OUT: Final = ("broker-away", "cache-away", "both-away")
#: Growth over the measured time that is noise: a restarted process is smaller than an old one.
GROWTH_MOST: Final = 0.25
GROWTH_NOISE: Final = {"rss_mib": 40.0, "files": 40.0, "threads": 12.0, "connections": 12.0}


@dataclass
class Sample:
    """What was counted at a moment (seconds of the run)."""

    at: float
    figures: dict[str, float]


def main(arguments: list[str]) -> int:
    """Play for a while under random faults; 1 when anything was lost, doubled or wrong, or something grows."""
    parser = argparse.ArgumentParser(prog="make soak ARGS='…'", description=main.__doc__)
    parser.add_argument("--minutes", type=float, default=20.0)
    parser.add_argument("--seed", type=int, default=random.randrange(1_000_000))
    parser.add_argument("--out", type=Path, default=Path("build/faults/soak.json"))
    options = parser.parse_args(arguments)
    print(f"seed {options.seed}", flush=True)
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    with Laboratory(say=lambda sentence: print(sentence, flush=True)) as laboratory:
        report = _soak(laboratory, options.minutes * 60, random.Random(options.seed))
    options.out.parent.mkdir(parents=True, exist_ok=True)
    options.out.write_text(json.dumps(report, indent=1) + "\n", "utf-8")
    print(_table(report))
    for sentence in report["complaints"]:
        print(f"!! {sentence}")
    return int(bool(report["complaints"]))


def _soak(lab: Laboratory, seconds: float, dice: random.Random) -> dict[str, Any]:
    chosen = [fault for fault in FAULTS if fault.family in FAMILIES and fault.name not in _LEFT_OUT]
    lab.begin(chosen[0], seed=dice.randrange(1_000_000), clients=CLIENTS)
    samples: list[Sample] = []
    stop = threading.Event()
    sampler = threading.Thread(target=_sample, args=(lab, samples, stop), daemon=True)
    sampler.start()
    struck: list[str] = []
    renewed_at = 0.0
    try:
        while lab.ledger.now() < seconds:
            if lab.ledger.now() - renewed_at > RENEW_SECONDS:
                renewed_at = lab.ledger.now()
                lab.crowd.renew_tokens()
            due = lab.ledger.now() + PAUSE_SECONDS
            fault = dice.choice(chosen)
            struck.append(_strike(lab, fault, dice))
            time.sleep(max(0.0, due - lab.ledger.now()))
    finally:
        stop.set()
        sampler.join()
        lab.crowd.stop()
    verdict = judge(lab.ledger, lab.postgres, Ways([lab.service.api]), lab.spectators)
    lab.spectators.stop()
    trends = _trends(samples, seconds)
    growing = [name for name, trend in trends.items() if trend["grows"]]
    complaints = [f"lost: {each}" for each in verdict.lost] + [f"doubled: {each}" for each in verdict.doubled]
    complaints += verdict.wrong + [f"{name} grows: {trends[name]}" for name in growing]
    return {
        "seconds": round(seconds),
        "faults": struck,
        "calls": len(lab.ledger.calls) + len(lab.ledger.others),
        "accepted": verdict.accepted,
        "lost": len(verdict.lost),
        "doubled": len(verdict.doubled),
        "wrong": len(verdict.wrong),
        "trends": trends,
        "complaints": complaints,
        "samples": [{"at": round(sample.at, 1), **sample.figures} for sample in samples],
    }


def _strike(lab: Laboratory, fault: Fault, dice: random.Random) -> str:
    lab.crowd.refusals_expected = fault.refusals
    done = lab.strike(fault, dice)
    if done.recovery_seconds > fault.recovery_seconds_most:
        lab.ledger.complain(f"{fault.name}: itself again after {done.recovery_seconds:.1f} s")
    return f"{fault.name} ({done.recovery_seconds:.1f} s)"


def _sample(lab: Laboratory, samples: list[Sample], stop: threading.Event) -> None:
    while not stop.wait(SAMPLE_SECONDS):
        figures: dict[str, float] = defaultdict(float)
        for name in PROCESSES:
            for pid in marked(lab.service.folders.data, name):
                with suppress(psutil.Error):
                    process = psutil.Process(pid)
                    figures[f"{name} rss_mib"] += process.memory_info().rss / 2**20
                    figures[f"{name} files"] += process.num_fds()
                    figures[f"{name} threads"] += process.num_threads()
        with suppress(psycopg.Error):
            (row,) = lab.postgres.query("SELECT count(*) FROM pg_stat_activity WHERE application_name = 'scoreboard'")
            figures["postgres connections"] = row[0]
        samples.append(Sample(lab.ledger.now(), dict(figures)))


def _trends(samples: list[Sample], seconds: float) -> dict[str, dict[str, Any]]:
    """For each figure its mean and its slope a minute after the warm-up, by least squares."""
    warm = [sample for sample in samples if sample.at >= seconds * WARM_UP_PART]
    trends: dict[str, dict[str, Any]] = {}
    for name in sorted({name for sample in warm for name in sample.figures}):
        points = [(sample.at / 60, sample.figures[name]) for sample in warm if name in sample.figures]
        moments, values = zip(*points, strict=True)
        slope = linear_regression(moments, values).slope
        grown = slope * (moments[-1] - moments[0])
        most = mean(values) * GROWTH_MOST + GROWTH_NOISE[name.partition(" ")[2]]
        trends[name] = {"mean": round(mean(values), 1), "slope_a_minute": round(slope, 3), "grows": grown > most}
    return trends


def _table(report: dict[str, Any]) -> str:
    lines = ["| figure | mean | slope a minute |", "| --- | --- | --- |"]
    lines += [f"| {name} | {each['mean']} | {each['slope_a_minute']:+.3f} |" for name, each in report["trends"].items()]
    head = {name: report[name] for name in ("seconds", "calls", "accepted", "lost", "doubled", "wrong")}
    return f"{head}, {len(report['faults'])} faults\n" + "\n".join(lines)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
