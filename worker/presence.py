"""Says in Redis that this worker takes tasks from the apply queue; `/readyz` looks for it."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Final

import redis

from models import names

SAY_EVERY_SECONDS: Final = 1.0


class Presence:
    """With each task that is taken, but not more often than once a second, so that it costs nothing under load.

    Beat's ticks alone would not do: behind a crowd of wake-ups they come late, and the API would be called not ready
    while updates are applied.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._said_at = float("-inf")

    def say(self, client: redis.Redis) -> None:
        """Say so, unless this process has tried to within the last second.

        Raises:
            redis.RedisError: Redis did not take it.
        """
        now = self._clock()
        if now - self._said_at >= SAY_EVERY_SECONDS:
            self._said_at = now
            client.set(names.WORKER_SEEN_KEY, b"1", ex=names.WORKER_SEEN_SECONDS)
