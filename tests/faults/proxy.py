"""A TCP proxy between the service and a store, which can cut, stall and mislead: the laboratory's network.

Runs in a process of its own (`python -m tests.faults.proxy TARGET`), steered by lines on its standard input.
"""

from __future__ import annotations

import asyncio
import contextlib
import random
import subprocess
import sys
from collections.abc import Awaitable, Callable
from typing import Final

CHUNK_BYTES: Final = 64 * 1024
#: How long the store gets to carry out what was sent before a doubtful connection is cut.
DOUBT_SECONDS: Final = 0.03


class Proxy:
    """A running proxy, seen from the laboratory."""

    def __init__(self, target: str, seed: int) -> None:
        """`target` is the path of the store's unix socket."""
        self._process = subprocess.Popen(
            [sys.executable, "-m", "tests.faults.proxy", target, str(seed)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            start_new_session=True,
        )
        assert self._process.stdout is not None
        self.port = int(self._process.stdout.readline())

    def cut(self) -> None:
        """Reset every connection there is; new ones are let through."""
        self._say("cut")

    def cut_now_and_then(self, probability: float) -> None:
        """Reset a connection instead of passing a chunk on, with this probability; 0 ends it."""
        self._say(f"unreliable {probability}")

    def doubt(self, probability: float) -> None:
        """Cut connections after a commit was sent and before its answer is seen; 0 ends it."""
        self._say(f"doubt {probability}")

    def stall(self) -> None:
        """Pass nothing on, in no direction, and say nothing: half-open peers."""
        self._say("stall")

    def flow(self) -> None:
        """Pass on what waited, and all that comes."""
        self._say("flow")

    def close(self) -> None:
        """End it."""
        self._process.kill()
        self._process.communicate()

    def _say(self, line: str) -> None:
        assert self._process.stdin is not None
        self._process.stdin.write(line + "\n")
        self._process.stdin.flush()


class _Wire:
    """One connection's two ends."""

    def __init__(self, near: asyncio.StreamWriter, far: asyncio.StreamWriter) -> None:
        self.ends = (near, far)
        self.accepts = False  # this connection commits without saying COMMIT: it is the one that writes the inbox

    def abort(self) -> None:
        for end in self.ends:
            end.transport.abort()


class _Relay:
    """The proxy's own side: connections, and what is done to them."""

    def __init__(self, target: str, seed: int) -> None:
        self._target = target
        self._dice = random.Random(seed)
        self._wires: set[_Wire] = set()
        self._flowing = asyncio.Event()
        self._flowing.set()
        self._unreliable = self._doubt = 0.0

    async def serve(self) -> None:
        server = await asyncio.start_server(self._connect, "127.0.0.1", 0, backlog=1024)
        sys.stdout.write(f"{server.sockets[0].getsockname()[1]}\n")
        sys.stdout.flush()
        orders = asyncio.StreamReader()
        await asyncio.get_running_loop().connect_read_pipe(lambda: asyncio.StreamReaderProtocol(orders), sys.stdin)
        while line := await orders.readline():  # ends when the laboratory is gone
            self._obey(*line.decode().split())

    def _obey(self, order: str, value: str = "0") -> None:
        if order == "cut":
            for wire in self._wires:
                wire.abort()
        elif order == "stall":
            self._flowing.clear()
        elif order == "flow":
            self._flowing.set()
        elif order == "unreliable":
            self._unreliable = float(value)
        elif order == "doubt":
            self._doubt = float(value)

    async def _connect(self, near_reader: asyncio.StreamReader, near: asyncio.StreamWriter) -> None:
        await self._flowing.wait()
        try:
            far_reader, far = await asyncio.open_unix_connection(self._target)
        except OSError:
            near.transport.abort()
            return
        wire = _Wire(near, far)
        self._wires.add(wire)
        try:
            await asyncio.gather(
                self._pass_on(near_reader, far, wire, self._sent), self._pass_on(far_reader, near, wire, self._answered)
            )
        finally:
            self._wires.discard(wire)
            wire.abort()

    async def _pass_on(
        self,
        source: asyncio.StreamReader,
        sink: asyncio.StreamWriter,
        wire: _Wire,
        rule: Callable[[bytes, asyncio.StreamWriter, _Wire], Awaitable[None]],
    ) -> None:
        with contextlib.suppress(OSError):
            while chunk := await source.read(CHUNK_BYTES):
                await self._flowing.wait()
                if self._unreliable and self._dice.random() < self._unreliable:
                    wire.abort()
                    return
                await rule(chunk, sink, wire)
        with contextlib.suppress(OSError, RuntimeError):
            sink.write_eof() if sink.can_write_eof() else sink.close()

    async def _sent(self, chunk: bytes, sink: asyncio.StreamWriter, wire: _Wire) -> None:
        """A client's bytes: those that commit may be carried out without the client ever hearing of it."""
        wire.accepts = wire.accepts or b"INSERT INTO inbox_keys" in chunk
        sink.write(chunk)
        await sink.drain()
        if self._doubt and (wire.accepts or b"COMMIT" in chunk) and self._dice.random() < self._doubt:
            wire.ends[0].transport.abort()  # the answer has nowhere to go
            await asyncio.sleep(DOUBT_SECONDS)
            wire.abort()

    async def _answered(self, chunk: bytes, sink: asyncio.StreamWriter, _wire: _Wire) -> None:
        sink.write(chunk)
        await sink.drain()


if __name__ == "__main__":
    asyncio.run(_Relay(sys.argv[1], int(sys.argv[2])).serve())
