"""What is looked at for all who ask: once within its time, whoever and however many they are."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from typing import Final, Generic, TypeVar

from models.errors import NotReady

T = TypeVar("T")

#: While somebody looks, others are told what was seen before, if that is no older than so many times its time.
_OLD_TIMES: Final = 5
#: Who has nothing newer waits so long for that look.
_PATIENCE_SECONDS: Final = 3.0


class Remembered(Generic[T]):
    """The last look of this process."""

    def __init__(self, look: Callable[[], T], seconds: float) -> None:
        self._look = look
        self._seconds = seconds
        self._looking = threading.Lock()
        self._seen: tuple[float, T] | None = None

    def get(self) -> T:
        """What was seen within the last seconds, or is seen now.

        Raises:
            NotReady: somebody has been looking for long, and there is nothing to tell meanwhile.
        """
        seen = self._seen
        age = time.monotonic() - seen[0] if seen else float("inf")
        if seen is not None and age <= self._seconds:
            return seen[1]
        if not self._looking.acquire(blocking=False):
            if seen is not None and age <= _OLD_TIMES * self._seconds:
                return seen[1]
            if not self._looking.acquire(timeout=_PATIENCE_SECONDS):
                raise NotReady("How things stand cannot be seen now; ask again.", retry_after_seconds=1)
        try:
            if self._seen is seen:  # nobody looked while we waited
                self._seen = time.monotonic(), self._look()
            return self._seen[1]  # type: ignore[index]  # somebody has looked
        finally:
            self._looking.release()
