"""Which of several beats acts: whoever holds a lease in Redis; the others are in reserve.

A tick that comes twice is harmless (I7), so nothing has to be fenced, and a Redis that is away is no reason to stop:
then every beat acts. A session lock in PostgreSQL would need a connection that beat has no other use for, and that a
pooler in transaction mode does not keep.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any, Final
from uuid import uuid4

import redis
import structlog

from models import names

#: How long nobody acts after the one who did was killed. `/readyz` misses a worker only after 10 s without a tick.
LEASE_MS: Final = 3_000
#: How often the holder says that it is there; two of them in a row may fail.
RENEW_SECONDS: Final = 1.0
#: Who cannot send leaves it to another one for so long, and then tries again if there is none.
STEP_BACK_SECONDS: Final = 2.0

#: Take the lease if it is free, renew it if it is ours; 1 when it is ours then.
_HOLD: Final = """
if redis.call('GET', KEYS[1]) == ARGV[1] then
    return redis.call('PEXPIRE', KEYS[1], ARGV[2])
end
return redis.call('SET', KEYS[1], ARGV[1], 'NX', 'PX', ARGV[2]) and 1 or 0
"""
_RELEASE: Final = "return redis.call('GET', KEYS[1]) == ARGV[1] and redis.call('DEL', KEYS[1]) or 0"

log = structlog.get_logger(__name__)


class Lease:
    """This beat's part in it; `client` must answer or fail within a time that ticks can wait."""

    def __init__(self, client: redis.Redis, clock: Callable[[], float] = time.monotonic) -> None:
        self._client = client
        self._clock = clock
        self._me = uuid4().hex
        self._asked_at = float("-inf")
        self._not_before = float("-inf")
        self._acts: bool | None = None

    def held(self) -> bool:
        """Whether this beat is to act now; asks Redis once a second at most."""
        now = self._clock()
        if now < self._not_before:
            return False
        if self._acts is None or now - self._asked_at >= RENEW_SECONDS:
            self._asked_at = now
            try:
                acts, why = bool(self._run(_HOLD, LEASE_MS)), "lease"
            except redis.RedisError as error:
                acts, why = True, type(error).__name__
            if acts != self._acts:
                log.info("beat acts" if acts else "beat is in reserve", **{"event.action": "tick"}, reason=why)
            self._acts = acts
        return self._acts

    def step_back(self) -> None:
        """Leave it to another beat: this one cannot send."""
        self.release()
        self._not_before = self._clock() + STEP_BACK_SECONDS

    def release(self) -> None:
        """Let go of the lease, so that another beat acts at once; without Redis it ends by itself."""
        self._acts = None
        try:
            self._run(_RELEASE)
        except redis.RedisError as error:
            log.info("the lease ends by itself", **{"event.action": "tick"}, error=type(error).__name__)

    def _run(self, script: str, *arguments: int) -> int:
        answer: Any = self._client.eval(script, 1, names.BEAT_KEY, self._me, *arguments)
        return int(answer)
