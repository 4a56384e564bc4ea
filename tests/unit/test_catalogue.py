"""The catalogue that people edit: what is wrong with it is told with its line."""

from __future__ import annotations

from pathlib import Path

import pytest

from models.boards.catalogue import Action, load_catalogue, parse_catalogue
from models.errors import ActionUnknown, BoardUnknown, CatalogueInvalid, ValidationFailed
from models.settings import DEFAULT_CATALOGUE

GOOD = """\
# a remark
[boards.global]
title = "Global"

[boards.skill]

[actions.jump]
points = -3
boards = ["global", "skill"]
value = { least = 1, most = 9 }
cooldown_seconds = 5

[actions.win]
points = 10
boards = ["skill"]
"""


def test_the_catalogue_as_shipped_has_what_the_contract_promises() -> None:
    catalogue = load_catalogue(DEFAULT_CATALOGUE)
    action = catalogue.action_for("level_complete", 100)
    assert action == Action("level_complete", 10, ("global",), 1, 100, 0)


def test_a_good_catalogue_says_what_stands_in_it() -> None:
    catalogue = parse_catalogue(GOOD, source="c.toml")
    assert [board.title for board in catalogue.boards.values()] == ["Global", "skill"]
    assert catalogue.actions["jump"] == Action("jump", -3, ("global", "skill"), 1, 9, 5)
    assert catalogue.actions["win"] == Action("win", 10, ("skill",), 1, 1, 0)


@pytest.mark.parametrize("value", [1, 9])
def test_bounds_of_a_value_are_inclusive(value: int) -> None:
    assert parse_catalogue(GOOD, source="").action_for("jump", value).name == "jump"


@pytest.mark.parametrize("value", [0, 10, -1, 2**63 - 1, -(2**63)])
def test_a_value_out_of_bounds_is_refused_at_its_member(value: int) -> None:
    with pytest.raises(ValidationFailed) as refused:
        parse_catalogue(GOOD, source="").action_for("jump", value)
    [fault] = refused.value.errors
    assert (fault.pointer, fault.message) == ("/value", "must be from 1 to 9")


def test_what_is_not_in_it_is_unknown() -> None:
    catalogue = parse_catalogue(GOOD, source="")
    with pytest.raises(ActionUnknown):
        catalogue.action_for("fly", 1)
    with pytest.raises(BoardUnknown):
        catalogue.board("pigs")


#: What to put in the place of what, and the line the fault is on.
FAULTS = [
    ("points = -3", "points = 1.5", 8),
    ("points = -3", "points = true", 8),
    ("points = -3", "points = 2147483648", 8),
    ("points = -3", 'points = "3"', 8),
    ("points = -3", "pionts = 3", 8),
    ("points = -3\n", "", 7),
    ('boards = ["global", "skill"]', 'boards = ["global", "global"]', 9),
    ('boards = ["global", "skill"]', 'boards = ["globe"]', 9),
    ('boards = ["global", "skill"]', "boards = []", 9),
    ('boards = ["global", "skill"]', 'boards = "global"', 9),
    ('boards = ["global", "skill"]', "boards = [1]", 9),
    ("value = { least = 1, most = 9 }", "value = { least = 9, most = 1 }", 10),
    ("value = { least = 1, most = 9 }", 'value = { least = "1" }', 10),
    ("value = { least = 1, most = 9 }", "value = 9", 10),
    ("cooldown_seconds = 5", "cooldown_seconds = -1", 11),
    ("cooldown_seconds = 5", "cool_down = 1", 11),
    ('title = "Global"', 'title = ""', 3),
    ('title = "Global"', "title = 5", 3),
    ('title = "Global"', "titel = 5", 3),
    ("[actions.jump]", "[actions.Jump]", 7),
    ("[boards.skill]", '[boards."no spaces"]', 5),
    ("[actions.win]", "[action.win]", 1),
]


@pytest.mark.parametrize(("old", "new", "line"), FAULTS)
def test_a_fault_is_told_with_file_and_line(old: str, new: str, line: int) -> None:
    assert old in GOOD
    with pytest.raises(CatalogueInvalid, match=rf"^c\.toml, line {line}: "):
        parse_catalogue(GOOD.replace(old, new, 1), source="c.toml")


def test_what_is_no_toml_is_told_with_its_line() -> None:
    with pytest.raises(CatalogueInvalid, match="line 3"):
        parse_catalogue("[boards.global]\n\n=", source="c.toml")


@pytest.mark.parametrize("text", ["", "[boards]", 'boards = "x"', "[boards]\nglobal = 1", "[actions.win]\npoints = 1"])
def test_a_catalogue_without_boards_cannot_be_used(text: str) -> None:
    with pytest.raises(CatalogueInvalid, match=r"c\.toml"):
        parse_catalogue(text, source="c.toml")


def test_a_file_that_is_not_there_or_no_text_is_told_by_name(tmp_path: Path) -> None:
    broken = tmp_path / "broken.toml"
    broken.write_bytes(b"\xff\xfe")
    for path in (tmp_path / "none.toml", broken):
        with pytest.raises(CatalogueInvalid, match=path.name):
            load_catalogue(path)
