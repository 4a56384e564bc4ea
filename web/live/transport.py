"""One socket's bytes: the descriptor, its watchers in gevent's loop, and the tail of a write that went half way."""

from __future__ import annotations

import os
import time
from typing import Any, Final, Protocol

import structlog
from gevent import get_hub

log = structlog.get_logger(__name__)

_READABLE: Final = 1
_WRITABLE: Final = 2
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

    __slots__ = ("_fd", "_owner", "_reads", "_tail", "_writes", "stuck_since")

    def __init__(self, fd: int) -> None:
        self._fd = fd
        self._owner: Owner | None = None
        self._reads: Any = None
        self._writes: Any = None
        self._tail = b""
        #: When the tail came to be (monotonic seconds), or None: nothing waits.
        self.stuck_since: float | None = None

    def start(self, owner: Owner) -> None:
        """Begin to read."""
        self._owner = owner
        self._reads = get_hub().loop.io(self._fd, _READABLE)
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
        if self._fd < 0:
            return
        if self.stuck_since is not None:
            self._tail += data
            return
        try:
            sent = os.write(self._fd, data)
        except BlockingIOError:
            sent = 0
        except OSError:
            self._lose()
            return
        if sent < len(data):
            self._keep(data[sent:])

    def close(self) -> None:
        """Let go of the descriptor; what waits is dropped. Repeatable."""
        if self._fd < 0:
            return
        for watcher in (self._reads, self._writes):
            if watcher is not None:
                watcher.stop()
                watcher.close()
        self._reads = self._writes = self._owner = None
        self._tail = b""
        self.stuck_since = None
        os.close(self._fd)
        self._fd = -1

    def _keep(self, tail: bytes) -> None:
        self._tail = tail
        self.stuck_since = time.monotonic()
        self._writes = get_hub().loop.io(self._fd, _WRITABLE)
        self._writes.start(self._drain)

    def _drain(self) -> None:
        try:
            sent = os.write(self._fd, self._tail)
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
            data = os.read(self._fd, READ_BYTES)
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
