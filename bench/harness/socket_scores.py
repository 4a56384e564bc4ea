"""Scores over sockets in a closed loop: as many in flight on each as a busy client has, each sent once."""

from __future__ import annotations

import selectors
import socket
import time
from collections.abc import Sequence
from contextlib import suppress
from typing import Final
from urllib.parse import urlsplit

import msgspec

from bench.harness import load, players
from bench.harness.crowd import masked
from bench.harness.players import BOARD, Player
from bench.harness.stack import Stack

SOCKETS: Final = 100
IN_FLIGHT: Final = 8
#: Signed beforehand, in all: more a second than any machine here has accepted.
FRAMES_A_SECOND: Final = 14_000


class Client:
    """One player's socket."""

    def __init__(self, stack: Stack, player: Player, frames: list[bytes]) -> None:
        url = urlsplit(stack.sockets)
        self.socket = socket.create_connection((url.hostname, url.port), timeout=15)
        self.socket.sendall(
            f"GET /ws/v1/leaderboards/{BOARD} HTTP/1.1\r\nHost: {url.netloc}\r\nUpgrade: websocket\r\n"
            "Connection: Upgrade\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n"
            "Sec-WebSocket-Protocol: scoreboard.v1\r\n\r\n".encode()
        )
        while b"\r\n\r\n" not in self.socket.recv(4096):
            pass
        self.socket.sendall(masked(msgspec.json.encode({"type": "subscribe", "top": 1, "token": player.token})))
        self.frames = frames
        self.next = 0
        self.sent_at: list[float] = []

    def forget(self) -> None:
        """Read what has come by now."""
        with suppress(BlockingIOError):
            while self.socket.recv(65536):
                pass
        self.sent_at.clear()

    def send(self, count: int) -> None:
        """The next ones."""
        frames = self.frames[self.next : self.next + count]
        self.next += len(frames)
        self.sent_at += [time.perf_counter()] * len(frames)
        if frames:
            self.socket.send(b"".join(frames))


def scores(stack: Stack, everybody: Sequence[Player], seconds: float) -> dict[str, float]:
    """Acks a second and their latency, and how long the rest took to be applied."""
    count = int(FRAMES_A_SECOND * seconds / SOCKETS) + IN_FLIGHT + 1
    clients = []
    for player in everybody[:SOCKETS]:
        frames = [masked(msgspec.json.encode({"type": "score", **players.signed(player)})) for _ in range(count)]
        clients.append(Client(stack, player, frames))
    for client in clients:  # from now on its key is known
        client.send(1)
    time.sleep(2)
    waits, refused = [], 0
    with selectors.DefaultSelector() as ready, players.connected(stack.settings) as connection:
        connection.autocommit = True
        applied = load.applied(connection)
        for client in clients:
            client.socket.setblocking(False)
            client.forget()
            ready.register(client.socket, selectors.EVENT_READ, client)
        began = time.perf_counter()
        for client in clients:
            client.send(IN_FLIGHT)
        while time.perf_counter() < began + seconds:
            for key, _ in ready.select(0.1):
                client = key.data
                data = client.socket.recv(65536)
                now, errors = time.perf_counter(), data.count(b'"type":"error"')
                answered = data.count(b'"type":"ack"') + errors
                refused += errors
                waits += [now - at for at in client.sent_at[:answered]]
                del client.sent_at[:answered]
                client.send(answered)
        took = time.perf_counter() - began
        in_time = load.applied(connection) - applied
        for client in clients:
            client.socket.close()
        load.await_empty(connection)
        drained = time.perf_counter() - began - took
    waits.sort()
    return {
        "rate": round(len(waits) / took),
        "applied": round(in_time / took),
        "refused": refused,
        "p50_ms": round(1000 * waits[len(waits) // 2], 1),
        "p99_ms": round(1000 * waits[int(len(waits) * 0.99)], 1),
        "drained_ms": round(1000 * drained),
    }
