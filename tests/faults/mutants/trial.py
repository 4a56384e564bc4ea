"""Tries a mutant: a copy of the working tree, broken, with the tests and the fault that must notice run in it."""

from __future__ import annotations

import json
import os
import re
import shutil
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

from deploy.local.procfile import ROOT
from tests.faults.mutants.mutant import Mutant, Shown, TextNotFound

#: The slowest selection takes about 30 s, the slowest fault about 70 s; a mutant may hang where we do not.
TESTS_SECONDS_MOST: Final = 120.0
FAULT_SECONDS_MOST: Final = 240.0
#: A stack that did not start, as happens on a machine that is busy, says nothing of the mutant.
LABORATORY_TRIES: Final = 2
#: What is asked to end puts its stores and processes away.
END_SECONDS: Final = 30.0


@dataclass
class Trial:
    """What became of a mutant: which tests went red, what the laboratory said, and what should have but did not."""

    mutant: Mutant
    red: list[str] = field(default_factory=list)
    complaint: str = ""
    missing: list[str] = field(default_factory=list)


def attempt(mutant: Mutant) -> Trial:
    """Break a copy of the tree and look who notices."""
    trial = Trial(mutant)
    with _copy_of_the_tree() as root:
        try:
            mutant.apply(root)
        except TextNotFound as error:
            trial.missing.append(str(error))
            return trial
        if mutant.red:
            failed, said = run_tests(root, mutant.red)
            trial.red = [test for test in mutant.red if any(_is_of(each, test) for each in failed)]
            trial.missing += [f"{test} stays green" for test in mutant.red if test not in trial.red]
            trial.missing += [] if failed else [said]
        if mutant.shown is not None:
            _shown_by_the_laboratory(root, mutant.shown, trial)
    return trial


def control(tests: Sequence[str]) -> str:
    """Run the tests where nothing is broken: red means something only where green is the rule. Returns what failed."""
    with _copy_of_the_tree() as root:
        failed, said = run_tests(root, tests, seconds=600.0)
    return "\n".join(failed) or ("" if re.search(r"^\d+ passed", said, re.MULTILINE) else said)


def run_tests(root: Path, tests: Sequence[str], seconds: float = TESTS_SECONDS_MOST) -> tuple[list[str], str]:
    """The tests that failed (one that could not begin has not), and the end of what pytest said."""
    said = _run(root, ["pytest", "-q", "-p", "no:cacheprovider", "--no-header", "--tb=no", "-rf", *tests], seconds)
    return re.findall(r"^FAILED (\S+)", said, re.MULTILINE), said[-1_000:]


def _shown_by_the_laboratory(root: Path, shown: Shown, trial: Trial) -> None:
    out = root / "build" / "mutant"
    report = out / "faults.json"
    command = ["tests.faults", "--only", shown.fault, "--rounds", str(shown.rounds), "--out", str(out)]
    said = ""
    for _ in range(LABORATORY_TRIES):
        said = _run(root, command, FAULT_SECONDS_MOST)
        if report.exists():
            break
    else:
        trial.missing.append(f"the laboratory came to no verdict: {said[:2_000]} … {said[-1_000:]}")
        return
    (outcome,) = json.loads(report.read_text("utf-8"))
    found = complaints(outcome)
    fitting = [each for each in found if re.search(shown.complaint, each)]
    if fitting:
        trial.complaint = f"{len(fitting)} × “{_anonymous(fitting[0])}”"
    else:
        trial.missing.append(
            f"{shown.fault} says nothing of “{shown.complaint}”, but {found[:3] or 'that all is well'}"
        )


def complaints(outcome: dict[str, Any]) -> list[str]:
    """All that the checker found, as sentences."""
    return [
        *(f"lost: {each}" for each in outcome["lost"]),
        *(f"doubled: {each}" for each in outcome["doubled"]),
        *outcome["wrong"],
    ]


def _is_of(failed: str, test: str) -> bool:
    """Whether what failed is this test, or one of its cases."""
    return failed == test or failed.startswith((f"{test}[", f"{test}::"))


def _anonymous(sentence: str) -> str:
    """Without the ids of this run."""
    return re.sub(r"\b[0-9a-f]{8}-[0-9a-f-]{27}\b|\b[0-9a-f]{12,16}\b", "…", sentence)[:160].strip()


def _run(root: Path, module: list[str], seconds: float) -> str:
    """Run a module of the copy with our interpreter; what takes too long is asked to end."""
    environ = {name: value for name, value in os.environ.items() if name != "CI"}  # there a skipped test is a red one
    process = subprocess.Popen(
        [sys.executable, "-m", *module],
        cwd=root,
        env={**environ, "PYTHONDONTWRITEBYTECODE": "1", "HYPOTHESIS_PROFILE": "first-failure"},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    try:
        return process.communicate(timeout=seconds)[0]
    except subprocess.TimeoutExpired:
        process.send_signal(signal.SIGINT)
        try:
            return process.communicate(timeout=END_SECONDS)[0]
        except subprocess.TimeoutExpired:
            process.kill()
            return process.communicate()[0]


@contextmanager
def _copy_of_the_tree() -> Iterator[Path]:
    """What git knows or would, as it is now."""
    listed = subprocess.run(
        ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"],
        cwd=ROOT,
        capture_output=True,
        check=True,
    ).stdout.decode()
    with tempfile.TemporaryDirectory(prefix="sbm-") as folder:
        root = Path(folder)
        for name in filter(None, listed.split("\0")):
            if (ROOT / name).is_file():
                (root / name).parent.mkdir(parents=True, exist_ok=True)
                shutil.copy2(ROOT / name, root / name)
        yield root
