"""A Postgres connection on an event loop, for code that is written as if it waited.

The code runs in a greenlet. Where psycopg would wait for the socket, and nowhere else, the greenlet stands aside, the
loop goes on, and comes back to it when there is an answer: so the same writer serves threads and the loop.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from concurrent.futures import Executor, ThreadPoolExecutor
from functools import partial
from typing import Any, Final, TypeVar, cast

from greenlet import getcurrent, greenlet
from psycopg import errors
from psycopg.abc import RV, PQGen
from psycopg.waiting import Ready, Wait

from models.settings import Pooling
from models.storage.database import BoundedConnection, open_as

Answer = TypeVar("Answer")

_READS: Final = (Wait.R, Wait.RW)
_WRITES: Final = (Wait.W, Wait.RW)


class LoopTurns:
    """asyncio's event loop, as what runs on any loop uses it."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self.call_later = loop.call_later
        self._call_soon = loop.call_soon

    def spawn(self, work: Callable[[], None]) -> None:
        """Run something that may stand aside: until it does so for the first time, or soon, if who asks may do so too.

        Who stands aside gives way to its parent, and that must be the loop: another greenlet, itself standing aside,
        would be woken in the midst of its wait.
        """
        here = getcurrent()
        if here.parent is None:
            greenlet(work, parent=here).switch()
        else:
            self._call_soon(greenlet(work, parent=here.parent).switch)


def in_thread(loop: asyncio.AbstractEventLoop, executor: Executor, work: Callable[[], Answer]) -> Answer:
    """Stand aside while a thread does something that blocks; its result, or what it raised."""
    me = getcurrent()
    future = executor.submit(work)
    future.add_done_callback(lambda _: loop.call_soon_threadsafe(me.switch))
    _stand_aside()
    return future.result()


class LoopConnection(BoundedConnection[tuple[Any, ...]]):
    """Waits by standing aside; for one greenlet at a time, on the thread of the loop it was given."""

    _loop: asyncio.AbstractEventLoop | None = None

    def live_on(self, loop: asyncio.AbstractEventLoop) -> None:
        """Wait on this loop from now on; opening a connection blocks, and so happens elsewhere."""
        self._loop = loop

    def wait_within(self, gen: PQGen[RV], interval: float, seconds: float) -> RV:
        """psycopg's `wait` with a loop: resumes the generator whenever the socket is ready for it.

        Raises:
            psycopg.OperationalError: the time is over.
        """
        loop = self._loop
        if loop is None:
            return super().wait_within(gen, interval, seconds)
        ends_at = time.monotonic() + seconds
        try:
            wanted = next(gen)
            while True:
                ready = self._ready(loop, wanted, min(interval, ends_at - time.monotonic()))
                wanted = gen.send(ready)
                if time.monotonic() >= ends_at:
                    raise errors.OperationalError("wait timeout expired")
        except StopIteration as stop:
            answer: RV = stop.value
            return answer

    def _ready(self, loop: asyncio.AbstractEventLoop, wanted: Wait, seconds: float) -> Ready:
        """Stand aside until the socket is ready or the seconds are over."""
        socket, me = self.pgconn.socket, getcurrent()
        timer = loop.call_later(max(0.0, seconds), me.switch, Ready.NONE)
        if wanted in _READS:
            loop.add_reader(socket, me.switch, Ready.R)
        if wanted in _WRITES:
            loop.add_writer(socket, me.switch, Ready.W)
        try:
            return Ready(_stand_aside())
        finally:
            timer.cancel()
            if wanted in _READS:
                loop.remove_reader(socket)
            if wanted in _WRITES:
                loop.remove_writer(socket)


class LoopLine:
    """A connection that is opened when it is needed and there is none."""

    def __init__(self, loop: asyncio.AbstractEventLoop, database_url: str, pooling: Pooling = "none") -> None:
        self._loop = loop
        self._open_one = partial(open_as, LoopConnection, database_url, pooling=pooling)
        self._opening = ThreadPoolExecutor(1, thread_name_prefix="connect")
        self._connection: LoopConnection | None = None

    def open(self) -> LoopConnection:
        """A new connection; stands aside until it is there.

        Raises:
            psycopg.OperationalError: Postgres cannot be reached.
        """
        connection = in_thread(self._loop, self._opening, self._open_one)
        connection.autocommit = True
        connection.live_on(self._loop)
        return connection

    def get(self) -> LoopConnection:
        """The connection. Raises what `open` raises."""
        if self._connection is None or self._connection.closed:
            self._connection = self.open()
        return self._connection

    def close(self) -> None:
        """Close it; the next who needs one opens it."""
        if self._connection is not None:
            self._connection.close()
            self._connection = None

    def end(self) -> None:
        """Close it for good."""
        self.close()
        self._opening.shutdown(wait=False)


def _stand_aside() -> Any:
    return cast(greenlet, getcurrent().parent).switch()
