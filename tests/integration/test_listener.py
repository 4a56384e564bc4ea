"""Processes that share a listening socket share the connections: here two listeners on one loop."""

from __future__ import annotations

import asyncio
import errno
import socket
from collections.abc import Callable

import pytest

from web.api.serving import listener as listener_module
from web.api.serving.listener import Listener, Share, Shares


class Process:
    """A process as the others see it."""

    def __init__(self, listening: socket.socket, share: Share) -> None:
        self.held: set[asyncio.BaseTransport] = set()
        self.share = share
        outer = self

        class Protocol(asyncio.Protocol):
            def connection_made(self, transport: asyncio.BaseTransport) -> None:
                self.transport = transport
                outer.held.add(transport)

            def connection_lost(self, _error: Exception | None) -> None:
                outer.held.discard(self.transport)
                outer.share.tell(len(outer.held))

        loop = asyncio.get_running_loop()
        self.listener = Listener(loop, listening.dup(), Protocol, share, lambda: len(self.held))


@pytest.fixture
def listening():
    with socket.create_server(("127.0.0.1", 0), backlog=100) as found:
        yield found


async def eventually(holds: Callable[[], object]) -> None:
    async with asyncio.timeout(5):
        while not holds():
            await asyncio.sleep(0.002)


async def call(listening: socket.socket, count: int) -> list[socket.socket]:
    """Connect as often, at once."""
    return [socket.create_connection(listening.getsockname()) for _ in range(count)]


def test_a_burst_is_spread_evenly_and_so_is_what_comes_later(listening) -> None:
    async def run() -> None:
        shares = Shares(2)
        one, other = Process(listening, shares.take()), Process(listening, shares.take())
        callers = await call(listening, 32)
        await eventually(lambda: len(one.held) + len(other.held) == 32)
        assert abs(len(one.held) - len(other.held)) <= 1
        for transport in list(one.held):  # as if it had been started anew
            transport.close()
        await eventually(lambda: not one.held)
        before = len(other.held)
        callers += await call(listening, 10)
        await eventually(lambda: len(one.held) + len(other.held) == before + 10)
        assert len(one.held) == 10
        for each in callers:
            each.close()
        one.listener.close()
        other.listener.close()

    asyncio.run(run())


def test_a_process_that_accepts_nothing_keeps_nobody_waiting(listening) -> None:
    async def run() -> None:
        shares = Shares(2)
        shares.take()  # one that hangs, with no connection at all
        one = Process(listening, shares.take())
        callers = await call(listening, 20)
        await eventually(lambda: len(one.held) == 20)
        one.listener.close()
        await one.listener.wait_closed()
        for each in callers:
            each.close()

    asyncio.run(run())


def test_the_place_of_a_process_that_is_gone_is_taken_by_the_next() -> None:
    shares = Shares(1)
    gone, stays = shares.take(), shares.take()
    stays.tell(3)
    gone.tell(1)
    assert stays.has_more(3)
    gone.give_back()
    assert not stays.has_more(3)
    assert shares.take()._place == gone._place
    assert shares.take()._place is None, "it goes on without: it takes what it gets"


def test_without_descriptors_it_tries_again_later(listening, monkeypatch) -> None:
    monkeypatch.setattr(listener_module, "NO_DESCRIPTORS_SECONDS", 0.01)

    class Exhausted:
        """A socket that cannot be accepted from, twice."""

        def __init__(self, inner: socket.socket) -> None:
            self.inner, self.failures = inner, 2
            self.fileno, self.setblocking, self.close = inner.fileno, inner.setblocking, inner.close

        def accept(self) -> object:
            if self.failures:
                self.failures -= 1
                raise OSError(errno.EMFILE, "Too many open files")
            return self.inner.accept()

    async def run() -> None:
        held: list[asyncio.BaseTransport] = []

        class Protocol(asyncio.Protocol):
            def connection_made(self, transport: asyncio.BaseTransport) -> None:
                held.append(transport)

        exhausted = Exhausted(listening)
        listener = Listener(asyncio.get_running_loop(), exhausted, Protocol, Share(), lambda: len(held))  # type: ignore[arg-type]
        callers = await call(listening, 3)
        await eventually(lambda: len(held) == 3)
        assert exhausted.failures == 0
        listener.close()
        for each in callers:
            each.close()

    asyncio.run(run())
