"""`python -m tests.faults`: runs faults against the service, prints the table, writes JSON and the pictures."""

from __future__ import annotations

import argparse
import fnmatch
import json
import random
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

from tests.faults import report
from tests.faults.laboratory import Fault, Laboratory, Outcome, Unavailable, as_documents
from tests.faults.nemesis.catalogue import FAULTS


def main(arguments: list[str]) -> int:
    """Attack the service with faults; 1 when anything was lost, doubled or wrong, or a fault could not be tried."""
    options = _options(arguments)
    chosen = [fault for fault in FAULTS if any(fnmatch.fnmatch(fault.name, each) for each in options.only)]
    if options.list or not chosen:
        for fault in chosen or FAULTS:
            print(f"{fault.name:28} {fault.family:10} {fault.sentence}")
        return 0 if options.list else 2
    options.out.mkdir(parents=True, exist_ok=True)
    signal.signal(signal.SIGTERM, signal.default_int_handler)  # asked to end, it puts everything away, like on Ctrl-C
    if options.jobs > 1:
        return _share(chosen, options)
    outcomes: list[Outcome] = []
    untried = not _run(chosen, options, outcomes)
    return _conclude(as_documents(outcomes), options.out) or int(untried)


def _run(faults: list[Fault], options: argparse.Namespace, outcomes: list[Outcome]) -> bool:
    """One service, one fault after the other; False when this machine lacks what one needs."""
    complete = True
    with Laboratory(say=_say) as laboratory:
        for fault in faults:
            seed = options.seed if options.seed is not None else random.randrange(1_000_000)
            _say(f"{fault.name}: {fault.sentence} (--only {fault.name} --seed {seed})")
            try:
                outcome = laboratory.run(fault, rounds=options.rounds or fault.rounds, seed=seed)
            except Unavailable as lack:
                _say(f"  not tried: {lack}")
                complete = False
                continue
            outcomes.append(outcome)
            _write(as_documents(outcomes), options.out)  # the whole takes more than an hour: a stop loses one fault
            for sentence in report.complaints(outcome):
                _say(f"  !! {sentence}")
            if not outcome.verdict.clean:
                logs = options.out / f"{fault.name}-logs"
                laboratory.keep_logs(logs)
                _say(f"  the service's logs are in {logs}")
            if options.pictures:
                report.draw(outcome, options.out / f"{fault.name}.png")
    return complete


def _share(chosen: list[Fault], options: argparse.Namespace) -> int:
    """Several laboratories at once, each with a share of the faults."""
    jobs = []
    for number in range(options.jobs):
        names = [fault.name for fault in chosen[number :: options.jobs]]
        out = options.out / f"job-{number}"
        command = [sys.executable, "-m", "tests.faults", "--out", str(out), "--only", *names]
        command += ["--rounds", str(options.rounds)] if options.rounds else []
        command += ["--seed", str(options.seed)] if options.seed is not None else []
        command += ["--pictures"] if options.pictures else []
        jobs.append((out, subprocess.Popen(command)))
    codes = [job.wait() for _, job in jobs]
    documents: list[dict[str, Any]] = []
    for out, _ in jobs:
        if (out / "faults.json").exists():
            documents += json.loads((out / "faults.json").read_text("utf-8"))
    order = [fault.name for fault in chosen]
    return _conclude(sorted(documents, key=lambda each: order.index(each["fault"])), options.out) or max(codes)


def _conclude(documents: list[dict[str, Any]], out: Path) -> int:
    _write(documents, out)
    print(report.table(documents))
    return int(any(each["lost"] or each["doubled"] or each["wrong"] for each in documents))


def _write(documents: list[dict[str, Any]], out: Path) -> None:
    (out / "faults.json").write_text(json.dumps(documents, indent=1) + "\n", "utf-8")


def _options(arguments: list[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="make faults ARGS='…'", description=main.__doc__)
    parser.add_argument(
        "--only", nargs="+", default=["*"], metavar="NAME", help="faults by name; * and ? are understood"
    )
    parser.add_argument("--list", action="store_true", help="list the faults and end")
    parser.add_argument("--rounds", type=int, help="how often each strikes (default: as each says, at least 5)")
    parser.add_argument("--seed", type=int, help="try again what happened with this seed")
    parser.add_argument("--jobs", type=int, default=1, help="laboratories at once; each takes about one core")
    parser.add_argument("--out", type=Path, default=Path("build/faults"), help="where JSON and pictures go")
    parser.add_argument("--pictures", action="store_true", help="draw a time line of each fault")
    return parser.parse_args(arguments)


def _say(sentence: str) -> None:
    print(sentence, flush=True)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
