"""Thousands of socket clients at little cost: bare connections that follow the board by version alone."""

from __future__ import annotations

import asyncio
import json
import random
import threading
import time
from typing import Any
from urllib.parse import urlsplit

from tests.faults.ledger import Ledger
from tests.faults.readers import handshake, masked, take_frame


class Viewer(asyncio.Protocol):
    """One connection: what it holds, and whether that follows from what it held before."""

    def __init__(self, seat: Seat) -> None:
        self._seat = seat
        self._buffer = b""
        self._open = False

    def connection_made(self, transport: Any) -> None:
        self._transport = transport
        transport.write(handshake(self._seat.host))

    def data_received(self, data: bytes) -> None:
        self._buffer += data
        if not self._open:
            head, end, rest = self._buffer.partition(b"\r\n\r\n")
            if not end:
                return
            self._open, self._buffer = head.startswith(b"HTTP/1.1 101"), rest
            if not self._open:
                self._transport.abort()
                return
            self._subscribe()
        while (frame := take_frame(self._buffer)) is not None:
            opcode, payload, size = frame
            self._buffer = self._buffer[size:]
            if opcode == 1:
                self._seat.take(payload)
            elif opcode == 8:
                self._transport.close()

    def _subscribe(self) -> None:
        wish: dict[str, Any] = {"type": "subscribe", "top": 10}
        if self._seat.version >= 0:
            wish["resume"] = {"version": self._seat.version}
        self._transport.write(masked(json.dumps(wish).encode()))

    def connection_lost(self, _error: Exception | None) -> None:
        self._seat.lost()


class Seat:
    """A client through all its connections."""

    def __init__(self, spectacle: Spectacle) -> None:
        self._spectacle = spectacle
        self.host = spectacle.netloc
        self.version = -1
        self.losses = 0
        self.connected = False

    def take(self, payload: bytes) -> None:
        """A message: the version must never go back, and a delta must begin where we are."""
        message = json.loads(payload)
        if message["type"] == "delta" and message["from_version"] != self.version:
            self._spectacle.ledger.complain(f"a delta from {message['from_version']} at {self.version}")
        if message["type"] in ("snapshot", "delta"):
            if message["version"] < self.version:
                self._spectacle.ledger.complain(f"the board went back from {self.version} to {message['version']}")
            if not self.connected and self.version >= 0 and message["type"] == "delta":
                self._spectacle.resumed_by_delta += 1
            self.connected, self.version = True, message["version"]

    def lost(self) -> None:
        """The connection ended: come again soon, not all at the same moment."""
        self.connected = False
        self.losses += 1
        self._spectacle.come_again(self)


class Spectacle:
    """All clients on one event loop."""

    def __init__(self, sockets: str, ledger: Ledger, *, count: int) -> None:
        address = urlsplit(sockets)
        self.netloc = address.netloc
        self._host, self._port = address.hostname, address.port
        self.ledger = ledger
        self.resumed_by_delta = 0
        self._leaving = False
        self._loop = asyncio.new_event_loop()
        self.seats = [Seat(self) for _ in range(count)]
        self._tasks: set[asyncio.Task[None]] = set()
        self._thread = threading.Thread(target=self._loop.run_forever, daemon=True)

    def start(self, seconds: float = 120.0) -> None:
        """Everybody takes a seat; returns when all have a list."""
        self._thread.start()
        asyncio.run_coroutine_threadsafe(self._seat_all(), self._loop)
        deadline = time.monotonic() + seconds
        while not all(seat.connected for seat in self.seats):
            if time.monotonic() > deadline:
                raise AssertionError(f"{self.missing()} clients got no list")
            time.sleep(0.1)

    def await_return(self, seconds: float) -> float | None:
        """Seconds until everybody was sent away, is back and has a list; None: not in time."""
        began = time.monotonic()
        while time.monotonic() - began < seconds:
            if all(seat.losses and seat.connected for seat in self.seats):
                return time.monotonic() - began
            time.sleep(0.1)
        return None

    def missing(self) -> int:
        """How many have no list now."""
        return sum(not seat.connected for seat in self.seats)

    def come_again(self, seat: Seat) -> None:
        """From the loop: connect again after a moment."""
        if not self._leaving:
            self._loop.call_later(random.uniform(0.05, 3.0), self._begin, seat)

    def stop(self) -> None:
        """Everybody leaves."""
        self._leaving = True
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(10)
        self._loop.run_until_complete(self._leave())
        self._loop.close()

    def _begin(self, seat: Seat) -> None:
        task = self._loop.create_task(self._connect(seat))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _connect(self, seat: Seat) -> None:
        try:
            await self._loop.create_connection(lambda: Viewer(seat), self._host, self._port)
        except OSError:
            self.come_again(seat)

    async def _seat_all(self) -> None:
        for number, seat in enumerate(self.seats):
            self._begin(seat)
            if number % 50 == 49:
                await asyncio.sleep(0.05)

    async def _leave(self) -> None:
        for task in self._tasks:
            task.cancel()
        await asyncio.sleep(0)
