"""Lines on an event loop to all masters of a Redis Cluster, each for the keys that are there.

Who has what is asked once a second. A key that is somewhere else by now has no line for that long: who asks is told
that there is no answer, and goes the ordinary way, which follows it.
"""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from itertools import count
from typing import Final, Protocol, cast
from urllib.parse import quote, urlencode

import redis
import structlog
from redis.crc import key_slot

from models import redis_url
from models.observers import nobody
from models.redis_url import SeveralServers
from models.storage.loop_redis import NO_ANSWER, LoopRedis, Told
from models.storage.redis import open_redis
from models.storage.redis_cluster import Cluster, Range

LEARN_SECONDS: Final = 1.0
#: Keys of which it is remembered where they are.
KEYS_MOST: Final = 10_000

log = structlog.get_logger(__name__)


class Line(Protocol):
    """LoopRedis, or as many as there are masters."""

    on_changed: Callable[[Iterable[bytes] | None], object]

    def start(self) -> None: ...
    def close(self) -> None: ...
    def ask(self, *command: bytes | str | int, told: Told) -> None: ...
    def is_current(self, key: bytes | str) -> bool: ...


def open_line(loop: asyncio.AbstractEventLoop, url: str, prefix: str) -> Line:
    """A line to whatever REDIS_URL names, which watches the keys that begin with `prefix`."""
    kind = LoopCluster if redis_url.scheme_of(url) in redis_url.CLUSTER else LoopRedis
    return kind(loop, url, prefix)


@dataclass(frozen=True, slots=True)
class Master:
    """A line, and a slot of its node: it refuses to look there once it has it no more, or is cut off."""

    line: LoopRedis
    slot: int


class LoopCluster:
    """Every method on the loop's thread."""

    def __init__(self, loop: asyncio.AbstractEventLoop, url: str, prefix: str) -> None:
        """Watches the keys that begin with `prefix`."""
        self._loop = loop
        self._servers = redis_url.read(url)
        self._prefix = prefix
        self._client = cast(Cluster, open_redis(url))
        self._ranges: tuple[Range, ...] = ()
        self._masters: dict[redis_url.Address, Master] = {}
        self._lines: dict[bytes | str, LoopRedis | None] = {}
        self._closed = threading.Event()
        #: Hears the names of keys that changed; None when it may have been any.
        self.on_changed: Callable[[Iterable[bytes] | None], object] = nobody

    def start(self) -> None:
        """Find the masters, connect, and stay connected."""
        threading.Thread(target=self._learn, name="loop-cluster", daemon=True).start()

    def close(self) -> None:
        """End it; what is due is told that there is no answer."""
        self._closed.set()
        for master in self._masters.values():
            master.line.close()

    def ask(self, *command: bytes | str | int, told: Told) -> None:
        """Call a script; see LoopRedis. Its first key says where."""
        line = self._line(cast(str, command[3]))
        if line is None:
            told(NO_ANSWER)
        else:
            line.ask(*command, told=told)

    def is_current(self, key: bytes | str) -> bool:
        """Whether all is known that was told until now of changes where a key is."""
        line = self._line(key)
        return line is not None and line.is_current()

    def _line(self, key: bytes | str) -> LoopRedis | None:
        try:
            return self._lines[key]
        except KeyError:
            if len(self._lines) >= KEYS_MOST:
                self._lines.clear()
            slot = key_slot(key.encode() if isinstance(key, str) else key)
            at = next((at.address for at in self._ranges if at.first <= slot <= at.last), None)
            found = self._masters.get(at) if at is not None else None
            line = self._lines[key] = None if found is None else found.line
            return line

    def _learn(self) -> None:
        """In a thread: ask who has what, again and again."""
        known: tuple[Range, ...] = ()
        while not self._closed.is_set() and not self._loop.is_closed():
            try:
                ranges = self._client.ranges()
                if ranges != known:
                    known = ranges
                    self._loop.call_soon_threadsafe(self._use, ranges)
            except Exception as error:  # noqa: BLE001 - whatever it is, there must be another try
                level = log.debug if isinstance(error, (redis.RedisError, OSError)) else log.error
                level("nobody says which node has what", **{"event.action": "watch"}, error=str(error))
            self._closed.wait(LEARN_SECONDS)
        self._client.close()

    def _use(self, ranges: tuple[Range, ...]) -> None:
        """On the loop: keep the lines to nodes that have what they had, and open what is missing."""
        if self._closed.is_set():
            return
        before, self._masters, self._ranges = self._masters, {}, ranges
        for at in ranges:
            found = before.get(at.address)
            if found is not None and any(
                each.address == at.address and each.first <= found.slot <= each.last for each in ranges
            ):
                self._masters[at.address] = before.pop(at.address)
            elif at.address not in self._masters:
                self._masters[at.address] = self._open(at)
        self._lines.clear()
        for master in before.values():
            master.line.close()
        self.on_changed(None)

    def _heard(self, names: Iterable[bytes] | None) -> None:
        self.on_changed(names)

    def _open(self, at: Range) -> Master:
        beat = ("EXISTS", _key_in(at.first, self._prefix))
        line = LoopRedis(self._loop, _url(self._servers, at.address), self._prefix, beat)
        line.on_changed = self._heard
        line.start()
        return Master(line, at.first)


def _key_in(slot: int, prefix: str) -> str:
    """A key of a slot that nobody uses (about 16,000 tries, once a node)."""
    return next(key for key in (f"{prefix}beat:{n}}}" for n in count()) if key_slot(key.encode()) == slot)


def _url(servers: SeveralServers, address: redis_url.Address) -> str:
    options = {name: str(value) for name, value in servers.options.items() if name not in ("username", "password")}
    user, password = (quote(str(servers.options.get(name, "")), safe="") for name in ("username", "password"))
    host = f"[{address[0]}]" if ":" in address[0] else address[0]
    scheme = "rediss" if servers.tls else "redis"
    return f"{scheme}://{user}:{password}@{host}:{address[1]}/0?{urlencode(options)}"
