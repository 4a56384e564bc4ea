"""The spectators: socket clients that keep the board by snapshots and deltas alone, and doubt every message."""

from __future__ import annotations

import asyncio
import json
import random
import threading
import time
from collections import defaultdict
from typing import Any, Final

from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import ConnectionClosed, InvalidHandshake

from tests.faults.ledger import Ledger
from tests.faults.ways import Ways

#: What the other side must have done wrong when this side closes with it (RFC 6455 §7.4.1).
_THEIR_FAULT: Final = frozenset({1002, 1003, 1007, 1009})
#: Lists remembered by version, to be held against each other.
_REMEMBERED: Final = 2_000
#: So many of a crowd hold lists of up to a thousand lines, the others short ones: all of them share a core here, and
#: what is measured is the service.
_LONG_LISTS: Final = 12
#: Every how many messages a client looks at all of its list.
_LOOK_EVERY: Final = 10


class Spectator:
    """One client's list."""

    def __init__(self, number: int, top: int, crowd: Spectators) -> None:
        self.name = f"s{number}"
        self._turn = number
        self.top = top
        self.version = -1
        self.entries: list[dict[str, Any]] = []
        self.connections = 0
        self.messages = 0
        self._crowd = crowd

    async def watch(self) -> None:
        """Follow the board for as long as the crowd does, and come back with `resume`."""
        while not self._crowd.leaving:
            try:
                async with connect(
                    f"{self._crowd.address(self._turn)}/ws/v1/leaderboards/global",
                    ssl=self._crowd.ways.context,
                    subprotocols=["scoreboard.v1"],  # type: ignore[list-item]
                    compression=None,
                    max_size=None,
                    open_timeout=5,
                    close_timeout=0.2,
                    ping_interval=None,
                    proxy=None,
                ) as socket:
                    self.connections += 1
                    await self._follow(socket)
            except ConnectionClosed as closed:
                self._crowd.closed(self, closed)
            except (OSError, InvalidHandshake, TimeoutError, EOFError):
                pass  # it is gone or not there yet: come again
            self._turn += 1
            await asyncio.sleep(random.uniform(0.02, 0.2))

    async def _follow(self, socket: ClientConnection) -> None:
        wish: dict[str, Any] = {"type": "subscribe", "top": self.top}
        if self.version >= 0:
            wish["resume"] = {"version": self.version}
        await socket.send(json.dumps(wish))
        while not self._crowd.leaving:
            try:
                message = json.loads(await asyncio.wait_for(socket.recv(), 0.5))
            except TimeoutError:
                continue
            self.messages += 1
            self.take(message)
            self._crowd.heard(self)

    def take(self, message: dict[str, Any]) -> None:
        """Carry a message out, and complain of one that must not be."""
        kind, version = message["type"], message.get("version", 0)
        if kind == "snapshot":
            if version < self.version:
                self._complain(f"a snapshot goes back from {self.version} to {version}")
            self.entries = message["entries"][: self.top]
        elif kind == "delta":
            if message["from_version"] != self.version or version < self.version:
                self._complain(f"a delta from {message['from_version']} to {version} at {self.version}")
            gone = {*message["removals"], *(entry["user_id"] for entry in message["upserts"])}
            rest = [entry for entry in self.entries if entry["user_id"] not in gone]
            for entry in message["upserts"]:
                rest.insert(entry["rank"] - 1, entry)
            self.entries = rest[: self.top]
        else:
            return
        self.version = version
        if kind == "snapshot" or self.messages % _LOOK_EVERY == 0:
            self._look(message["total"])

    def lines(self) -> tuple[tuple[str, int], ...]:
        """The list as it is compared: who, with which score, in order."""
        return tuple((entry["user_id"], entry["score"]) for entry in self.entries)

    def _look(self, total: int) -> None:
        order = [(-entry["score"], entry["reached_at"], entry["user_id"]) for entry in self.entries]
        if order != sorted(order) or len({entry["user_id"] for entry in self.entries}) != len(order):
            self._complain(f"the list at {self.version} is out of order")
        if len(order) != min(total, self.top):
            self._complain(f"the list at {self.version} has {len(order)} of {min(total, self.top)} entries")
        self._crowd.compare(self)

    def _complain(self, sentence: str) -> None:
        self._crowd.ledger.complain(f"spectator {self.name}: {sentence}")


class Spectators:
    """Some spectators on an event loop of their own."""

    def __init__(self, ways: Ways, ledger: Ledger, *, count: int) -> None:
        self.ways = ways
        self.ledger = ledger
        self.leaving = False
        self.heard_at: list[float] = []
        self.codes: list[int] = []
        self.reached: defaultdict[int, list[float]] = defaultdict(list)  # version → when each of the clients had it
        self._known: dict[tuple[int, int], int] = {}  # hashes: the lists themselves kept the garbage collector busy
        tops = [(10, 100, 1000)[number % 3] if number < _LONG_LISTS else 10 for number in range(count)]
        self.all = [Spectator(number, top, self) for number, top in enumerate(tops)]
        self._thread = threading.Thread(target=lambda: asyncio.run(self._watch()), daemon=True)

    def start(self) -> None:
        """Begin to watch; returns when everybody has a list."""
        self._thread.start()
        deadline = time.monotonic() + 20
        while not all(spectator.version >= 0 for spectator in self.all):
            if time.monotonic() > deadline:
                raise AssertionError("the spectators got no list")
            time.sleep(0.05)

    def stop(self) -> None:
        """Watch no more."""
        self.leaving = True
        self._thread.join(15)

    def address(self, turn: int) -> str:
        """Where to connect to; another turn, another of the ways."""
        return f"{'ws' if self.ways.context is None else 'wss'}://{self.ways.host(turn)}"

    def heard(self, spectator: Spectator) -> None:
        """Somebody got a message."""
        now = self.ledger.now()
        self.heard_at.append(now)
        self.reached[spectator.version].append(now)

    def closed(self, spectator: Spectator, closed: ConnectionClosed) -> None:
        """A connection ended; when we ended it, because of what they did."""
        if closed.sent is not None and closed.sent.code in _THEIR_FAULT:
            self.ledger.complain(f"spectator {spectator.name}: protocol error: {closed.sent}")
        if closed.rcvd is not None:
            self.codes.append(closed.rcvd.code)

    def compare(self, spectator: Spectator) -> None:
        """All lists of one length at one version are the same list (I6)."""
        key = (spectator.top, spectator.version)
        held = hash(spectator.lines())
        if self._known.setdefault(key, held) != held:
            self.ledger.complain(f"spectator {spectator.name}: another list at {spectator.version} than somebody else")
        while len(self._known) > _REMEMBERED:
            self._known.pop(next(iter(self._known)))

    async def _watch(self) -> None:
        await asyncio.gather(*(spectator.watch() for spectator in self.all))
