"""The rules file says what it means, or what is wrong with it."""

from __future__ import annotations

from pathlib import Path

import pytest

from models.errors import RulesInvalid
from models.guard.rules import DEFAULT_RULES, load_rules, parse_rules

RULE = """
[rules.example]
subject = "user"
events = { signature_invalid = 1, "accepted.level_complete" = 0.5 }
half_life_seconds = 60
threshold = 10
answer = "block"
for_seconds = 600
"""


def test_the_file_that_comes_with_the_service_can_be_read() -> None:
    rules = load_rules(DEFAULT_RULES)
    assert rules.rule("forged-signatures") in rules.by_event["signature_invalid"]
    assert rules.rule("no-such-rule") is None


def test_a_rule_is_what_the_file_says() -> None:
    [rule] = parse_rules(RULE, source="here").rules
    assert (rule.name, rule.subject, rule.answer, rule.mode, rule.for_seconds) == (
        "example",
        "user",
        "block",
        "enforce",
        600,
    )
    assert dict(rule.weights) == {"signature_invalid": 1, "accepted.level_complete": 0.5}
    assert rule.imposes


@pytest.mark.parametrize(
    "change", [('answer = "block"', 'answer = "alert"'), ("threshold", 'mode = "dry-run"\nthreshold')]
)
def test_who_only_tells_or_only_tries_imposes_nothing(change: tuple[str, str]) -> None:
    [rule] = parse_rules(RULE.replace(*change), source="here").rules
    assert not rule.imposes


@pytest.mark.parametrize(
    ("before", "after", "fault"),
    [
        ("[rules.example]", "[rules.Example]", "lower-case"),
        ("[rules.example]", "[boards.example]", "only [rules.…]"),
        ('subject = "user"', 'subject = "planet"', "planet"),
        ('subject = "user"', "", "subject"),
        ("threshold = 10", "threshold = 0", "threshold"),
        ("threshold = 10", "threshold = 10\nthreshhold = 1", "threshhold"),
        ("signature_invalid = 1", '"Signature Invalid" = 1', "Signature Invalid"),
        ("signature_invalid = 1", "signature_invalid = -1", "events"),
        ('answer = "block"', 'answer = "throttle"', "throttle_to"),
        ('answer = "block"', 'answer = "throttle"\nthrottle_to = "often"', "throttle_to"),
        ("half_life_seconds = 60", "half_life_seconds = ", "line 5"),
    ],
)
def test_a_fault_is_told_with_its_place(before: str, after: str, fault: str) -> None:
    with pytest.raises(RulesInvalid, match="here") as raised:
        parse_rules(RULE.replace(before, after), source="here")
    assert fault in str(raised.value)


def test_only_players_can_be_in_quarantine() -> None:
    text = RULE.replace('subject = "user"', 'subject = "address"').replace('"block"', '"quarantine"')
    with pytest.raises(RulesInvalid, match="quarantine"):
        parse_rules(text, source="here")


def test_a_file_that_cannot_be_read_is_said(tmp_path: Path) -> None:
    with pytest.raises(RulesInvalid, match="cannot be read"):
        load_rules(tmp_path / "none.toml")
