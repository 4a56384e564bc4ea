"""The rules that people edit: which events make whom suspicious, and what is done about it; pure."""

from __future__ import annotations

import re
import tomllib
from collections import defaultdict
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Final, Literal

import msgspec
from msgspec import Meta

from models.errors import RulesInvalid
from models.subjects import THROTTLE, SubjectKind

Answer = Literal["alert", "throttle", "quarantine", "block"]
Mode = Literal["enforce", "dry-run"]

DEFAULT_RULES: Final = Path(__file__).parent / "rules.toml"
_NAME: Final = re.compile(r"\A[a-z0-9][a-z0-9-]{0,63}\Z")
_EVENT: Final = re.compile(r"\A[a-z_]+(\.[a-z0-9_]{1,64})?\Z")
_Seconds = Annotated[float, Meta(gt=0, le=366 * 86_400)]


class _Entry(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A rule as it stands in the file."""

    subject: SubjectKind
    events: Annotated[dict[str, Annotated[float, Meta(gt=0, le=1e6)]], Meta(min_length=1)]
    half_life_seconds: _Seconds
    threshold: Annotated[float, Meta(gt=0, le=1e12)]
    answer: Answer
    mode: Mode = "enforce"
    for_seconds: _Seconds | None = None
    throttle_to: Annotated[str, Meta(pattern=THROTTLE)] | None = None


@dataclass(frozen=True, slots=True, eq=False)
class Rule:
    """One rule; `weights` by event. Told from others by identity, since it is looked up at each event."""

    name: str
    subject: SubjectKind
    weights: Mapping[str, float]
    half_life_seconds: float
    threshold: float
    answer: Answer
    mode: Mode
    for_seconds: float | None
    throttle_to: str | None

    @property
    def imposes(self) -> bool:
        """Whether more is done than to tell."""
        return self.mode == "enforce" and self.answer != "alert"

    @property
    def told_answer(self) -> str:
        """The answer as incidents and figures tell it."""
        return self.answer if self.mode == "enforce" else f"dry-run: {self.answer}"


@dataclass(frozen=True, slots=True)
class Rules:
    """All of them."""

    rules: tuple[Rule, ...]
    by_event: Mapping[str, tuple[Rule, ...]]

    def rule(self, name: str) -> Rule | None:
        """The rule of that name, if it is still there."""
        return next((rule for rule in self.rules if rule.name == name), None)


def load_rules(path: Path) -> Rules:
    """Read and check the file.

    Raises:
        RulesInvalid: with file and fault.
    """
    try:
        return parse_rules(path.read_text("utf-8"), source=str(path))
    except (OSError, UnicodeDecodeError) as error:
        raise RulesInvalid(f"The rules {path} cannot be read: {error}") from error


def parse_rules(text: str, *, source: str) -> Rules:
    """The rules that `text` (TOML) describes; `source` stands before what is raised.

    Raises:
        RulesInvalid: with source, rule and fault.
    """
    try:
        tree = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise RulesInvalid(f"{source}: {error}") from error
    entries = tree.get("rules", {})
    if set(tree) - {"rules"} or not isinstance(entries, dict):
        raise RulesInvalid(f"{source}: only [rules.…] are known here")
    rules = tuple(_rule(name, entry, source) for name, entry in entries.items())
    by_event: dict[str, list[Rule]] = defaultdict(list)
    for rule in rules:
        for event in rule.weights:
            by_event[event].append(rule)
    return Rules(rules, {event: tuple(those) for event, those in by_event.items()})


def _rule(name: str, entry: Any, source: str) -> Rule:
    where = f"{source}: [rules.{name}]"
    if not _NAME.match(name):
        raise RulesInvalid(f"{where} must be named with lower-case letters, digits and hyphens")
    try:
        read = msgspec.convert(entry, _Entry, strict=False)
    except msgspec.ValidationError as error:
        raise RulesInvalid(f"{where} {error}") from error
    for event in read.events:
        if not _EVENT.match(event):
            raise RulesInvalid(f"{where} has an event {event!r}, which is none")
    if read.answer == "throttle" and read.throttle_to is None:
        raise RulesInvalid(f"{where} answers with a throttle and does not say throttle_to")
    if read.answer == "quarantine" and read.subject != "user":
        raise RulesInvalid(f"{where} can only quarantine a user")
    return Rule(
        name,
        read.subject,
        dict(read.events),
        read.half_life_seconds,
        read.threshold,
        read.answer,
        read.mode,
        read.for_seconds,
        read.throttle_to,
    )
