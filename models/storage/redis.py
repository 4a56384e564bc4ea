"""Opens Redis: every command has a short deadline and is sent once."""

from __future__ import annotations

from typing import Final

import redis
from redis.backoff import NoBackoff
from redis.retry import Retry

#: Redis is derived data: an answer after this is worth less than saying "not now" (I8).
COMMAND_TIMEOUT_SECONDS: Final = 1.0
CONNECT_TIMEOUT_SECONDS: Final = 0.5
POOL_CONNECTIONS: Final = 64


def open_redis(url: str, *, command_timeout_seconds: float = COMMAND_TIMEOUT_SECONDS) -> redis.Redis:
    """A client that answers or raises `redis.RedisError` within its time-outs; no command is retried.

    One retry without back-off is left for a connection the server closed while it was idle in the pool; the
    commands we send are safe to repeat (guarded by version, or reads).
    """
    return redis.Redis.from_url(
        url,
        socket_timeout=command_timeout_seconds,
        retry=Retry(NoBackoff(), 1),
        retry_on_error=[redis.ConnectionError],
        max_connections=POOL_CONNECTIONS,
        **({} if url.startswith("unix") else {"socket_connect_timeout": CONNECT_TIMEOUT_SECONDS}),
    )
