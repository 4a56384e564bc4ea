"""Slow and dead socket readers: bare connections that take what they are sent a little at a time, or not at all."""

from __future__ import annotations

import asyncio
import base64
import json
import os
import socket
import threading
from collections.abc import Iterator
from typing import Any, Final
from urllib.parse import urlsplit

from tests.faults.ledger import Ledger

RECEIVE_BYTES: Final = 4_096
SIP_BYTES: Final = 1_024
SIP_SECONDS: Final = 0.25
_TEXT, _CLOSE = 1, 8


class Reader:
    """One of them; everything it took is looked at in the end."""

    def __init__(self, sockets: str, *, dead: bool) -> None:
        self._address = urlsplit(sockets)
        self._dead = dead
        self.taken = b""
        self.ended = False

    async def read(self, leaving: threading.Event) -> None:
        """Subscribe to a long list, then sip, or do nothing."""
        raw = socket.socket()
        raw.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, RECEIVE_BYTES)
        raw.setblocking(False)
        loop = asyncio.get_running_loop()
        try:
            await loop.sock_connect(raw, (self._address.hostname, self._address.port))
            await loop.sock_sendall(raw, handshake(self._address.netloc))
            while b"\r\n\r\n" not in self.taken:
                self.taken += await asyncio.wait_for(loop.sock_recv(raw, SIP_BYTES), 10)
            await loop.sock_sendall(raw, masked(b'{"type":"subscribe","top":100}'))
            while not leaving.is_set():
                await asyncio.sleep(SIP_SECONDS)
                if self._dead:
                    continue
                sip = await asyncio.wait_for(loop.sock_recv(raw, SIP_BYTES), 30)
                if not sip:
                    break
                self.taken += sip
        except (OSError, TimeoutError):
            pass
        finally:
            self.ended = not leaving.is_set()
            raw.close()

    def complaints(self) -> list[str]:
        """What was wrong with what it took: frames that are none, deltas that do not follow."""
        head, _, rest = self.taken.partition(b"\r\n\r\n")
        if not head.startswith(b"HTTP/1.1 101"):
            return [f"no handshake: {head[:60]!r}"] if head else []
        found: list[str] = []
        version = -1
        for opcode, payload in _frames(rest):
            if opcode == _CLOSE:
                code = int.from_bytes(payload[:2], "big")
                if code not in (1013, 1001):
                    found.append(f"closed with {code}")
            elif opcode == _TEXT:
                message: dict[str, Any] = json.loads(payload)
                if message["type"] == "delta" and message["from_version"] != version:
                    found.append(f"a delta from {message['from_version']} at {version}")
                version = message.get("version", version)
            elif opcode not in (9, 10):
                found.append(f"a frame with opcode {opcode}")
                break
        return found

    def deltas(self) -> int:
        """How many deltas it took."""
        return self.taken.count(b'"type":"delta"')


class Readers:
    """Some slow and some dead readers on a loop of their own."""

    def __init__(self, sockets: str, ledger: Ledger, *, slow: int, dead: int) -> None:
        self._ledger = ledger
        self.all = [Reader(sockets, dead=number >= slow) for number in range(slow + dead)]
        self._leaving = threading.Event()
        self._thread = threading.Thread(target=lambda: asyncio.run(self._read()), daemon=True)

    def start(self) -> None:
        """Begin to read."""
        self._thread.start()

    def stop(self) -> None:
        """Leave, and say what was wrong."""
        self._leaving.set()
        self._thread.join(35)
        for reader in self.all:
            for sentence in reader.complaints():
                self._ledger.complain(f"slow reader: {sentence}")

    async def _read(self) -> None:
        await asyncio.gather(*(reader.read(self._leaving) for reader in self.all))


def handshake(host: str) -> bytes:
    """What a client begins with."""
    key = base64.b64encode(os.urandom(16)).decode()
    lines = [
        "GET /ws/v1/leaderboards/global HTTP/1.1", f"Host: {host}", "Upgrade: websocket", "Connection: Upgrade",
        f"Sec-WebSocket-Key: {key}", "Sec-WebSocket-Version: 13", "Sec-WebSocket-Protocol: scoreboard.v1",
    ]  # fmt: skip
    return ("\r\n".join(lines) + "\r\n\r\n").encode()


def masked(text: bytes) -> bytes:
    """A short text frame of a client's."""
    mask = os.urandom(4)
    assert len(text) < 126
    return bytes([0x81, 0x80 | len(text)]) + mask + bytes(byte ^ mask[at % 4] for at, byte in enumerate(text))


def take_frame(data: bytes) -> tuple[int, bytes, int] | None:
    """The first whole frame of a server's (RFC 6455 §5.2), unmasked and in one part: opcode, payload, bytes taken."""
    if len(data) < 2:
        return None
    size, head = data[1] & 0x7F, 2
    if size == 126:
        size, head = int.from_bytes(data[2:4], "big"), 4
    elif size == 127:
        size, head = int.from_bytes(data[2:10], "big"), 10
    if len(data) < head + size:
        return None
    return data[0] & 0x0F, data[head : head + size], head + size


def _frames(data: bytes) -> Iterator[tuple[int, bytes]]:
    while (frame := take_frame(data)) is not None:
        opcode, payload, size = frame
        data = data[size:]
        yield opcode, payload
