"""A line to Redis on an event loop: answers in order, every change heard, and one connection whatever happens."""

from __future__ import annotations

import asyncio
import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import suppress
from typing import Any

import hiredis
import pytest

from models.storage import loop_redis
from models.storage.loop_redis import NO_ANSWER, LoopRedis


class Server:
    """Speaks just enough of RESP3; can fall silent, cut its lines, and say that a key changed."""

    def __init__(self) -> None:
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.url = f"redis://127.0.0.1:{self._listener.getsockname()[1]}/0"
        self.lines: list[socket.socket] = []
        self.silent = False
        self.accepted = 0
        threading.Thread(target=self._accept, daemon=True).start()

    def cut(self) -> None:
        """End every connection."""
        for line in list(self.lines):
            with suppress(OSError):
                line.shutdown(socket.SHUT_RDWR)

    def close(self) -> None:
        """End everything."""
        self._listener.close()
        self.cut()

    def _accept(self) -> None:
        while True:
            try:
                line, _ = self._listener.accept()
            except OSError:
                return
            self.accepted += 1
            self.lines.append(line)
            threading.Thread(target=self._serve, args=(line,), daemon=True).start()

    def _serve(self, line: socket.socket) -> None:
        nothing = object()
        reader = hiredis.Reader(notEnoughData=nothing)
        with suppress(OSError):
            while data := line.recv(65536):
                reader.feed(data)
                while (command := reader.gets()) is not nothing:
                    if not self.silent:
                        line.sendall(self._answer(command))
        self.lines.remove(line)
        line.close()

    def _answer(self, command: Any) -> bytes:
        match command:
            case [b"HELLO", *_]:
                return b"%1\r\n+proto\r\n:3\r\n"
            case [b"GET", name]:
                return b"$%d\r\n%b\r\n" % (len(name), name)
            case [b"TOUCH", name]:
                return b">2\r\n$10\r\ninvalidate\r\n*1\r\n$%d\r\n%b\r\n+OK\r\n" % (len(name), name)
            case [b"FLUSHALL"]:
                return b">2\r\n$10\r\ninvalidate\r\n_\r\n+OK\r\n"
            case [b"NOTHING"]:
                return b"_\r\n"
            case [b"WRONG"]:
                return b"-ERR no\r\n"
            case _:
                return b"+OK\r\n"


@pytest.fixture
def server() -> Iterator[Server]:
    server = Server()
    yield server
    server.close()


@pytest.fixture
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(loop_redis, "BEAT_SECONDS", 0.02)
    monkeypatch.setattr(loop_redis, "RECONNECT_SECONDS", 0.02)
    monkeypatch.setattr(loop_redis, "COMMAND_TIMEOUT_SECONDS", 0.2)


def on_a_loop(server: Server, what: Callable[[LoopRedis, Callable[..., Any]], Any]) -> None:
    """Run a coroutine with a line, and `ask`, which waits for an answer."""

    async def run() -> None:
        loop = asyncio.get_running_loop()
        line = LoopRedis(loop, server.url, "sb:{")

        async def ask(*command: Any) -> Any:
            answer: asyncio.Future[Any] = loop.create_future()
            line.ask(*command, told=answer.set_result)
            return await answer

        line.start()
        try:
            await eventually(line.is_current)
            await asyncio.wait_for(what(line, ask), 10)
        finally:
            line.close()

    asyncio.run(run())


async def eventually(holds: Callable[[], bool]) -> None:
    for _ in range(500):
        if holds():
            return
        await asyncio.sleep(0.01)
    raise AssertionError(holds)


def test_answers_come_to_who_asked(server: Server) -> None:
    async def what(_line: LoopRedis, ask: Callable[..., Any]) -> None:
        names = [b"%d" % number for number in range(1_000)]
        assert await asyncio.gather(*(ask("GET", name) for name in names)) == names
        assert await ask("NOTHING") is None
        assert isinstance(await ask("WRONG"), hiredis.ReplyError)

    on_a_loop(server, what)


def test_changes_are_heard_before_what_was_asked_after_them(server: Server) -> None:
    async def what(line: LoopRedis, ask: Callable[..., Any]) -> None:
        heard: list[Any] = []
        line.on_changed = heard.append
        await ask("TOUCH", "sb:{a:1}:meta")
        assert heard == [[b"sb:{a:1}:meta"]]
        await ask("FLUSHALL")
        assert heard[1:] == [None]

    on_a_loop(server, what)


@pytest.mark.usefixtures("quick")
def test_a_line_that_falls_silent_is_given_up_and_one_other_takes_its_place(server: Server) -> None:
    """Answers of two connections would go to each other's askers."""

    async def what(line: LoopRedis, ask: Callable[..., Any]) -> None:
        for _ in range(3):
            server.silent = True
            assert await ask("GET", "lost") is NO_ANSWER
            assert not line.is_current()
            server.silent = False
            await eventually(line.is_current)
            names = [b"%d" % number for number in range(100)]
            assert await asyncio.gather(*(ask("GET", name) for name in names)) == names
            await asyncio.sleep(0.2)
            assert len(server.lines) == 1
        assert server.accepted <= 20

    on_a_loop(server, what)


@pytest.mark.usefixtures("quick")
def test_a_line_that_is_cut_comes_back(server: Server) -> None:
    async def what(line: LoopRedis, ask: Callable[..., Any]) -> None:
        heard: list[Any] = []
        line.on_changed = heard.append
        for _ in range(3):
            server.cut()
            await eventually(lambda: not line.is_current())
            assert None in heard, "what was missed meanwhile may be anything"
            await eventually(line.is_current)
            assert await ask("GET", "again") == b"again"
            await asyncio.sleep(0.1)
            assert len(server.lines) == 1

    on_a_loop(server, what)


def test_more_than_may_be_due_are_told_at_once(server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    async def what(_line: LoopRedis, ask: Callable[..., Any]) -> None:
        monkeypatch.setattr(loop_redis, "DUE_MOST", 3)
        answers = await asyncio.gather(*(ask("GET", str(number)) for number in range(10)))
        assert answers.count(NO_ANSWER) >= 7

    on_a_loop(server, what)


def test_what_cannot_be_sent_at_once_is_sent_in_order(server: Server) -> None:
    async def what(_line: LoopRedis, ask: Callable[..., Any]) -> None:
        names = [bytes([65 + number % 26]) * 50_000 for number in range(200)]
        assert await asyncio.gather(*(ask("GET", name) for name in names)) == names

    on_a_loop(server, what)
