"""Connections to whoever is master, as Sentinels say it; none to a master of the past is used for long.

redis-py asks the Sentinels when it connects, one after the other, and believes the first. What it leaves to its user: a
Sentinel that has not heard of a failover yet still names the old master, and a connection that is open stays open,
while its master is frozen, cut off or a replica by now. So all Sentinels are asked, the latest failover counts, and a
thread looks twice a second and cuts what does not lead to the master.
"""

from __future__ import annotations

import socket
import threading
import time
import weakref
from collections.abc import Sequence
from contextlib import suppress
from typing import Any, Final, cast

import redis
import structlog
from redis.backoff import NoBackoff
from redis.retry import Retry
from redis.sentinel import MasterNotFoundError, SentinelConnectionPool

from models.redis_url import Address, SeveralServers

#: How often it is looked who is master.
LOOK_SECONDS: Final = 0.5
#: What was answered so long ago need not be asked again: many connect at once after a failover.
FRESH_SECONDS: Final = 0.1
#: Of a Sentinel; the others know as much.
SENTINEL_TIMEOUT_SECONDS: Final = 0.3
#: A Sentinel that did not answer is left alone for so long while others do.
PAUSE_SECONDS: Final = 5.0

log = structlog.get_logger(__name__)


class MasterDown(MasterNotFoundError):
    """The Sentinels agree that the master is down."""


class Sentinels:
    """Says who is master of what. All threads of a process may ask."""

    def __init__(self, addresses: Sequence[Address], options: dict[str, Any]) -> None:
        retry = Retry(NoBackoff(), 1, supported_errors=(redis.ConnectionError,))
        timeouts = {"socket_timeout": SENTINEL_TIMEOUT_SECONDS, "socket_connect_timeout": SENTINEL_TIMEOUT_SECONDS}
        options = {**options, **timeouts, "retry": retry}
        self._clients = [redis.Redis(host, port, **options) for host, port in addresses]
        self._rests_until = dict.fromkeys(self._clients, float("-inf"))
        self._lock = threading.Lock()
        self._known: Address | None = None
        self._is_down = False
        self._asked_at = float("-inf")

    def discover_master(self, name: str) -> Address:
        """Where the master is; while no Sentinel answers, where it was last.

        Raises:
            MasterDown: the Sentinels agree that it is down, and have put none in its place yet.
            MasterNotFoundError: none is known. Both are `redis.ConnectionError`.
        """
        with self._lock:
            if time.monotonic() - self._asked_at > FRESH_SECONDS:
                self._known, self._is_down = self._ask(name)
                self._asked_at = time.monotonic()
            if self._is_down:
                raise MasterDown(f"the master {name!r} is down")
            if self._known is None:
                raise MasterNotFoundError(f"no Sentinel knows a master {name!r}")
            return self._known

    def close(self) -> None:
        """Close the connections to the Sentinels."""
        for client in self._clients:
            client.close()

    def _ask(self, name: str) -> tuple[Address | None, bool]:
        """Where the master is, and whether it is down."""
        now = time.monotonic()
        told = self._told(name, [client for client in self._clients if self._rests_until[client] <= now])
        told = told or self._told(name, self._clients)
        if not told:
            return self._known, self._is_down
        failovers = max(state["config-epoch"] for state in told)
        latest = [state for state in told if state["config-epoch"] == failovers]
        return (str(latest[0]["ip"]), int(latest[0]["port"])), any(state["is_odown"] for state in latest)

    def _told(self, name: str, clients: Sequence[redis.Redis]) -> list[dict[str, Any]]:
        told = []
        for client in clients:
            try:
                state = client.sentinel_master(name)
            except redis.ResponseError as error:
                log.warning("a Sentinel does not know the master", **{"event.action": "failover"}, error=str(error))
            except (redis.RedisError, OSError):
                self._rests_until[client] = time.monotonic() + PAUSE_SECONDS
            else:
                told.append(cast(dict[str, Any], state))
        return told


class MasterPool(SentinelConnectionPool):
    """redis-py's pool of connections to the master, watched for as long as it is in use."""

    def __init__(self, name: str, sentinels: Sentinels, **options: Any) -> None:
        super().__init__(name, sentinels, **options)
        self.closed = threading.Event()

    def reset(self) -> None:
        """Forget every connection: at the start, and in a process that was forked from one that had some."""
        super().reset()
        self.made: weakref.WeakSet[Any] = weakref.WeakSet()
        self._watch: threading.Thread | None = None

    def make_connection(self) -> Any:
        """See redis-py."""
        connection = super().make_connection()
        with self._lock:
            self.made.add(connection)
            if self._watch is None:
                self._watch = threading.Thread(target=_watch, args=(weakref.ref(self), self.closed), daemon=True)
                self._watch.start()
        return connection

    def close(self) -> None:
        """Close everything; it may be used again."""
        super().close()
        self.closed.set()
        self.closed = threading.Event()
        with self._lock:
            self._watch = None
        self.sentinel_manager.close()

    def look(self) -> None:
        """Cut the connections that do not lead to the master; who waits for an answer on one hears of it at once."""
        master: Address | None = None
        with suppress(MasterDown):  # who is down is not waited for
            master = self.sentinel_manager.discover_master(self.service_name)
        with self._lock:
            made = list(self.made)
        for connection in made:
            line = connection._sock  # noqa: SLF001 - closing it here would pull it from under the thread that reads it
            if line is not None and (connection.host, connection.port) != master:
                log.info(
                    "a connection was cut",
                    **{"event.action": "failover"},
                    server=f"{connection.host}:{connection.port}",
                )
                with suppress(OSError):
                    line.shutdown(socket.SHUT_RDWR)


def open_master(servers: SeveralServers, retry: Retry, options: dict[str, Any]) -> redis.Redis:
    """A client of the master."""
    tls = {"ssl": True} if servers.tls else {}
    sentinels = Sentinels(servers.addresses, {**servers.sentinel_options, **tls})
    pool = MasterPool(str(servers.master), sentinels, retry=retry, **{**servers.options, **options}, **tls)
    return redis.Redis.from_pool(pool)


def _watch(found: weakref.ref[MasterPool], closed: threading.Event) -> None:
    while not closed.wait(LOOK_SECONDS):
        pool = found()
        if pool is None:
            return
        try:
            pool.look()
        except Exception as error:  # noqa: BLE001 - whatever it is, there must be another look
            level = log.debug if isinstance(error, redis.RedisError) else log.error
            level("nobody says who is master", **{"event.action": "failover"}, error=str(error))
        del pool  # or it would live for as long as its watch
