"""Lets concurrent requests of an event loop share one statement and commit, as `group_commit.py` does for threads.

What arrives while a group is written goes with the next one. Nobody is woken and nothing changes hands: who waits is
an entry in a queue, and the answer a call.
"""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable, Sequence
from typing import Any, Final, Generic, NamedTuple, Protocol, TypeVar

import structlog

from models.errors import Overloaded, QueueUnavailable, ScoreboardError
from models.pipeline.group_commit import GROUP_MOST, MARGIN_SECONDS, WAITING_MOST

#: How often those are looked for whose time ends before their write could begin.
LOOK_SECONDS: Final = 0.25

Item = TypeVar("Item")
Verdict = TypeVar("Verdict")

log = structlog.get_logger(__name__)


class Timer(Protocol):
    """A call that is due."""

    def cancel(self) -> None:
        """Call it no more."""


class Turns(Protocol):
    """An event loop, as far as it is needed here."""

    def call_later(self, seconds: float, call: Callable[[], object], /) -> Timer:
        """Call it from the loop."""

    def spawn(self, work: Callable[[], None], /) -> None:
        """Run what may wait, and go on meanwhile."""


class _Waiting(NamedTuple):
    """An item, when its sender must have an answer (monotonic clock), and who is told."""

    item: Any
    answer_by: float
    done: Callable[[Any], None]


class LoopGroups(Generic[Item, Verdict]):
    """Gathers items into writes, one write at a time; all on the loop's thread."""

    def __init__(self, turns: Turns, write: Callable[[list[Item], float], list[Verdict]]) -> None:
        """`write` gets a group's items and the time by which it must have returned, and gives a verdict for each
        after its commit; it may wait.
        """
        self._turns = turns
        self._write = write
        self._waiting: deque[_Waiting] = deque()
        self._writing = False
        self._looking: Timer | None = None

    def submit(self, item: Item, answer_by: float, done: Callable[[Verdict | ScoreboardError], None]) -> None:
        """Have the item written; `done` is told the verdict after the commit it went with, or why there is none.

        Raises:
            Overloaded: too many wait already; nothing was written, and `done` will not be called.
        """
        if len(self._waiting) >= WAITING_MOST:
            raise Overloaded(retry_after_seconds=1)
        self._waiting.append(_Waiting(item, answer_by, done))
        if not self._writing:
            self._writing = True
            self._turns.spawn(self._write_all)
        if self._waiting and self._looking is None:
            self._looking = self._turns.call_later(LOOK_SECONDS, self._refuse_late)

    def _write_all(self) -> None:
        try:
            while group := self._take():
                self._write_group(group)
        finally:
            self._writing = False

    def _write_group(self, group: list[_Waiting]) -> None:
        verdicts: Sequence[Verdict | ScoreboardError]
        try:
            verdicts = self._write([waiting.item for waiting in group], min(waiting.answer_by for waiting in group))
        except ScoreboardError as error:
            verdicts = [error] * len(group)
        except Exception:
            log.exception("a group cannot be written", **{"event.action": "accept"})
            verdicts = [QueueUnavailable(retry_after_seconds=1)] * len(group)
        for waiting, verdict in zip(group, verdicts, strict=True):
            try:
                waiting.done(verdict)
            except Exception:  # the others' answers do not depend on this one's
                log.exception("an answer cannot be given", **{"event.action": "accept"})

    def _take(self) -> list[_Waiting]:
        self._refuse_late()
        waiting = self._waiting
        return [waiting.popleft() for _ in range(min(len(waiting), GROUP_MOST))]

    def _refuse_late(self) -> None:
        """Let those go whose answer could come too late: their time is the same, so the oldest are in front."""
        if self._looking is not None:
            self._looking.cancel()
            self._looking = None
        soonest = time.monotonic() + MARGIN_SECONDS
        while self._waiting and self._waiting[0].answer_by <= soonest:
            late = QueueUnavailable("The write did not end in time; send the same action again.", retry_after_seconds=1)
            self._waiting.popleft().done(late)
        if self._waiting and self._looking is None:
            self._looking = self._turns.call_later(LOOK_SECONDS, self._refuse_late)
