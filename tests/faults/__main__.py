"""`python -m tests.faults`: runs faults against the service, prints the table, writes JSON and the pictures."""

from __future__ import annotations

import argparse
import fnmatch
import random
import sys
from collections.abc import Mapping
from itertools import groupby
from pathlib import Path

from tests.faults import report
from tests.faults.laboratory import Fault, Laboratory, Outcome, as_json
from tests.faults.nemesis.catalogue import FAULTS


def main(arguments: list[str]) -> int:
    """Run what was asked for; 1 when anything was lost, doubled or wrong."""
    options = _options(arguments)
    chosen = [fault for fault in FAULTS if any(fnmatch.fnmatch(fault.name, each) for each in options.only)]
    if options.list or not chosen:
        for fault in chosen or FAULTS:
            print(f"{fault.name:26} {fault.family:10} {fault.sentence}")
        return 0 if options.list else 2
    options.out.mkdir(parents=True, exist_ok=True)
    outcomes: list[Outcome] = []
    for environment, faults in groupby(chosen, key=lambda fault: tuple(sorted(fault.environment.items()))):
        outcomes += _run(dict(environment), list(faults), options)
    (options.out / "faults.json").write_text(as_json(outcomes) + "\n", "utf-8")
    print(report.table(outcomes))
    return 0 if all(outcome.verdict.clean for outcome in outcomes) else 1


def _run(environment: Mapping[str, str], faults: list[Fault], options: argparse.Namespace) -> list[Outcome]:
    outcomes = []
    with Laboratory(environment, say=_say) as laboratory:
        for fault in faults:
            seed = options.seed if options.seed is not None else random.randrange(1_000_000)
            _say(f"{fault.name}: {fault.sentence} (--only {fault.name} --seed {seed})")
            outcome = laboratory.run(fault, rounds=options.rounds or fault.rounds, seed=seed)
            outcomes.append(outcome)
            _say(report.line(outcome))
            for sentence in report.complaints(outcome):
                _say(f"  !! {sentence}")
            if options.pictures:
                report.draw(outcome, options.out / f"{fault.name}.png")
    return outcomes


def _options(arguments: list[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m tests.faults", description=main.__doc__)
    parser.add_argument("--only", nargs="+", default=["*"], metavar="NAME", help="faults by name; * and ? are understood")
    parser.add_argument("--list", action="store_true", help="list the faults and end")
    parser.add_argument("--rounds", type=int, help="how often each strikes (default: as each says, at least 5)")
    parser.add_argument("--seed", type=int, help="try again what happened with this seed")
    parser.add_argument("--out", type=Path, default=Path("build/faults"), help="where JSON and pictures go")
    parser.add_argument("--pictures", action="store_true", help="draw a time line of each fault")
    return parser.parse_args(arguments)


def _say(sentence: str) -> None:
    print(sentence, flush=True)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
