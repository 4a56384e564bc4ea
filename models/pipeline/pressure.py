"""Backpressure: how deep and how old the inbox is, looked at once a second; too much refuses new updates (I8)."""

from __future__ import annotations

import _thread
import threading
import time
from typing import Final

import structlog
from sqlalchemy import Engine
from sqlalchemy.exc import SQLAlchemyError

from models import deadlines
from models.errors import Overloaded
from models.pipeline import inbox
from models.pipeline.inbox import InboxState
from models.storage.database import ANSWER_SECONDS

LOOK_SECONDS: Final = 1.0
#: A batch is held back for this share of the time that the oldest row has waited: that leaves the processors to whoever
#: applies, in place of a backlog that only grows, and settles where as much is accepted as is applied. No longer than
#: this: without a worker a batch is accepted all the same.
HOLD_SHARE: Final = 0.25
HOLD_SECONDS_MOST: Final = 1.0
HOLD_LOOK_SECONDS: Final = 0.1

log = structlog.get_logger(__name__)


class Pressure:
    """The inbox's depth and age, from memory."""

    def __init__(self, engine: Engine, *, depth_limit: int, age_limit_seconds: float) -> None:
        self._engine = engine
        self._depth_limit = depth_limit
        self._age_limit_seconds = age_limit_seconds
        self._state = InboxState(0, 0.0)
        self._looked_at = float("-inf")
        self._looking = threading.Lock()

    def refuse_if_high(self) -> None:
        """Let an update pass while the inbox is shallow and young enough.

        Raises:
            Overloaded: it is not; ask again when it has drained a little.
        """
        state = self.state()
        if state.depth >= self._depth_limit or state.oldest_age_seconds >= self._age_limit_seconds:
            raise Overloaded(retry_after_seconds=2)

    def hold_back(self) -> None:
        """Wait a moment if what was accepted before waits for its turn."""
        waited = self.state(HOLD_LOOK_SECONDS).oldest_age_seconds
        time.sleep(min(HOLD_SHARE * waited, HOLD_SECONDS_MOST, deadlines.remaining() / 2))

    def state(self, age_seconds_most: float = LOOK_SECONDS) -> InboxState:
        """The inbox as it was about so long ago; asking has it looked at again, and waits for nothing (I8)."""
        now = time.monotonic()
        if now - self._looked_at > age_seconds_most and self._looking.acquire(blocking=False):
            self._looked_at = now
            _thread.start_new_thread(self._look, ())  # a Thread's start waits for it, which an event loop may not
        return self._state

    def close(self) -> None:
        """See a look that is under way through to its end, and look no more; repeatable."""
        self._looked_at = float("inf")
        if self._looking.acquire(timeout=ANSWER_SECONDS):
            self._looking.release()

    def _look(self) -> None:
        try:
            with self._engine.connect() as connection:
                self._state = inbox.state(connection)
        except SQLAlchemyError as error:
            # The write itself will tell the caller; a depth that is not known refuses nobody.
            log.warning("the inbox cannot be looked at", **{"event.action": "pressure"}, error=error)
        finally:
            self._looking.release()
