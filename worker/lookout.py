"""Looks at the inbox by itself where nobody sends for a worker: its queue's workers are gone, or the broker is (I7).

A queue out of which no task was taken for some seconds, beat's heartbeats included, is one that wake-ups do not come
through, whatever the reason: no worker, no broker, one that takes no messages, no beat.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from typing import Any, Final

import psycopg
import redis
import structlog
from sqlalchemy.exc import SQLAlchemyError

from models import names
from worker.presence import is_taken

LOOK_SECONDS: Final = 1.0
#: For so long one process stands in for a shard; the others leave it to that one.
STAND_IN_SECONDS: Final = 1.0

log = structlog.get_logger(__name__)


class Lookout:
    """A thread of a worker process."""

    def __init__(
        self,
        client: redis.Redis,
        shards: int,
        waiting: Callable[[], Sequence[int]],
        drain: Callable[[int, float], Any],
    ) -> None:
        """`waiting` gives the shards in which rows lie; `drain` gets one of them, and the seconds it may take."""
        self._client = client
        self._shards = shards
        self._waiting = waiting
        self._drain = drain
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._go_on, name="lookout", daemon=True)

    def start(self) -> None:
        """Look once a second from now on."""
        self._thread.start()

    def stop(self) -> None:
        """Look no more; what is being drained is finished."""
        self._stopping.set()
        self._thread.join()

    def look(self) -> list[int]:
        """Stand in where it is needed; the shards for which this process did.

        Raises:
            redis.RedisError: nobody knows who takes what. If that is all that is away, the sweep still comes.
            psycopg.Error, SQLAlchemyError: Postgres is away; nothing is lost.
        """
        left = {queue for queue in names.apply_queues(self._shards) if not is_taken(self._client, queue)}
        if not left:
            return []
        ours = [s for s in self._waiting() if names.apply_queue(s, self._shards) in left and self._claim(s)]
        for shard in ours:
            self._drain(shard, STAND_IN_SECONDS / len(ours))
        return ours

    def _claim(self, shard: int) -> bool:
        return bool(self._client.set(names.stand_in_key(shard), b"1", nx=True, px=int(1000 * STAND_IN_SECONDS)))

    def _go_on(self) -> None:
        while not self._stopping.wait(LOOK_SECONDS):
            try:
                self.look()
            except (redis.RedisError, psycopg.Error, SQLAlchemyError) as error:
                log.warning("the inbox cannot be looked at", **{"event.action": "stand-in"}, error=error)
