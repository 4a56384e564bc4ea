"""Stands in where nobody sends for a worker: a queue's own workers are gone, or the broker is (I7).

A queue out of which no task was taken for some seconds, beat's heartbeats included, is one that wake-ups do not come
through, whatever the reason: no worker, no broker, one that takes no messages, no beat. Who finds a row waiting in one
of its shards stays with that shard from then on, and hears of what comes without any broker, until the queue is taken
again.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from typing import Final
from uuid import uuid4

import psycopg
import redis
import structlog
from sqlalchemy.exc import SQLAlchemyError

from models import names
from worker.presence import is_taken

LOOK_SECONDS: Final = 1.0
#: Between two rounds with a shard, each of which lasts for as long as anything comes.
REST_SECONDS: Final = 0.05
#: After so long without a round, somebody else may have the shard: longer than a round.
CLAIM_MS: Final = 5_000

_AWAY: Final = (redis.RedisError, psycopg.Error, SQLAlchemyError)

log = structlog.get_logger(__name__)


class Lookout:
    """A thread of a worker process; it stands in for one shard at a time."""

    def __init__(
        self,
        client: redis.Redis,
        shards: int,
        waiting: Callable[[], Sequence[int]],
        attend: Callable[[int], object],
    ) -> None:
        """`waiting` gives the shards in which rows lie; `attend` drains one, and stays a while for what comes."""
        self._client = client
        self._shards = shards
        self._waiting = waiting
        self._attend = attend
        self._me = uuid4().hex.encode()
        self._shard: int | None = None
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._go_on, name="lookout", daemon=True)

    def start(self) -> None:
        """Look once a second from now on."""
        self._thread.start()

    def stop(self) -> None:
        """Look no more; what is being drained is finished."""
        self._stopping.set()
        self._thread.join()

    def look(self) -> int | None:
        """Stand in where it is needed; the shard for which this process does.

        Raises:
            redis.RedisError: nobody knows who takes what. If that is all that is away, the sweep still comes.
            psycopg.Error, SQLAlchemyError: Postgres is away; nothing is lost.
        """
        before, self._shard = self._shard, None
        left = {queue for queue in names.apply_queues(self._shards) if not is_taken(self._client, queue)}
        if left:  # those in which something lies first: there may be more of them than processes
            shards = self._waiting() if before is None else (*self._waiting(), before)
            ours = (each for each in shards if names.apply_queue(each, self._shards) in left and self._claim(each))
            self._shard = next(ours, None)
        if before is not None and before != self._shard:
            self._client.delete(names.stand_in_key(before))
        if self._shard is not None:
            if self._shard != before:
                log.info("standing in for a queue that nobody takes", **{"event.action": "stand-in"}, shard=self._shard)
            self._attend(self._shard)
        return self._shard

    def _claim(self, shard: int) -> bool:
        """Whether the shard is this process' for now: one is enough. Should two have it, that changes nothing (I3)."""
        key = names.stand_in_key(shard)
        if self._client.set(key, self._me, nx=True, px=CLAIM_MS):
            return True
        return self._client.get(key) == self._me and bool(self._client.pexpire(key, CLAIM_MS))

    def _go_on(self) -> None:
        while not self._stopping.wait(LOOK_SECONDS if self._shard is None else REST_SECONDS):
            try:
                self.look()
            except Exception as error:  # noqa: BLE001 - whatever it is, there must be another look
                level = log.warning if isinstance(error, _AWAY) else log.error
                level("the inbox cannot be looked at", **{"event.action": "stand-in"}, error=error)
