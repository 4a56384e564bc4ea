"""A socket's bytes: in order, none twice, none lost, however slowly the other side reads."""

from __future__ import annotations

import os
import socket
import time
from collections.abc import Callable, Iterator
from contextlib import suppress

import gevent
import pytest

from web.live.transport import Transport


class Owner:
    """Remembers what it was told."""

    def __init__(self) -> None:
        self.data = b""
        self.drains = 0
        self.losses = 0

    def received(self, data: bytes) -> None:
        self.data += data

    def drained(self) -> None:
        self.drains += 1

    def lost(self) -> None:
        self.losses += 1


@pytest.fixture
def ends() -> Iterator[tuple[Transport, Owner, socket.socket]]:
    ours, theirs = socket.socketpair()
    ours.setblocking(False)
    theirs.setblocking(False)
    transport, owner = Transport(os.dup(ours.fileno())), Owner()
    ours.close()
    transport.start(owner)
    yield transport, owner, theirs
    transport.close()
    theirs.close()


def eventually(holds: Callable[[], object]) -> None:
    deadline = time.monotonic() + 5
    while not holds():
        assert time.monotonic() < deadline
        gevent.sleep(0.001)


def test_a_slow_reader_gets_every_byte_once_and_in_order(ends: tuple[Transport, Owner, socket.socket]) -> None:
    transport, owner, theirs = ends
    sent = b"".join(n.to_bytes(4, "big") for n in range(250_000))
    transport.send(sent)
    transport.send(b"the end")
    assert transport.busy
    assert transport.tail_bytes > 0
    assert transport.stuck_since is not None
    read = b""

    def all_there() -> bool:
        nonlocal read
        try:
            read += theirs.recv(65536)
        except BlockingIOError:
            return False
        return read == sent + b"the end"

    eventually(all_there)
    eventually(lambda: owner.drains == 1)
    assert not transport.busy


def test_what_comes_is_told(ends: tuple[Transport, Owner, socket.socket]) -> None:
    _, owner, theirs = ends
    theirs.send(b"hello")
    eventually(lambda: owner.data == b"hello")


def test_a_peer_that_goes_is_told_once(ends: tuple[Transport, Owner, socket.socket]) -> None:
    transport, owner, theirs = ends
    theirs.close()
    eventually(lambda: owner.losses == 1)
    transport.send(b"into the void")
    transport.close()
    gevent.sleep(0.01)
    assert owner.losses == 1


def test_a_peer_that_goes_while_much_waits_is_told_once(ends: tuple[Transport, Owner, socket.socket]) -> None:
    transport, owner, theirs = ends
    transport.send(b"x" * 2_000_000)
    theirs.close()
    eventually(lambda: owner.losses == 1)
    assert owner.drains == 0


def test_what_is_sent_to_each_reaches_the_others_when_one_is_gone_and_one_is_full() -> None:
    pairs = [socket.socketpair() for _ in range(5)]
    gone, full = 1, 3
    for ours, theirs in pairs:
        ours.setblocking(False)
        theirs.setblocking(False)
    pairs[gone][1].close()
    filling = 0
    with suppress(BlockingIOError):
        while True:
            filling += pairs[full][0].send(b"x" * 4096)
    wires, owners = [Transport(ours.detach()) for ours, _ in pairs], [Owner() for _ in pairs]
    for wire, owner in zip(wires, owners, strict=True):
        wire.start(owner)
    Transport.send_each(wires, b"the frame")
    assert [owner.losses for owner in owners] == [int(at == gone) for at in range(5)]
    assert [wire.busy for wire in wires] == [at == full for at in range(5)]
    read = b""

    def all_there() -> bool:
        nonlocal read
        with suppress(BlockingIOError):
            read += pairs[full][1].recv(65536)
        return len(read) == filling + len(b"the frame")

    eventually(all_there)
    assert read.endswith(b"xthe frame")
    assert [theirs.recv(100) for at, (_, theirs) in enumerate(pairs) if at not in (gone, full)] == [b"the frame"] * 3
    for wire, (_, theirs) in zip(wires, pairs, strict=True):
        wire.close()
        theirs.close()
