"""HTTP as it comes over the wire: the early route answers as Flask does, and bad clients harm nobody else."""

from __future__ import annotations

import asyncio
import json
import socket
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import pytest
from flask import Flask
from limits import parse
from uvicorn.config import Config

from models.settings import Settings
from tests.fixtures.api import OpenApi, SignedIn
from tests.fixtures.people import as_json, sign
from web import credit
from web.api.serving import serving as serving_module
from web.api.serving.protocol import HEAD_BYTES_MOST
from web.api.serving.serving import EXTENSION, Serving
from web.api.serving.worker import OPTIONS, ApiServer
from web.credit import Limit
from web.services import EXTENSION as SERVICES

UPDATE = "/api/v1/scores/update"


@dataclass
class Answer:
    """An answer as it came."""

    status: int
    headers: dict[str, str]
    body: bytes

    @property
    def document(self) -> Any:
        """Its JSON."""
        return json.loads(self.body)

    @property
    def told(self) -> tuple[int, dict[str, str], Any]:
        """What must not depend on who answered: all but the request's own id and the time."""
        headers = {name: value for name, value in self.headers.items() if name not in ("date", "x-request-id")}
        document = self.document
        return self.status, headers, {name: value for name, value in document.items() if name != "request_id"}


class Line:
    """A connection, byte by byte."""

    def __init__(self, port: int) -> None:
        self._socket = socket.create_connection(("127.0.0.1", port), timeout=10)
        self._rest = b""

    def send(self, data: bytes) -> None:
        """Send as it is."""
        self._socket.sendall(data)

    def answer(self, *, head_only: bool = False) -> Answer:
        """The next answer."""
        while b"\r\n\r\n" not in self._rest:
            self._more()
        head, _, self._rest = self._rest.partition(b"\r\n\r\n")
        status, *lines = head.decode("latin-1").split("\r\n")
        headers = {name.lower(): value for name, _, value in (line.partition(": ") for line in lines)}
        number = int(status.split()[1])
        length = 0 if head_only or number in (100, 204, 304) else int(headers["content-length"])
        while len(self._rest) < length:
            self._more()
        body, self._rest = self._rest[:length], self._rest[length:]
        return Answer(number, headers, body)

    def ends(self) -> bool:
        """Whether the server has closed it; nothing else may come."""
        try:
            return self._socket.recv(1) == b"" and not self._rest
        except ConnectionResetError:
            return True

    def close(self) -> None:
        """End it."""
        self._socket.close()

    def _more(self) -> None:
        data = self._socket.recv(65536)
        assert data, f"closed after {self._rest!r}"
        self._rest += data


@pytest.fixture
def app(open_api: OpenApi, settings: Settings) -> Flask:
    return open_api(settings)


@pytest.fixture
def server(app: Flask) -> Iterator[ApiServer]:
    """The API on a port of its own, on an event loop in a thread."""
    server = ApiServer(Config(app=app, host="127.0.0.1", port=0, log_config=None, **OPTIONS))  # type: ignore[arg-type]
    thread = threading.Thread(target=lambda: asyncio.run(server.serve()), daemon=True)
    thread.start()
    deadline = time.monotonic() + 10
    while not server.started and time.monotonic() < deadline:
        time.sleep(0.01)
    yield server
    server.should_exit = True
    thread.join(15)
    assert not thread.is_alive()
    app.extensions[EXTENSION].close()


@pytest.fixture
def connect(server: ApiServer) -> Iterator[Callable[[], Line]]:
    """`connect()` opens a connection."""
    port = server.servers[0].sockets[0].getsockname()[1]
    lines: list[Line] = []

    def run() -> Line:
        lines.append(Line(port))
        return lines[-1]

    yield run
    for line in lines:
        line.close()


@pytest.fixture
def early(app: Flask, connect: Callable[[], Line], eventually, monkeypatch) -> Callable[[], int]:
    """`early()` counts the requests that were answered without Flask; credit is there when this is."""
    monkeypatch.setattr(credit, "JOINING_SECONDS", 0)
    limits = app.extensions[SERVICES].limits
    app.extensions[SERVICES].stores.revocations.start()
    limits.start()
    serving: Serving = app.extensions[EXTENSION]
    update = serving._update
    assert update is not None
    taken: list[bool] = []
    take = update.take

    def counted(exchange: Any) -> bool:
        took = take(exchange)
        taken.append(took)
        return took

    update.take = counted  # type: ignore[method-assign]
    eventually(lambda: limits.write_on_credit("192.0.2.1", "nobody"))
    return lambda: sum(taken)


def post(player: SignedIn, body: bytes | None = None, *headers: str, path: str = UPDATE) -> bytes:
    """A signed update's request."""
    content = as_json(sign(player.account)) if body is None else body
    lines = [
        f"POST {path} HTTP/1.1",
        "Host: here",
        f"Authorization: Bearer {player.access_token}",
        "Content-Type: application/json",
        f"Content-Length: {len(content)}",
        *headers,
    ]
    return ("\r\n".join(lines) + "\r\n\r\n").encode() + content


#: A header sent twice sends the request to Flask.
TWICE = ("Accept: */*", "Accept: */*")


@pytest.fixture
def player(sign_up: Callable[[], SignedIn], connect: Callable[[], Line]) -> SignedIn:
    """A player whose token and key the process knows."""
    player = sign_up()
    line = connect()
    line.send(post(player))
    assert line.answer().status == 202
    return player


def test_a_known_player_is_answered_early_and_just_as_flask_does(connect, early, player, query) -> None:
    line = connect()
    for body in (as_json(sign(player.account, "same")), as_json(sign(player.account, "same"))):  # and as a repeat
        before = early()
        line.send(post(player, body))
        quick = line.answer()
        assert early() == before + 1
        line.send(post(player, as_json(sign(player.account, "other")), *TWICE))
        slow = line.answer()
        assert early() == before + 1, "a header sent twice is Flask's"
        assert quick.body.replace(b"same", b"other") == slow.body
        quick.body = slow.body
        lengths = quick.headers.pop("content-length"), slow.headers.pop("content-length")
        assert int(lengths[1]) - int(lengths[0]) == 2 * (len("other") - len("same"))
        assert quick.told == slow.told
    assert query("SELECT count(*) FROM inbox WHERE action_id IN ('same', 'other')") == [(2,)]


def test_what_the_commit_refuses_is_told_as_flask_tells_it(connect, early, player) -> None:
    line = connect()
    first = sign(player.account, "one", value=1)
    line.send(post(player, as_json(first)))
    assert line.answer().status == 202
    for refused in (
        lambda: sign(player.account, "one", value=2),
        lambda: sign(player.account, nonce=first.nonce),
    ):
        before = early()
        line.send(post(player, as_json(refused())))
        quick = line.answer()
        assert early() == before + 1
        line.send(post(player, as_json(refused()), *TWICE))
        assert quick.status == 409
        assert quick.told == line.answer().told


def test_an_early_answer_is_counted_against_the_limits(app, connect, early, player) -> None:
    app.extensions[SERVICES].limits._user = (Limit(parse("100/hour"), "tests"),)
    line = connect()
    line.send(b"".join(post(player) for _ in range(150)))
    statuses = [line.answer().status for _ in range(150)]
    assert 100 <= statuses.count(202) <= 105
    assert statuses.count(202) + statuses.count(429) == 150
    assert early() > 5


@pytest.mark.parametrize(
    ("spoil", "status"),
    [
        (lambda p: post(p, b"{"), 400),
        (lambda p: post(p, b"{}"), 422),
        (lambda p: post(p, b""), 400),
        (lambda p: post(p, as_json(sign(p.account, key=b"another"))), 403),
        (lambda p: post(p, as_json(sign(p.account, timestamp=1))), 422),
        (lambda p: post(p, as_json(sign(p.account, action="nothing"))), 422),
        (lambda p: post(p).replace(b"Bearer ", b"Bearer x"), 401),
        (lambda p: post(p).replace(b"application/json", b"text/plain"), 415),
        (lambda p: post(p, b" " * 17_000), 413),
        (lambda p: post(p, b" " * 200_000), 413),
        (lambda p: post(p).replace(UPDATE.encode(), b"/api/v1/scores/updates"), 404),
        (lambda p: post(p).replace(b"POST ", b"PUT "), 405),
    ],
)
def test_whatever_is_wrong_is_told_by_flask(connect, early, player, contents, spoil, status) -> None:
    before, counted, line = contents(), early(), connect()
    line.send(spoil(player))
    answer = line.answer()
    assert (answer.status, answer.headers["content-type"]) == (status, "application/problem+json")
    assert (early(), contents()) == (counted, before)


def test_pipelined_requests_are_answered_in_order(connect, early, player) -> None:
    line = connect()
    ids = [f"p-{number}" for number in range(20)]
    line.send(
        b"".join(
            post(player, as_json(sign(player.account, action_id)), *(TWICE if number % 3 else ()))
            for number, action_id in enumerate(ids)
        )
    )
    assert [line.answer().document["action_id"] for _ in ids] == ids
    assert early() >= 7


def test_a_body_in_chunks_is_a_body(connect, player) -> None:
    body = as_json(sign(player.account, "chunked"))
    request = post(player, b"").replace(b"Content-Length: 0", b"Transfer-Encoding: chunked")
    line = connect()
    line.send(request + b"%x\r\n%b\r\n" % (10, body[:10]))
    time.sleep(0.05)
    line.send(b"%x\r\n%b\r\n0\r\n\r\n" % (len(body) - 10, body[10:]))
    assert line.answer().document["action_id"] == "chunked"


def test_who_asks_whether_to_go_on_is_told_to(connect, player) -> None:
    body = as_json(sign(player.account))
    line = connect()
    line.send(post(player, body, "Expect: 100-continue")[: -len(body)])
    assert line.answer().status == 100
    line.send(body)
    assert line.answer().status == 202


def test_connections_stay_unless_asked_otherwise(connect) -> None:
    line = connect()
    for _ in range(3):
        line.send(b"GET /healthz HTTP/1.1\r\nHost: here\r\n\r\n")
        assert line.answer().status == 200
    line.send(b"HEAD /healthz HTTP/1.1\r\nHost: here\r\n\r\n")
    assert int(line.answer(head_only=True).headers["content-length"]) > 0
    line.send(b"GET /healthz HTTP/1.1\r\nHost: here\r\nConnection: close\r\n\r\n")
    assert line.answer().headers["connection"] == "close"
    assert line.ends()
    old = connect()
    old.send(b"GET /healthz HTTP/1.0\r\n\r\n")
    assert old.answer().status == 200
    assert old.ends()


@pytest.mark.parametrize(
    "garbage",
    [
        b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03",
        b"GET / HTTP/1.1\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\n",
        b"POST / HTTP/1.1\r\nContent-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
        b"GET http://[ HTTP/1.1\r\n\r\n",
        b"GET / HTTP/1.1\r\nX: " + b"x" * (HEAD_BYTES_MOST + 70_000),
    ],
)
def test_what_is_no_request_ends_the_connection(connect, garbage) -> None:
    line = connect()
    line.send(garbage)
    answer = line.answer()
    assert answer.status == 400
    assert line.ends()


def test_a_request_that_does_not_come_whole_is_waited_for_no_longer_than_the_limit(monkeypatch, app, request) -> None:
    monkeypatch.setattr(serving_module, "REQUEST_SECONDS_MOST", 0.3)
    monkeypatch.setattr(serving_module, "LOOK_SECONDS", 0.1)
    connect = request.getfixturevalue("connect")
    silent, slow, good = connect(), connect(), connect()
    slow.send(b"POST /api/v1/scores/update HTTP/1.1\r\nContent-Le")
    good.send(b"GET /healthz HTTP/1.1\r\nHost: here\r\n\r\n")
    assert good.answer().status == 200
    assert silent.ends()
    assert slow.ends()
    time.sleep(0.3)
    good.send(b"GET /healthz HTTP/1.1\r\nHost: here\r\n\r\n")
    assert good.answer().status == 200


def test_who_leaves_before_the_answer_has_its_update_all_the_same(connect, early, player, query, eventually) -> None:
    line = connect()
    line.send(post(player, as_json(sign(player.account, "left"))))
    line.close()
    eventually(lambda: query("SELECT count(*) FROM inbox WHERE action_id = 'left'") == [(1,)])
    again = connect()
    again.send(post(player, as_json(sign(player.account, "left"))))
    assert again.answer().headers["idempotent-replayed"] == "true"


def test_at_the_end_what_is_on_its_way_is_answered(server, connect, player) -> None:
    idle, busy = connect(), connect()
    idle.send(post(player))
    assert idle.answer().status == 202
    server.should_exit = True
    time.sleep(0.5)
    idle.send(post(player))
    answer = idle.answer()
    assert (answer.status, answer.headers["connection"]) == (202, "close")
    assert idle.ends()
    assert busy.ends()
