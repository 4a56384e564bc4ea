"""What the players did and what each was told: the ledger the checker holds against the service."""

from __future__ import annotations

import threading
import time
from collections import Counter
from dataclasses import dataclass, field
from itertools import pairwise
from typing import Any, Final

#: Nobody waits longer than this for an answer (I8).
ANSWER_SECONDS_MOST: Final = 10.0

ACCEPTED: Final = "accepted"
REFUSED: Final = "refused"
MAYBE: Final = "maybe"

#: Refusals after which nothing can have been written; `queue_unavailable` says that it is not known.
_IN_DOUBT: Final = "queue_unavailable"


@dataclass(frozen=True, slots=True)
class Answer:
    """One call: when it was sent (seconds of the run), how long it took, and what came. Status 0: no answer."""

    sent_at: float
    seconds: float
    status: int
    code: str = ""
    replayed: bool = False
    retry_after: bool = False
    results: tuple[dict[str, Any], ...] = ()


@dataclass(slots=True)
class Action:
    """An update with all the answers it got; `worth` is what it adds to the score when it is applied."""

    user_id: str
    action_id: str
    value: int
    worth: int
    forged: bool = False
    answers: list[Answer] = field(default_factory=list)

    @property
    def verdict(self) -> str:
        """Accepted, refused, or maybe: nobody was told for certain."""
        if any(answer.status in (200, 202) for answer in self.answers):
            return ACCEPTED
        if any(answer.status == 0 or answer.code == _IN_DOUBT for answer in self.answers):
            return MAYBE
        return REFUSED


class Ledger:
    """All actions of a run, and what went against the rules of answering. Safe for many threads."""

    def __init__(self) -> None:
        self.began = time.monotonic()
        self.actions: list[Action] = []
        self.calls: list[Answer] = []  # of updates
        self.others: list[Answer] = []  # of reads, and of what must be refused whatever happens
        self.wrong: list[str] = []
        self.resent = 0
        self._lock = threading.Lock()

    def now(self) -> float:
        """Seconds of the run."""
        return time.monotonic() - self.began

    def opened(self, action: Action) -> None:
        """A new action is about to be sent."""
        with self._lock:
            self.actions.append(action)

    def answered(self, answer: Answer, *, to: Action | None, expected: frozenset[int], what: str) -> None:
        """Write an answer down; one that breaks the rules is remembered as wrong."""
        with self._lock:
            if to is None:
                self.others.append(answer)
            else:
                self.calls.append(answer)
                to.answers.append(answer)
        if answer.seconds > ANSWER_SECONDS_MOST:
            self.complain(f"{what}: {answer.status or 'no answer'} after {answer.seconds:.1f} s")
        if answer.status == 503 and not answer.retry_after:
            self.complain(f"{what}: 503 {answer.code} without Retry-After")
        elif answer.status not in expected and answer.status not in (0, 429, 503):
            self.complain(f"{what}: {answer.status} {answer.code}, expected {sorted(expected)}")

    def sent_again(self) -> None:
        """A client sent a request once more on a new connection."""
        with self._lock:
            self.resent += 1

    def complain(self, sentence: str) -> None:
        """Something is not as it must be."""
        with self._lock:
            self.wrong.append(sentence)

    def accepted_between(self, start: float, end: float) -> int:
        """How many calls were answered 2xx in a stretch of the run."""
        return sum(1 for at in self.accepted_at() if start <= at < end)

    def accepted_at(self) -> list[float]:
        """When each accepting answer came, in seconds of the run."""
        return sorted(call.sent_at + call.seconds for call in list(self.calls) if call.status in (200, 202))

    def longest_stall(self) -> float:
        """The longest time between two accepted updates, in seconds; 0 where none was accepted."""
        moments = [0.0, *self.accepted_at()]
        return max((later - earlier for earlier, later in pairwise(moments)), default=0.0)

    def verdicts(self) -> Counter[str]:
        """How many actions ended how."""
        return Counter(action.verdict for action in self.actions)
