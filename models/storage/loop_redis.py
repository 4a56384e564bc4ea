"""A Redis connection on an event loop that hears of every change to the keys it watches, in order with its answers.

Redis tells it which keys changed on the same connection as its answers (RESP3 pushes of client tracking in broadcasting
mode; "Client-side caching" in Valkey's and Redis' manuals). So what was read is known to hold until the word that it
changed, and what lies in the socket can be taken before anything is believed.
"""

from __future__ import annotations

import asyncio
import socket
import threading
import time
from collections import deque
from collections.abc import Callable, Iterable
from typing import Any, Final, cast

import hiredis
import redis
import structlog

from models.observers import nobody
from models.storage.redis import COMMAND_TIMEOUT_SECONDS, open_redis

#: How often it asks whether Redis is there.
BEAT_SECONDS: Final = 0.25
#: What it was told holds for so long after Redis was last known to answer.
BELIEVED_SECONDS: Final = 1.0
RECONNECT_SECONDS: Final = 0.5
#: Answers that may be due; who comes on top is told at once that there is none (I8).
DUE_MOST: Final = 5_000
READ_BYTES: Final = 256 * 1024

#: What is told when there is no answer; Redis' own nothing is None.
NO_ANSWER: Final = object()
_NO_MORE: Final = object()

Told = Callable[[Any], object]

log = structlog.get_logger(__name__)


class LoopRedis:
    """One connection; every method on the loop's thread."""

    def __init__(
        self, loop: asyncio.AbstractEventLoop, url: str, prefix: str, beat: tuple[str, ...] = ("PING",)
    ) -> None:
        """Watches the keys that begin with `prefix`; a server that refuses `beat` is left."""
        self._loop = loop
        self._url = url
        self._prefix = prefix
        self._beat_command = beat
        self._socket: socket.socket | None = None
        #: Whose socket it is: redis-py cuts it when it leads to a master of the past.
        self._owner: tuple[redis.Redis, Any] | None = None
        self._reader = hiredis.Reader(notEnoughData=_NO_MORE)
        self._due: deque[tuple[Told, float]] = deque()
        self._unsent = b""
        self._answered_at = float("-inf")
        self._taken = False
        self._closed = False
        #: Hears the names of keys that changed; None when it may have been any.
        self.on_changed: Callable[[Iterable[bytes] | None], object] = nobody

    def start(self) -> None:
        """Connect, and stay connected."""
        self._beat()

    def close(self) -> None:
        """End it; what is due is told that there is no answer."""
        self._closed = True
        self._lose("closed")

    def ask(self, *command: bytes | str | int, told: Told) -> None:
        """Send a command. `told` hears its answer, a `hiredis.ReplyError` for one that Redis refuses, or NO_ANSWER."""
        if self._socket is None or len(self._due) >= DUE_MOST:
            told(NO_ANSWER)
            return
        self._due.append((told, time.monotonic()))
        self._send(hiredis.pack_command(cast(Any, command)))  # its stubs know one element only

    def is_current(self, _key: bytes | str = "") -> bool:
        """Whether all is known that was told of changes until now; one server has all keys.

        What lies in the socket is taken once in a turn of the loop: a request that is served in this turn was there
        when it began.
        """
        if self._socket is None:
            return False
        if not self._taken:
            self._taken = True
            self._loop.call_soon(self._next_turn)
            self._take()
        return time.monotonic() - self._answered_at <= BELIEVED_SECONDS

    def _next_turn(self) -> None:
        self._taken = False

    def _beat(self) -> None:
        """Ask whether Redis is there, or connect. There is one beat at a time: the next is due once this one is done,
        or two connections would take each other's answers.
        """
        if self._closed:
            return
        now = time.monotonic()
        if self._socket is None:
            threading.Thread(target=self._connect, name="loop-redis", daemon=True).start()
            return  # which comes back here
        if self._due and now - self._due[0][1] > COMMAND_TIMEOUT_SECONDS:
            self._lose("no answer in time")
        else:
            self.ask(*self._beat_command, told=lambda answer: self._alive(now, answer))
        self._loop.call_later(BEAT_SECONDS, self._beat)

    def _alive(self, asked_at: float, answer: object) -> None:
        if isinstance(answer, hiredis.ReplyError):
            self._lose(str(answer))
        elif answer is not NO_ANSWER:
            self._answered_at = asked_at

    def _connect(self) -> None:
        """In a thread: the address, its password and TLS are redis-py's affair, and who is master now."""
        client = open_redis(self._url)
        try:
            connection: Any = client.connection_pool.make_connection()
            connection.connect()
            for command in (("HELLO", "3"), ("CLIENT", "TRACKING", "ON", "BCAST", "PREFIX", self._prefix)):
                connection.send_command(*command)
                connection.read_response()
            opened: socket.socket = connection._sock  # noqa: SLF001 - nobody else reads it from now on
        except Exception as error:  # noqa: BLE001 - whatever it is, there must be another try
            client.close()
            level = log.debug if isinstance(error, (redis.RedisError, OSError)) else log.error
            level("no line to Redis", **{"event.action": "watch"}, error=error)
            self._call(lambda: self._loop.call_later(RECONNECT_SECONDS, self._beat))
            return
        opened.setblocking(False)
        self._call(lambda: self._use(opened, (client, connection)))

    def _call(self, what: Callable[[], object]) -> None:
        if not self._loop.is_closed():
            self._loop.call_soon_threadsafe(what)

    def _use(self, opened: socket.socket, owner: tuple[redis.Redis, Any]) -> None:
        if self._closed:
            _close(owner)
            return
        self._socket, self._owner, self._reader = opened, owner, hiredis.Reader(notEnoughData=_NO_MORE)
        self._loop.add_reader(opened, self._take)
        self._beat()

    def _lose(self, why: str) -> None:
        """Forget the connection; who waits is told that there is no answer."""
        lost, self._socket = self._socket, None
        if lost is not None:
            self._loop.remove_reader(lost)
            self._loop.remove_writer(lost)
            if self._owner is not None:
                _close(self._owner)
                self._owner = None
            if not self._closed:
                log.warning("the line to Redis broke", **{"event.action": "watch"}, error=why)
        self._unsent, self._answered_at = b"", float("-inf")
        due, self._due = self._due, deque()
        for told, _ in due:
            told(NO_ANSWER)
        self.on_changed(None)

    def _send(self, data: bytes) -> None:
        if self._unsent:
            self._unsent += data
            return
        sent = self._try_to_send(data)
        if sent < len(data) and self._socket is not None:
            self._unsent = data[sent:]
            self._loop.add_writer(self._socket, self._send_rest)

    def _send_rest(self) -> None:
        data, self._unsent = self._unsent, b""
        if self._socket is not None:
            self._loop.remove_writer(self._socket)
            self._send(data)

    def _try_to_send(self, data: bytes) -> int:
        if self._socket is None:
            return 0
        try:
            return self._socket.send(data)
        except (BlockingIOError, InterruptedError):
            return 0
        except OSError as error:
            self._lose(str(error))
            return 0

    def _take(self) -> None:
        """Take what there is."""
        while self._socket is not None:
            try:
                data = self._socket.recv(READ_BYTES)
            except (BlockingIOError, InterruptedError):
                return
            except OSError as error:
                self._lose(str(error))
                return
            if not data:
                self._lose("closed by Redis")
                return
            self._reader.feed(data)
            self._tell()
            if len(data) < READ_BYTES:
                return

    def _tell(self) -> None:
        while (answer := self._reader.gets()) is not _NO_MORE:
            if isinstance(answer, hiredis.PushNotification):
                self._changed(answer)
            elif self._due:
                told, _ = self._due.popleft()
                try:
                    told(answer)
                except Exception:  # the answers behind it are others'
                    log.exception("an answer of Redis was not taken", **{"event.action": "watch"})

    def _changed(self, push: Any) -> None:
        kind, keys = push[0], push[1] if len(push) > 1 else None
        if kind == b"invalidate":
            self.on_changed(keys)


def _close(owner: tuple[redis.Redis, Any]) -> None:
    client, connection = owner
    connection.disconnect()
    client.close()
