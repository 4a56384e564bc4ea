"""When whoever asked must have an answer: known to every wait on the way, so that waits do not add up (I8)."""

from __future__ import annotations

import math
import time
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Final

#: From a request's arrival to its answer, whatever is frozen: one second below what is promised.
REQUEST_SECONDS: Final = 9.0

#: Where a server says in a WSGI environment when the clock was started: the answer's time, by the monotonic clock.
ENVIRON: Final = "scoreboard.answer_by"

_answer_by: ContextVar[float] = ContextVar("answer_by", default=math.inf)


def answer_by() -> float:
    """The current deadline by the monotonic clock; infinity where nobody waits."""
    return _answer_by.get()


def remaining() -> float:
    """Seconds left until the deadline, never less than zero."""
    return max(0.0, _answer_by.get() - time.monotonic())


def begin(seconds: float, *, answer_by: float | None = None) -> None:
    """Start the clock of the request that this thread serves now; `answer_by` if it was started before."""
    _answer_by.set(time.monotonic() + seconds if answer_by is None else answer_by)


def end() -> None:
    """The request is answered; what this thread does besides has no deadline."""
    _answer_by.set(math.inf)


@contextmanager
def within(seconds: float) -> Iterator[None]:
    """Give a piece of work its own time, whatever is left of the request's."""
    token = _answer_by.set(time.monotonic() + seconds)
    try:
        yield
    finally:
        _answer_by.reset(token)
