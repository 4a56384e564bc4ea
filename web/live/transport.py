"""One socket's bytes: the descriptor, its watchers in gevent's loop, and the tail of a write that went half way."""

from __future__ import annotations

import _socket  # the kernel's own: gevent's would wait
import time
from collections.abc import Callable, Sequence
from itertools import repeat
from operator import attrgetter, call
from typing import Any, Final, Protocol

import structlog
from gevent import get_hub

log = structlog.get_logger(__name__)

_READABLE: Final = 1
_WRITABLE: Final = 2
FAILED: Final = -1
_SEND: Final = attrgetter("_send")
#: A client's message has 16 KiB at most; more comes with the loop's next turn, so that no socket starves others.
READ_BYTES: Final = 16 * 1024


class Owner(Protocol):
    """Who is told what happens on the descriptor. Told from the event loop itself: may not wait for anything."""

    def received(self, data: bytes) -> None:
        """Bytes came."""

    def drained(self) -> None:
        """The tail is gone; the next write will reach the kernel."""

    def lost(self) -> None:
        """The other side is gone, or the descriptor failed."""


class Transport:
    """A non-blocking descriptor with one writer. Watches it from `start` to `close`."""

    __slots__ = ("_owner", "_reads", "_send", "_socket", "_tail", "_writes", "stuck_since")

    def __init__(self, fd: int) -> None:
        self._socket = _socket.socket(fileno=fd)
        self._socket.setblocking(False)
        self._send: Callable[[bytes], int] = self._socket.send
        self._owner: Owner | None = None
        self._reads: Any = None
        self._writes: Any = None
        self._tail = b""
        #: When the tail came to be (monotonic seconds), or None: nothing waits.
        self.stuck_since: float | None = None

    def start(self, owner: Owner) -> None:
        """Begin to read."""
        self._owner = owner
        self._reads = get_hub().loop.io(self._socket.fileno(), _READABLE)
        self._reads.start(self._read)

    @property
    def busy(self) -> bool:
        """Whether a tail waits: what is sent now would wait behind it."""
        return self.stuck_since is not None

    @property
    def tail_bytes(self) -> int:
        """How much waits."""
        return len(self._tail)

    def send(self, data: bytes) -> None:
        """Write what the kernel takes; the rest is kept and goes as soon as it can. Never waits."""
        if self.stuck_since is not None:
            self._tail += data
            return
        try:
            sent = self._send(data)
        except BlockingIOError:
            sent = 0
        except OSError:
            sent = FAILED
        if sent < len(data):
            self.took(sent, data)

    @staticmethod
    def send_each(wires: Sequence[Transport], data: bytes) -> None:
        """The same to many of whom none is busy.

        Sends follow each other without a step of Python between them: that would be slow not for what it does, but
        because each send has thrown the interpreter out of the core's caches.
        """
        sent: list[int] = []
        sends = map(_SEND, wires)
        while True:
            try:
                sent.extend(map(call, sends, repeat(data)))
                break
            except BlockingIOError:  # of one; those before it are in `sent`, those after it still in `sends`
                sent.append(0)
            except OSError:
                sent.append(FAILED)
        if sent.count(len(data)) < len(sent):
            for wire, bytes_sent in zip(wires, sent, strict=True):
                wire.took(bytes_sent, data)

    def took(self, bytes_sent: int, data: bytes) -> None:
        """The kernel took so much of it, or failed."""
        if bytes_sent == FAILED:
            self._lose()
        elif bytes_sent < len(data):
            self._keep(data[bytes_sent:])

    def close(self) -> None:
        """Let go of the descriptor; what waits is dropped. Repeatable."""
        if self._socket.fileno() < 0:
            return
        for watcher in (self._reads, self._writes):
            if watcher is not None:
                watcher.stop()
                watcher.close()
        self._reads = self._writes = self._owner = None
        self._tail = b""
        self.stuck_since = None
        self._socket.close()

    def _keep(self, tail: bytes) -> None:
        self._tail = tail
        self.stuck_since = time.monotonic()
        self._writes = get_hub().loop.io(self._socket.fileno(), _WRITABLE)
        self._writes.start(self._drain)

    def _drain(self) -> None:
        try:
            sent = self._send(self._tail)
        except BlockingIOError:
            return
        except OSError:
            self._lose()
            return
        self._tail = self._tail[sent:]
        if self._tail:
            return
        self._writes.stop()
        self._writes.close()
        self._writes = None
        self.stuck_since = None
        if self._owner is not None:
            self._owner.drained()

    def _read(self) -> None:
        try:
            data = self._socket.recv(READ_BYTES)
        except BlockingIOError:
            return
        except OSError:
            self._lose()
            return
        if not data:
            self._lose()
        elif self._owner is not None:
            self._owner.received(data)

    def _lose(self) -> None:
        owner = self._owner
        self.close()
        if owner is not None:
            owner.lost()
