"""The list of mutants is true: each text is there once, what comes of it is Python, and what must notice exists."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

from tests.faults.mutants.catalogue import MUTANTS
from tests.faults.mutants.mutant import Edit, Mutant, TextNotFound
from tests.faults.nemesis.catalogue import FAULTS

ROOT = Path(__file__).parents[2]
each_mutant = pytest.mark.parametrize("mutant", MUTANTS, ids=lambda mutant: mutant.name)


@each_mutant
def test_its_text_is_there_exactly_once_and_what_replaces_it_can_be_read(mutant: Mutant) -> None:
    for edit in mutant.edits:
        mutated = edit.mutated(ROOT)
        if edit.path.endswith(".py"):
            ast.parse(mutated)


@each_mutant
def test_what_has_to_notice_it_exists(mutant: Mutant) -> None:
    assert mutant.red or mutant.shown
    for test in mutant.red:
        file, *names = test.split("::")
        source = (ROOT / file).read_text("utf-8")
        assert all(name in source or name == "runTest" for name in names), test
    assert mutant.shown is None or mutant.shown.fault in {fault.name for fault in FAULTS}


def test_every_name_is_given_once() -> None:
    names = [mutant.name for mutant in MUTANTS]
    assert len(names) == len(set(names)) >= 14


def test_a_text_that_is_gone_or_there_twice_is_told(tmp_path: Path) -> None:
    (tmp_path / "file.py").write_text("once\ntwice\ntwice\n")
    Edit("file.py", "once", "never").apply(tmp_path)
    assert (tmp_path / "file.py").read_text() == "never\ntwice\ntwice\n"
    for text in ("once", "twice"):
        with pytest.raises(TextNotFound, match=r"file\.py"):
            Edit("file.py", text, "").apply(tmp_path)
