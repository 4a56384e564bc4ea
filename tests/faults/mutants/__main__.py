"""`python -m tests.faults.mutants`: breaks the service in many ways, one at a time; each must be noticed."""

from __future__ import annotations

import argparse
import fnmatch
import sys
import time
from pathlib import Path

from tests.faults.mutants import trial
from tests.faults.mutants.catalogue import MUTANTS
from tests.faults.mutants.mutant import Mutant
from tests.faults.mutants.trial import Trial


def main(arguments: list[str]) -> int:
    """Try the mutants that were asked for; 1 when one survives, or its text is not there any more."""
    options = _options(arguments)
    chosen = [mutant for mutant in MUTANTS if any(fnmatch.fnmatch(mutant.name, each) for each in options.only)]
    if options.list or not chosen:
        for mutant in MUTANTS:
            _say(f"{mutant.name:24} {mutant.invariant:4} {mutant.breaks}")
        return 0 if options.list else 2
    began = time.monotonic()
    tests = list(dict.fromkeys(test for mutant in chosen for test in mutant.red))
    _say(f"the control: {len(tests)} tests where nothing is broken")
    if tests and (failed := trial.control(tests)):
        _say(f"red without a mutant, so that red would say nothing:\n{failed}")
        return 1
    trials = [_tried(mutant) for mutant in chosen]
    _say("\n" + table(trials))
    if options.table:
        options.table.write_text(table(trials) + "\n", "utf-8")
    survived = [each.mutant.name for each in trials if each.missing]
    _say(f"{len(trials)} mutants in {time.monotonic() - began:.0f} s, survived: {', '.join(survived) or 'none'}")
    return 1 if survived else 0


def table(trials: list[Trial]) -> str:
    """Mutant, invariant, and who noticed, as a Markdown table."""
    rows = [
        f"| `{each.mutant.name}`: {each.mutant.breaks} | {each.mutant.invariant} | {_noticed(each)} |"
        for each in trials
    ]
    return "\n".join(["| mutant | invariant | what goes red |", "|---|---|---|", *rows])


def _noticed(tried: Trial) -> str:
    by: dict[str, list[str]] = {}
    for test in tried.red:
        file, *_, name = test.split("::")
        by.setdefault(file, []).append(name.removeprefix("test_").replace("_", " "))
    cells = [f"`{file}`: {'; '.join(names)}" for file, names in by.items()]
    if tried.complaint and tried.mutant.shown:
        cells.append(f"the laboratory under `{tried.mutant.shown.fault}`: {tried.complaint}")
    return "<br>".join(cells) or "nothing"


def _tried(mutant: Mutant) -> Trial:
    began = time.monotonic()
    _say(f"{mutant.name} ({mutant.invariant}): {mutant.breaks}")
    tried = trial.attempt(mutant)
    for test in tried.red:
        _say(f"  red: {test}")
    if tried.complaint and mutant.shown:
        _say(f"  {mutant.shown.fault}: {tried.complaint}")
    for sentence in tried.missing:
        _say(f"  !! {sentence}")
    _say(f"  {'SURVIVED' if tried.missing else 'caught'} after {time.monotonic() - began:.0f} s")
    return tried


def _options(arguments: list[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m tests.faults.mutants", description=main.__doc__)
    parser.add_argument("--only", nargs="+", default=["*"], metavar="NAME", help="by name; * and ? are understood")
    parser.add_argument("--list", action="store_true", help="list the mutants and end")
    parser.add_argument("--table", type=Path, metavar="FILE", help="write the table there as Markdown")
    return parser.parse_args(arguments)


def _say(sentence: str) -> None:
    sys.stdout.write(sentence + "\n")
    sys.stdout.flush()


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
