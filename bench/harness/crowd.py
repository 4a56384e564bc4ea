"""Thousands of WebSocket clients, and the least a server can spend on them; both in C, compiled when they are used."""

from __future__ import annotations

import signal
import struct
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Final, NamedTuple

from bench.harness.native import compiled, pinned

_RECORD: Final = struct.Struct("=QIIq")


class Record(NamedTuple):
    """A text frame as it came: monotonic ns, whose, its payload's bytes, and the number found in it (-1: none)."""

    at_ns: int
    socket: int
    size: int
    number: int


@dataclass
class Crowd:
    """Clients that are connected, or will be soon."""

    process: subprocess.Popen[str]
    records_at: Path
    open_ms: float = 0.0  # until all handshakes were done
    all_ms: float = 0.0  # until each had its first message
    lost: int = 0

    def await_open(self) -> None:
        """Return when all are open."""
        self.open_ms = float(self._said("open"))

    def await_first(self) -> None:
        """Return when each has had its first message."""
        self.all_ms = float(self._said("all"))

    def end(self) -> list[Record]:
        """Let all go; what they received."""
        self.process.send_signal(signal.SIGTERM)
        self.lost = int(self._said("frames").rpartition(" ")[2])
        self.process.wait(30)
        return list(map(Record._make, _RECORD.iter_unpack(self.records_at.read_bytes())))

    def _said(self, word: str) -> str:
        assert self.process.stdout is not None
        for line in self.process.stdout:
            first, _, rest = line.partition(" ")
            if first == word:
                return rest.strip()
        raise SystemExit(f"the crowd ended before it said {word!r}")


@contextmanager
def crowd(
    host: str,
    port: int,
    sockets: int,
    *,
    path: str = "/",
    hello: bytes = b"",
    find: str = "",
    at_once: int | None = None,
    core: int | None = None,
) -> Iterator[Crowd]:
    """Clients that connect, so many `at_once` (None: all); `hello` are the frames each sends first, `find` what stands
    before the number.
    """
    with tempfile.TemporaryDirectory(prefix="sb-crowd-") as folder:
        request = (
            f"GET {path} HTTP/1.1\r\nHost: {host}:{port}\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
            "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n"
            "Sec-WebSocket-Protocol: scoreboard.v1\r\n\r\n"
        )
        files = Path(folder)
        (files / "request").write_bytes(request.encode())
        (files / "hello").write_bytes(hello)
        records = files / "records"
        command = [compiled("crowd"), host, port, sockets, at_once or sockets]
        command += [files / "request", files / "hello", find, records]
        process = subprocess.Popen(pinned(core, command), stdout=subprocess.PIPE, text=True)
        try:
            yield Crowd(process, records)
        finally:
            process.kill()
            process.wait()


@dataclass(frozen=True, slots=True)
class Floor:
    """What the C server did."""

    frames: int
    seconds: float
    cpu_seconds: float

    @property
    def us(self) -> float:
        """CPU a frame, µs."""
        return 1e6 * self.cpu_seconds / max(1, self.frames)


def floor(port: int, sockets: int, *, size: int, rate: float, seconds: float) -> Floor:
    """The C server on one core and its clients on another: `size` bytes of payload to each socket, `rate` times a
    second (0: as fast as it can).
    """
    words = [compiled("floor"), port, sockets, size, rate, seconds]
    with subprocess.Popen(pinned(0, words), stdout=subprocess.PIPE, text=True) as server:
        out: IO[str] | None = server.stdout
        assert out is not None
        out.readline()  # ready
        with crowd("127.0.0.1", port, sockets, core=1):
            found = out.readline().split()
    return Floor(int(found[1]), float(found[3]), float(found[5]))


def masked(payload: bytes) -> bytes:
    """A client's text frame (RFC 6455 §5.3), masked with zeros: it stands there as it is."""
    size = len(payload)
    head = struct.pack("!BB", 0x81, 0x80 | size) if size < 126 else struct.pack("!BBH", 0x81, 0x80 | 126, size)
    return head + bytes(4) + payload
