"""Says in Redis that this worker takes tasks from an apply queue; `/readyz` and the sweep look for it."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Final

import redis

from models import names

SAY_EVERY_SECONDS: Final = 1.0
#: Who takes a queue's tasks says so every two seconds at least; after twice that, others stand in for its shards.
MISSED_SECONDS: Final = 4.0


class Presence:
    """With each task that is taken, but not more often than once a second, so that it costs nothing under load.

    Beat's ticks alone would not do: behind a crowd of wake-ups they come late, and the API would be called not ready
    while updates are applied.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._said_at: dict[str, float] = {}

    def say(self, client: redis.Redis, queue: str) -> None:
        """Say so, unless this process has tried to within the last second.

        Raises:
            redis.RedisError: Redis did not take it.
        """
        now = self._clock()
        if now - self._said_at.get(queue, float("-inf")) >= SAY_EVERY_SECONDS:
            self._said_at[queue] = now
            client.set(names.seen_key(queue), b"1", ex=names.WORKER_SEEN_SECONDS)


def is_taken(client: redis.Redis, queue: str) -> bool:
    """Whether somebody took a task from a queue within MISSED_SECONDS.

    Raises:
        redis.RedisError: not known.
    """
    left_ms = int(client.pttl(names.seen_key(queue)))
    return left_ms > 1000 * (names.WORKER_SEEN_SECONDS - MISSED_SECONDS)
