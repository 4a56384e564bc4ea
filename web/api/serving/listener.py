"""Accepts connections so that the processes that share a listening socket share the connections evenly.

An event loop's own server takes all that wait at once: a load balancer opens its connections in a burst, and one
process would have most of them for as long as they live. Here who has more than another lets that one go first.
"""

from __future__ import annotations

import asyncio
import mmap
import socket
import struct
from collections.abc import Callable
from typing import Final

import structlog

#: The process has no more file descriptors; some may be free then.
NO_DESCRIPTORS_SECONDS: Final = 1.0

#: A process that has its share leaves a connection to the others for so long.
YIELD_SECONDS: Final = 0.001
_COUNT: Final = struct.Struct("=i")
_FREE: Final = -1

log = structlog.get_logger(__name__)


class Shares:
    """How many connections each process has, in memory they share; made by their parent."""

    def __init__(self, processes: int) -> None:
        self._places = 2 * processes  # those that end and those that follow them overlap
        self._memory = mmap.mmap(-1, self._places * _COUNT.size)
        for place in range(self._places):
            self.tell(place, _FREE)

    def take(self) -> Share:
        """A place for a process that is about to be started; by the parent, as is giving it back."""
        place = next((p for p in range(self._places) if self._get(p) == _FREE), None)
        if place is not None:
            self.tell(place, 0)
        return Share(self, place)

    def least_beside(self, place: int) -> int | None:
        """What the process has that has least, of the others; None when there is no other."""
        counts = [self._get(p) for p in range(self._places) if p != place]
        return min((count for count in counts if count != _FREE), default=None)

    def _get(self, place: int) -> int:
        count: int = _COUNT.unpack_from(self._memory, place * _COUNT.size)[0]
        return count

    def tell(self, place: int, count: int) -> None:
        """Say what the process of this place has."""
        _COUNT.pack_into(self._memory, place * _COUNT.size, count)


class Share:
    """One process' place; without one it takes what it gets."""

    def __init__(self, shares: Shares | None = None, place: int | None = None) -> None:
        self._shares, self._place = shares, place

    def tell(self, connections: int) -> None:
        """Say how many it has now."""
        if self._shares is not None and self._place is not None:
            self._shares.tell(self._place, connections)

    def has_more(self, connections: int) -> bool:
        """Whether another process has fewer."""
        if self._shares is None or self._place is None:
            return False
        least = self._shares.least_beside(self._place)
        return least is not None and connections > least

    def give_back(self) -> None:
        """The process is gone."""
        self.tell(_FREE)


class Listener:
    """A listening socket of this process and others."""

    def __init__(
        self,
        loop: asyncio.AbstractEventLoop,
        listening: socket.socket,
        protocol: Callable[[], asyncio.Protocol],
        share: Share,
        connections: Callable[[], int],
    ) -> None:
        self.sockets = (listening,)
        self._loop = loop
        self._listening = listening
        self._protocol = protocol
        self._share = share
        self._connections = connections
        self._connecting: set[asyncio.Task[object]] = set()
        self._open = True
        listening.setblocking(False)
        self._listen()

    def close(self) -> None:
        """Accept no more."""
        if self._open:
            self._open = False
            self._loop.remove_reader(self._listening)
            self._listening.close()

    async def wait_closed(self) -> None:
        """Until those accepted last are connections."""
        await asyncio.gather(*self._connecting, return_exceptions=True)

    def _listen(self) -> None:
        if self._open:
            self._loop.add_reader(self._listening, self._ready)

    def _ready(self) -> None:
        if self._share.has_more(self._count()):
            self._pause(YIELD_SECONDS)
        else:
            self._accept()

    def _pause(self, seconds: float) -> None:
        self._loop.remove_reader(self._listening)
        self._loop.call_later(seconds, self._resume)

    def _resume(self) -> None:
        if self._open:
            self._listen()
            self._accept()  # after it, so that a pause that this begins is one

    def _accept(self) -> None:
        """Take one, if another process was not quicker; the loop calls again if there are more."""
        try:
            connection, _ = self._listening.accept()
        except (BlockingIOError, InterruptedError, ConnectionAbortedError):
            return
        except OSError as error:
            log.warning("a connection cannot be accepted", **{"event.action": "serve"}, error=error)
            self._pause(NO_DESCRIPTORS_SECONDS)
            return
        connection.setblocking(False)
        task = self._loop.create_task(self._loop.connect_accepted_socket(self._protocol, connection))
        self._connecting.add(task)
        task.add_done_callback(self._connecting.discard)
        self._share.tell(self._count())

    def _count(self) -> int:
        return self._connections() + len(self._connecting)
