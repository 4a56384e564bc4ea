"""Suspicion that fades: each event adds to a score that halves with time, shared by all processes through Redis.

Redis is disposable here as everywhere: emptied, it forgets who was suspected, not who was restricted. While it is away
each process counts by itself, in a memory that is bounded.
"""

from __future__ import annotations

import math
import time
from collections import OrderedDict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import redis
import structlog

from models.guard.rules import Rule
from models.storage.redis import apart, call_each

#: Subjects that a process suspects by itself while Redis is away.
REMEMBERED_MOST: Final = 10_000
#: A score below this is nothing any more; its key then ends.
NOTHING: Final = 0.01
#: Redis is spared for so long after it failed to answer.
PAUSE_SECONDS: Final = 2.0
SUBJECTS_A_CALL: Final = 200

log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class Subject:
    """Who is suspected of what."""

    rule: Rule
    subject: str

    @property
    def key(self) -> str:
        """Where the score lies in Redis."""
        return f"sb:guard:{self.rule.name}:{self.subject}"


@dataclass(slots=True)
class Noted:
    """What there is against a subject: its weight, and of how many events."""

    weight: float = 0.0
    events: int = 0


def faded(score: float, seconds: float, half_life_seconds: float) -> float:
    """What is left of a score after some time."""
    return score * math.exp2(-max(0.0, seconds) / half_life_seconds)


class Suspicion:
    """Adds to scores and says what they are then."""

    def __init__(self, client: redis.Redis, clock: Callable[[], float] = time.monotonic) -> None:
        self._client = client
        self._script = client.register_script((Path(__file__).parent / "lua" / "suspect.lua").read_text("utf-8"))
        self._clock = clock
        self._local: OrderedDict[Subject, tuple[Noted, float]] = OrderedDict()  # what, when
        self._rests_until = float("-inf")

    def add(self, noted: Mapping[Subject, Noted]) -> dict[Subject, Noted]:
        """Add what was noted; returns all there is against each then, faded."""
        subjects = list(noted)
        found: dict[Subject, Noted] = {}
        for at in range(0, len(subjects), SUBJECTS_A_CALL):
            some = subjects[at : at + SUBJECTS_A_CALL]
            found.update(zip(some, self._add(some, noted), strict=True))
        return found

    def _add(self, subjects: Sequence[Subject], noted: Mapping[Subject, Noted]) -> list[Noted]:
        if self._clock() >= self._rests_until:
            try:
                return self._add_in_redis(subjects, noted)
            except redis.RedisError as error:
                self._rests_until = self._clock() + PAUSE_SECONDS
                log.warning("suspicion is counted per process", **{"event.action": "guard"}, error=type(error))
        return [self._add_here(subject, noted[subject]) for subject in subjects]

    def _add_in_redis(self, subjects: Sequence[Subject], noted: Mapping[Subject, Noted]) -> list[Noted]:
        groups = apart(self._client, [subject.key for subject in subjects])
        calls = []
        for group in groups:
            arguments: list[float] = [NOTHING]
            for subject in (subjects[at] for at in group):
                arguments += (noted[subject].weight, noted[subject].events, subject.rule.half_life_seconds)
            calls.append(([subjects[at].key for at in group], arguments))
        found = {}
        for group, answer in zip(groups, call_each(self._client, self._script, calls), strict=True):
            for at, score, events in zip(group, answer[::2], answer[1::2], strict=True):
                found[at] = Noted(float(score), int(events))
        return [found[at] for at in range(len(subjects))]

    def _add_here(self, subject: Subject, noted: Noted) -> Noted:
        now = self._clock()
        held, then = self._local.pop(subject, (Noted(), now))
        score = faded(held.weight, now - then, subject.rule.half_life_seconds) + noted.weight
        found = Noted(score, held.events + noted.events)
        self._local[subject] = found, now
        while len(self._local) > REMEMBERED_MOST:
            self._local.popitem(last=False)
        return found
