"""Opens Redis: every command has a short deadline and is sent once."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final, cast

import redis
from redis.backoff import NoBackoff
from redis.commands.core import Script
from redis.crc import key_slot
from redis.retry import Retry

from models import redis_url
from models.storage.redis_cluster import Call, Cluster
from models.storage.redis_sentinel import MasterPool, open_master

#: Redis is derived data: an answer after this is worth less than saying "not now" (I8).
COMMAND_TIMEOUT_SECONDS: Final = 1.0
CONNECT_TIMEOUT_SECONDS: Final = 0.5
POOL_CONNECTIONS: Final = 64


def open_redis(
    url: str,
    *,
    command_timeout_seconds: float = COMMAND_TIMEOUT_SECONDS,
    connect_timeout_seconds: float = CONNECT_TIMEOUT_SECONDS,
) -> redis.Redis:
    """A client that answers or raises `redis.RedisError` within its time-outs; no command is retried.

    One retry without back-off is left for a connection the server closed while it was idle in the pool, or because it
    is master no more; the commands we send are safe to repeat (guarded by version, or reads).

    Connections are made when first used, whatever the URL names (`redis_url.py`).
    """
    timeouts: dict[str, Any] = {
        "socket_timeout": command_timeout_seconds,
        "socket_connect_timeout": connect_timeout_seconds,
        "max_connections": POOL_CONNECTIONS,
    }
    retry = Retry(NoBackoff(), 1, supported_errors=(redis.ConnectionError,))
    scheme = redis_url.scheme_of(url)
    if scheme in redis_url.CLUSTER:
        return cast(redis.Redis, Cluster(redis_url.read(url), retry, timeouts))  # it takes the same commands
    if scheme in redis_url.SENTINELS:
        return open_master(redis_url.read(url), retry, timeouts)
    if scheme == "unix":
        del timeouts["socket_connect_timeout"]
    return redis.Redis.from_url(url, retry=retry, **timeouts)


def may_move(client: redis.Redis) -> bool:
    """Whether another server may take the place of the one that has a key now."""
    return _cluster(client) is not None or isinstance(client.connection_pool, MasterPool)


def node_of(client: redis.Redis, key: str) -> redis.Redis:
    """The client of the one server that has a key, for what is to be said to that server alone.

    Raises:
        redis.RedisError: nobody knows now which one has it.
    """
    cluster = _cluster(client)
    return client if cluster is None else cluster.node_of(key)


def apart(client: redis.Redis, keys: Sequence[str]) -> list[list[int]]:
    """Which of the keys, by their index, may go into one call: on one server all, in a cluster those of a slot."""
    if _cluster(client) is None:
        return [list(range(len(keys)))]
    slots: dict[int, list[int]] = {}
    for index, key in enumerate(keys):
        slots.setdefault(key_slot(key.encode()), []).append(index)
    return list(slots.values())


def call_each(client: redis.Redis, script: Script, calls: Sequence[Call]) -> list[Any]:
    """The answers of a script to several calls, in one round trip a server.

    Raises:
        redis.RedisError: some may have been carried out.
    """
    cluster = _cluster(client)
    if cluster is not None:
        return cluster.call_each(script, calls)
    return [script(keys=keys, args=arguments) for keys, arguments in calls]


def _cluster(client: object) -> Cluster | None:
    return client if isinstance(client, Cluster) else None
