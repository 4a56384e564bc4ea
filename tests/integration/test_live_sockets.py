"""The socket process as clients meet it: gunicorn and gevent for real, real stores, a strict client library."""

from __future__ import annotations

import http.client
import json
import os
import signal
import socket
import struct
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from uuid import uuid4

import psutil
import pytest
from flask import Flask
from sqlalchemy import text
from websockets.exceptions import ConnectionClosed
from websockets.sync.client import ClientConnection, connect

from deploy.local.embedded.postgres import start_postgres
from deploy.local.embedded.valkey import broker_url, start_valkey
from migrations import schema
from models.accounts import tokens
from models.accounts.signing import action_message, sign
from models.boards import events
from models.boards.deltas import Delta, Line, apply
from models.guard.desk import Why
from models.pipeline.accept import ServerUpdate
from models.pipeline.updates import SignedUpdate
from models.settings import Settings
from models.stores import Stores, open_stores
from tests.fixtures import log_lines
from web.identity import Identity

BOARD = "global"
WAIT_SECONDS = 10.0


@dataclass
class Player:
    """A registered player with a token."""

    user_id: str
    key: bytes
    token: str
    jti: str
    family: str

    def action(self, value: int = 1, **changes: Any) -> dict[str, Any]:
        """A signed update of theirs."""
        action_id, nonce, timestamp = str(uuid4()), uuid4().hex, int(time.time() * 1000)
        message = action_message(self.user_id, action_id, "level_complete", value, nonce, timestamp)
        signed = {
            "action_id": action_id,
            "action": "level_complete",
            "value": value,
            "nonce": nonce,
            "timestamp": timestamp,
            "signature": sign(self.key, message),
        }
        return signed | changes


@dataclass
class Process:
    """A running socket process and the stores it shares with this test."""

    port: int
    environ: dict[str, str]
    stores: Stores
    identity: Identity
    gunicorn: subprocess.Popen[bytes]
    log: Path
    players: list[Player] = field(default_factory=list)

    def url(self, path: str = f"/ws/v1/leaderboards/{BOARD}") -> str:
        return f"ws://127.0.0.1:{self.port}{path}"

    def open(self, path: str = f"/ws/v1/leaderboards/{BOARD}", **options: Any) -> ClientConnection:
        return connect(self.url(path), subprotocols=["scoreboard.v1"], max_size=None, **options)

    def player(self) -> Player:
        name = f"p{uuid4().hex[:20]}"
        with self.stores.engine.begin() as connection:
            registered = self.stores.users.register(connection, name, f"{name}@example.com")
        pair = self.identity.issue(registered.user_id)
        claims = self.identity.verify(pair.access_token)
        return Player(registered.user_id, registered.secret_key, pair.access_token, claims.jti, claims.family)

    def score(self, player: Player, value: int = 1) -> None:
        """An update that came in over HTTP, applied by a worker."""
        update = SignedUpdate(**player.action(value))
        self.stores.acceptor.accept(player.user_id, update, address="127.0.0.1", request_id="test")
        self.work()

    def work(self) -> None:
        """Do what a worker does on a wake-up."""
        drain = self.stores.drain()
        try:
            drain.drain(0)
        finally:
            drain.close()

    def top(self, count: int) -> list[Line]:
        entries = self.stores.ranking.top(BOARD, count).entries
        return [Line(entry.user_id, entry.username, entry.score, entry.reached_at) for entry in entries]

    def workers(self) -> list[psutil.Process]:
        return psutil.Process(self.gunicorn.pid).children()

    def worker(self) -> psutil.Process:
        return self.workers()[0]


class Listener:
    """A client that keeps its list by the contract's steps, and by nothing else."""

    def __init__(self, socket: ClientConnection, **subscribe: Any) -> None:
        self.socket = socket
        self.version = -1
        self.total = 0
        self.lines: list[Line] = []
        self.others: list[dict[str, Any]] = []
        self.kinds: list[str] = []
        socket.send(json.dumps({"type": "subscribe", **subscribe}))

    def receive(self, timeout: float = WAIT_SECONDS) -> dict[str, Any]:
        message: dict[str, Any] = json.loads(self.socket.recv(timeout))
        self.kinds.append(message["type"])
        if message["type"] == "snapshot":
            assert [entry["rank"] for entry in message["entries"]] == list(range(1, len(message["entries"]) + 1))
            self.lines = [line(entry) for entry in message["entries"]]
        elif message["type"] == "delta":
            assert message["from_version"] == self.version
            upserts = tuple((entry["rank"], line(entry)) for entry in message["upserts"])
            self.lines = apply(self.lines, Delta(tuple(message["removals"]), upserts))
        else:
            self.others.append(message)
            return message
        assert message["version"] >= self.version
        self.version, self.total = message["version"], message["total"]
        return message

    def until(self, holds: Callable[[], bool]) -> None:
        deadline = time.monotonic() + WAIT_SECONDS
        while not holds():
            self.receive(max(0.01, deadline - time.monotonic()))

    def next(self, kind: str) -> dict[str, Any]:
        self.until(lambda: any(message["type"] == kind for message in self.others))
        found = next(message for message in self.others if message["type"] == kind)
        self.others.remove(found)
        return found


def line(entry: dict[str, Any]) -> Line:
    assert set(entry) == {"rank", "user_id", "username", "score", "reached_at"}
    whole, _, micros = entry["reached_at"].removesuffix("Z").partition(".")
    seconds = int(time.mktime(time.strptime(whole + " UTC", "%Y-%m-%dT%H:%M:%S %Z")) - time.timezone)
    assert len(micros) == 6
    return Line(entry["user_id"], entry["username"], entry["score"], seconds * 1_000_000 + int(micros))


def eventually(holds: Callable[[], Any], seconds: float = WAIT_SECONDS) -> None:
    deadline = time.monotonic() + seconds
    while not holds():
        assert time.monotonic() < deadline, "it never came true"
        time.sleep(0.02)


def ended(socket: ClientConnection, seconds: float = WAIT_SECONDS) -> tuple[int, str]:
    """Read until the socket is closed; its code and the name of the reason."""
    deadline = time.monotonic() + seconds

    def read_on() -> None:
        while True:
            socket.recv(max(0.01, deadline - time.monotonic()))

    with pytest.raises(ConnectionClosed) as closed:
        read_on()
    assert closed.value.rcvd is not None
    return closed.value.rcvd.code, closed.value.rcvd.reason.partition(":")[0]


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@pytest.fixture(scope="module")
def environ() -> Iterator[dict[str, str]]:
    with tempfile.TemporaryDirectory(prefix="sb-") as folder:
        data = Path(folder)
        with start_postgres(data / "pg") as database_url, start_valkey(data / "vk") as redis_url:
            schema.upgrade(database_url)
            yield {
                "DATA_DIR": str(data),
                "DATABASE_URL": database_url,
                "REDIS_URL": redis_url,
                "BROKER_URL": broker_url(data / "vk", "cache"),
                "TOKEN_KEYS": f"one:{'ab' * 32}",
                "ENCRYPTION_KEYS": f"one:{'cd' * 32}",
                "ALLOWED_ORIGINS": "https://game.example",
                "LIMIT_ADDRESS": "100000/second",
                "LIMIT_USER": "100000/second",
                "PORT": str(free_port()),
            }


@contextmanager
def running(environ: dict[str, str], **changes: str) -> Iterator[Process]:
    """A socket process of its own, gone when the context ends, however it ends."""
    port = free_port()
    environ = environ | {"SOCKETS_PORT": str(port)} | changes
    settings = Settings.from_env(environ)
    log = Path(environ["DATA_DIR"]) / f"sockets-{port}.log"
    with log.open("wb") as output:
        gunicorn = subprocess.Popen(
            [sys.executable, "-m", "gunicorn", "--config", "web/live/gunicorn_conf.py", "web.live.app:create_app()"],
            env={"PATH": os.environ["PATH"], **environ},
            stdout=output,
            stderr=output,
        )
    stores = open_stores(settings)
    process = Process(port, environ, stores, Identity(Flask("test"), settings, stores.revocations), gunicorn, log)

    def ready() -> bool:
        assert gunicorn.poll() is None, log.read_text()
        return status(process, "/readyz") == 200

    try:
        eventually(ready, seconds=30)
        yield process
    finally:
        gunicorn.terminate()
        try:
            gunicorn.wait(timeout=15)
        finally:
            gunicorn.kill()
            gunicorn.wait()
            log_lines.check(log)
            stores.close()


def status(process: Process, path: str, headers: dict[str, str] | None = None) -> int:
    connection = http.client.HTTPConnection("127.0.0.1", process.port, timeout=5)
    try:
        connection.request("GET", path, headers=headers or {})
        answer = connection.getresponse()
        if answer.status >= 400:
            assert answer.headers["Content-Type"] == "application/problem+json"
            assert answer.headers["X-Request-ID"] == json.load(answer)["request_id"]
        return answer.status
    except OSError:
        return 0
    finally:
        connection.close()


@pytest.fixture(scope="module")
def process(environ: dict[str, str]) -> Iterator[Process]:
    with running(environ) as one:
        yield one


def test_a_socket_holds_the_top_by_deltas_alone(process: Process) -> None:
    players = [process.player() for _ in range(12)]
    with process.open() as socket:
        listener = Listener(socket, top=10)
        listener.receive()
        for round_ in range(30):
            process.score(players[round_ * 7 % 12], value=1 + round_ % 9)
        listener.until(lambda: listener.version == process.stores.ranking.version(BOARD))
        assert listener.lines == process.top(10)
        assert listener.kinds[0] == "snapshot"
        assert set(listener.kinds[1:]) == {"delta"}


def test_a_player_hears_of_their_own_score(process: Process) -> None:
    player = process.player()
    with process.open() as socket:
        listener = Listener(socket, token=player.token)
        assert listener.next("you") == {"type": "you", "score": None, "rank": None}
        action = player.action(value=3)
        socket.send(json.dumps({"type": "score", **action}))
        assert listener.next("ack") == {"type": "ack", "action_id": action["action_id"], "status": "queued"}
        process.work()
        applied = listener.next("applied")
        result = {"board": BOARD, "previous_score": 0, "score_increment": 30, "new_score": 30}
        rank = applied["results"][0]["rank"]
        assert applied == {
            "type": "applied",
            "action_id": action["action_id"],
            "status": "applied",
            "results": [result | {"rank": rank}],
        }
        assert listener.next("you") == {"type": "you", "score": 30, "rank": rank}
        socket.send(json.dumps({"type": "score", **action}))
        assert listener.next("ack")["action_id"] == action["action_id"]
        assert listener.next("applied") == applied


def test_a_refused_update_is_answered_and_the_socket_goes_on(process: Process) -> None:
    player = process.player()
    with process.open() as socket:
        listener = Listener(socket, token=player.token)
        forged = player.action(signature="0" * 64)
        socket.send(json.dumps({"type": "score", **forged}))
        refused = listener.next("error")
        assert (refused["code"], refused["action_id"]) == ("signature_invalid", forged["action_id"])
        socket.send(json.dumps({"type": "score", **player.action(), "bonus": 1}))
        assert listener.next("error")["code"] == "validation_failed"
        socket.send('{"type":"ping"}')
        assert listener.next("pong") == {"type": "pong"}


def test_a_commit_that_takes_long_holds_up_nobody(process: Process) -> None:
    player = process.player()
    with process.open() as socket, process.stores.engine.connect() as connection:
        listener = Listener(socket, token=player.token)
        listener.next("you")
        connection.execute(text("LOCK TABLE inbox IN ACCESS EXCLUSIVE MODE"))
        socket.send(json.dumps({"type": "score", **player.action()}))
        for _ in range(20):
            socket.send('{"type":"ping"}')
            started = time.monotonic()
            assert listener.next("pong") == {"type": "pong"}
            assert time.monotonic() - started < 0.5
            time.sleep(0.01)
        assert not listener.others
        connection.rollback()
        assert listener.next("ack")["status"] == "queued"


def test_scores_need_a_token(process: Process) -> None:
    with process.open() as socket:
        listener = Listener(socket)
        socket.send(json.dumps({"type": "score", **process.player().action()}))
        assert listener.next("error")["code"] == "token_missing"


def test_a_client_that_comes_back_gets_a_delta(process: Process) -> None:
    player = process.player()
    process.score(player)
    with process.open() as first, process.open() as second:
        witness, listener = Listener(first), Listener(second)
        witness.receive()
        listener.receive()
        second.close()
        process.score(player)
        witness.until(lambda: witness.version == process.stores.ranking.version(BOARD))
        with process.open() as again:
            back = Listener(again, resume={"version": listener.version})
            back.version, back.lines = listener.version, listener.lines
            assert back.receive()["type"] == "delta"
            assert (back.version, back.lines) == (witness.version, witness.lines)
        with process.open() as again:
            back = Listener(again, resume={"version": witness.version})
            back.version = witness.version
            assert (back.receive() | {"total": 0}) == {
                "type": "delta",
                "from_version": witness.version,
                "version": witness.version,
                "total": 0,
                "removals": [],
                "upserts": [],
            }
        with process.open() as again:
            assert Listener(again, resume={"version": 2**62}).receive()["type"] == "snapshot"


def test_a_second_subscription_takes_the_place_of_the_first(process: Process) -> None:
    for _ in range(3):
        process.score(process.player())
    with process.open() as socket:
        listener = Listener(socket, top=1)
        assert len(listener.receive()["entries"]) == 1
        socket.send('{"type":"subscribe","top":2}')
        assert len(listener.receive()["entries"]) == 2


@pytest.mark.parametrize(
    ("message", "code", "reason"),
    [
        ("{", 4400, "malformed"),
        ("[" * 10_000, 4400, "malformed"),
        ("[]", 4400, "malformed"),
        ('{"type":"subscribe","top":0}', 4400, "members_invalid"),
        ('{"type":"subscribe","top":1001}', 4400, "members_invalid"),
        ('{"type":"subscribe","colour":"red"}', 4400, "members_invalid"),
        ('{"type":"ping","x":1}', 4400, "members_invalid"),
        ('{"type":"shout"}', 4400, "type_unknown"),
        (b"{}", 4400, "no_text"),
        ('{"type":"subscribe","token":"nonsense"}', 4401, "token_invalid"),
        (json.dumps({"type": "ping", "x": "y" * 16_384}), 4400, "too_large"),
    ],
)
def test_what_is_no_message_ends_the_socket(process: Process, message: str | bytes, code: int, reason: str) -> None:
    with process.open() as socket:
        socket.send(message)
        assert ended(socket) == (code, reason)


def test_an_unknown_board_has_a_code_that_browsers_can_read(process: Process) -> None:
    with process.open("/ws/v1/leaderboards/nowhere") as socket:
        assert ended(socket) == (4404, "board_unknown")


def test_who_talks_too_much_is_closed(process: Process) -> None:
    with process.open() as socket:
        for _ in range(250):
            socket.send('{"type":"ping"}')
        assert ended(socket) == (4429, "too_many_messages")


def test_a_revoked_token_ends_the_socket_within_a_second(process: Process) -> None:
    player = process.player()
    with process.open() as socket:
        Listener(socket, token=player.token).next("you")
        with process.stores.engine.begin() as connection:
            tokens.revoke(connection, player.family, reason="test", expires_at=int(time.time()) + 900)
        revoked_at = time.monotonic()
        assert ended(socket) == (4401, "token_revoked")
        assert time.monotonic() - revoked_at < 1.0


def test_pages_of_strangers_are_refused_before_the_handshake(process: Process) -> None:
    headers = {
        "Connection": "Upgrade",
        "Upgrade": "websocket",
        "Sec-WebSocket-Version": "13",
        "Sec-WebSocket-Key": "dGhlIHNhbXBsZSBub25jZQ==",
    }
    path = f"/ws/v1/leaderboards/{BOARD}"
    assert status(process, path, headers | {"Origin": "https://evil.example"}) == 403
    assert status(process, path, headers | {"Sec-WebSocket-Version": "8"}) == 426
    assert status(process, path, headers | {"Sec-WebSocket-Key": "short"}) == 400
    assert status(process, path, headers | {"Sec-WebSocket-Protocol": "chat"}) == 400
    assert status(process, path) == 426
    with process.open(origin="https://game.example") as socket:
        Listener(socket).receive()


STRANGE_ORIGINS = (
    "null",
    "",
    "https://evil.example",
    "http://game.example",
    "https://game.example:8443",
    "https://game.example.evil.example",
    "https://evil-game.example",
    "https://game.example@evil.example",
    "https://game.example/",
    "https://gаme.example",  # a Cyrillic letter
    "https://game.example, https://evil.example",
    "file://",
    "*",
)


@pytest.mark.parametrize("origin", STRANGE_ORIGINS)
def test_no_page_of_a_stranger_opens_a_socket(process: Process, origin: str, tried) -> None:
    with socket.create_connection(("127.0.0.1", process.port), timeout=5) as client:
        head = (
            f"GET /ws/v1/leaderboards/{BOARD} HTTP/1.1\r\nHost: here\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n"
        )
        head += f"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nOrigin: {origin}\r\n\r\n"
        client.sendall(head.encode())
        status = int(client.recv(4096).split()[1])
    tried("sockets: a stranger's or a look-alike Origin", accepted=status == 101)
    assert status in (400, 403)


def ticket_of(process: Process, player: Player) -> str:
    return process.identity.issue_ticket(process.identity.verify(player.token))


def test_a_ticket_opens_one_socket(process: Process, tried) -> None:
    player = process.player()
    ticket = ticket_of(process, player)
    with process.open() as first, process.open() as second:
        listener = Listener(first, ticket=ticket)
        listener.next("you")
        process.score(player, 3)
        assert listener.next("you")["score"] == 30
        second.send(json.dumps({"type": "subscribe", "ticket": ticket}))
        tried("sockets: a ticket used twice, a token as ticket, a ticket as token")
        assert ended(second) == (4401, "token_revoked")
        tokens_of = [{"ticket": player.token}, {"token": ticket_of(process, player)}, {"ticket": "x"}]
        for member in tokens_of:
            with process.open() as socket:
                socket.send(json.dumps({"type": "subscribe", **member}))
                tried("sockets: a ticket used twice, a token as ticket, a ticket as token")
                assert ended(socket) == (4401, "token_invalid")
        with process.stores.engine.begin() as connection:  # signing out ends what its ticket opened
            tokens.revoke(connection, player.family, reason="test", expires_at=int(time.time()) + 900)
        assert ended(first) == (4401, "token_revoked")


def from_address(process: Process, address: str) -> ClientConnection:
    """A socket of another address of this machine."""
    bound = socket.create_connection(("127.0.0.1", process.port), source_address=(address, 0))
    return process.open(sock=bound)


def test_an_address_that_is_blocked_loses_its_sockets_within_a_second_and_gets_none(process: Process) -> None:
    """I10."""
    why = Why("tests", "a test")
    with from_address(process, "127.0.0.2") as theirs, process.open() as ours:
        Listener(theirs).receive()
        Listener(ours).receive()
        process.stores.desk.restrict("address", "127.0.0.2", "block", why)
        blocked_at = time.monotonic()
        assert ended(theirs) == (4429, "address_blocked")
        assert time.monotonic() - blocked_at < 1.0
        with from_address(process, "127.0.0.2") as again:
            assert ended(again) == (4429, "address_blocked")
        ours.send('{"type":"ping"}')
        assert json.loads(ours.recv(5))["type"] == "pong"
    process.stores.desk.lift("address", "127.0.0.2", "block", why)

    def lets_in() -> bool:
        with from_address(process, "127.0.0.2") as socket:
            try:
                socket.send('{"type":"subscribe"}')
                return bool(json.loads(socket.recv(5))["type"] == "snapshot")
            except ConnectionClosed:
                return False

    eventually(lets_in, seconds=2)


def test_a_player_who_is_blocked_loses_all_sockets_within_a_second(process: Process) -> None:
    """I10."""
    player, why = process.player(), Why("tests", "a test")
    with process.stores.engine.connect() as connection:
        name = connection.execute(
            text("SELECT username FROM users WHERE id = :id"), {"id": player.user_id}
        ).scalar_one()
    with process.open() as first, process.open() as second:
        for each in (first, second):
            Listener(each, token=player.token).next("you")
        process.stores.desk.restrict("user", name, "block", why, seconds=60)
        blocked_at = time.monotonic()
        assert ended(first) == ended(second) == (4401, "user_blocked")
        assert time.monotonic() - blocked_at < 1.5


def test_a_player_has_64_sockets(process: Process) -> None:
    player = process.player()
    with ExitStack() as held:
        opened = [held.enter_context(process.open()) for _ in range(65)]
        for each in opened[:64]:
            Listener(each, token=player.token).next("you")
        opened[64].send(json.dumps({"type": "subscribe", "token": player.token}))
        assert ended(opened[64]) == (4429, "too_many_of_user")
        opened[0].close()
        with process.open() as one_more:
            Listener(one_more, token=player.token).next("you")


def test_compression_is_not_negotiated_and_the_subprotocol_is(process: Process) -> None:
    with process.open(compression="deflate") as socket:
        assert socket.subprotocol == "scoreboard.v1"
        assert socket.protocol.extensions == []


def test_nothing_of_http_is_written_after_the_handshake(process: Process) -> None:
    with raw(process) as client:
        client.settimeout(1.0)
        with pytest.raises(TimeoutError):
            client.recv(1)  # silence: no stray bytes of gunicorn's
        client.sendall(masked(0x9, b"hello"))
        assert client.recv(100) == b"\x8a\x05hello"
        client.sendall(masked(0x8, struct.pack("!H", 1000)))
        assert client.recv(100) == b"\x88\x02\x03\xe8"
        assert client.recv(100) == b""


def test_fragments_and_split_frames_are_put_together(process: Process) -> None:
    with raw(process) as client:
        client.settimeout(5)
        frames = masked(0x1, b'{"type":', fin=False) + masked(0x9, b"!") + masked(0x0, b'"ping"}')
        for byte in frames:
            client.sendall(bytes([byte]))
        expected = b'\x8a\x01!\x81\x0f{"type":"pong"}'
        received = b""
        while len(received) < len(expected):
            received += client.recv(100)
        assert received == expected


@pytest.mark.parametrize(
    ("data", "code"),
    [
        (b"\x81\x02hi", 1002),  # not masked
        (b"\xf1\x80\0\0\0\0", 1002),  # reserved bits
        (b"\x83\x80\0\0\0\0", 1002),  # reserved opcode
        (b"\x81\x81\0\0\0\0\xff", 1007),
        (b"\x81\xff" + struct.pack("!Q", 2**40) + b"\0\0\0\0" + b"x" * 20_000, 4400),
    ],
)
def test_what_is_no_frame_ends_the_socket(process: Process, data: bytes, code: int) -> None:
    with raw(process) as client:
        client.settimeout(5)
        client.sendall(data)
        frame = client.recv(200)
        assert frame[0] == 0x88
        assert struct.unpack("!H", frame[2:4])[0] == code


def test_whoever_floods_is_cut_off_and_takes_no_memory(process: Process) -> None:
    """Frames of 10 MB, endless fragments, endless control frames: nothing of them is kept, and others go on."""
    frame = b"\x81\xff" + struct.pack("!Q", 10_000_000) + b"\0\0\0\0" + b"x" * 10_000_000
    floods = {
        "a frame of 10 MB": frame,
        "fragments without an end": masked(0x1, b"{", fin=False) + masked(0x0, b" " * 100, fin=False) * 100_000,
        "fragments of nothing": masked(0x1, b"", fin=False) + masked(0x0, b"", fin=False) * 2_000_000,
        "pings": masked(0x9, b"x" * 125) * 80_000,
    }
    with process.open() as healthy:
        witness = Listener(healthy)
        witness.receive()
        before = process.worker().memory_info().rss
        for _ in range(3):
            assert [what for what, data in floods.items() if takes(process, data)] == []
        assert process.worker().memory_info().rss - before < 30 * 2**20
        process.score(process.player())
        witness.until(lambda: witness.lines == process.top(100))


def test_a_slow_reader_gets_fewer_larger_deltas_and_the_right_list(process: Process) -> None:
    players = [process.player() for _ in range(400)]

    def play(who: list[Player], round_: int) -> None:
        """In one commit, so that the reader is not taken for hopeless before its turn comes."""
        updates = [
            ServerUpdate(player.user_id, f"{player.user_id}-{round_}", "level_complete", 1 + (place + round_) % 90)
            for place, player in enumerate(who)
        ]
        process.stores.acceptor.accept_batch(updates, address=None, request_id="test")
        process.work()

    play(players, -1)
    with raw(process, receive_buffer=4096) as client, process.open() as healthy:
        witness = Listener(healthy, top=1000)
        client.sendall(masked(0x1, b'{"type":"subscribe","top":1000}'))
        for round_ in range(40):
            play(players[round_ % 8 :: 8], round_)
            if round_ == 20:
                witness.until(lambda: witness.version == process.stores.ranking.version(BOARD))
        witness.until(lambda: witness.version == process.stores.ranking.version(BOARD))
        version, lines, messages = -1, [], 0
        for message in messages_of(client):
            if message["type"] == "snapshot":
                lines = [line(entry) for entry in message["entries"]]
            else:
                assert message["from_version"] == version
                upserts = tuple((entry["rank"], line(entry)) for entry in message["upserts"])
                lines = apply(lines, Delta(tuple(message["removals"]), upserts))
            version, messages = message["version"], messages + 1
            if version == witness.version:
                break
        assert lines == witness.lines == process.top(1000)
        assert messages < len(witness.kinds)


@pytest.mark.slow
def test_a_hopeless_reader_is_closed(process: Process) -> None:
    with raw(process, receive_buffer=4096) as client:
        client.sendall(masked(0x1, b'{"type":"subscribe","top":1000}'))
        started = time.monotonic()

        def stuck() -> bool:
            client.sendall(masked(0x1, b'{"type":"subscribe","top":1000}'))  # each asks for a snapshot more
            time.sleep(0.05)
            return time.monotonic() - started > 10.5

        eventually(stuck, seconds=15)
        client.settimeout(10)
        received = b""
        while chunk := client.recv(65536):
            received += chunk
        assert b"too_slow" in received[-200:]


def test_nothing_leaks_when_sockets_come_and_go(process: Process) -> None:
    with process.open() as socket:
        Listener(socket).receive()
    worker = process.worker()
    eventually(lambda: json.loads(fetch(process, "/readyz"))["sockets"] == 0)
    descriptors, threads = worker.num_fds(), worker.num_threads()
    for _ in range(3):
        sockets = [process.open(legacy=True) for _ in range(30)]
        for socket in sockets[:10]:
            Listener(socket).receive()
        for socket in sockets[:20]:
            socket.close()
        for socket in sockets[20:]:  # as when the network goes
            reset(socket.socket)
    eventually(lambda: json.loads(fetch(process, "/readyz"))["sockets"] == 0)
    eventually(lambda: [each.status for each in worker.net_connections(kind="tcp")] == [psutil.CONN_LISTEN])
    assert worker.num_threads() == threads
    assert worker.num_fds() <= descriptors + 20  # what the pools of Redis and Postgres may have added, not 90 sockets


def test_the_feed_may_be_cut_and_the_board_moves_on(process: Process) -> None:
    player = process.player()
    with process.open() as socket:
        listener = Listener(socket, top=1000)
        listener.receive()
        for _ in range(5):
            process.stores.redis.client_kill_filter(_type="pubsub")
            process.score(player)
            listener.until(lambda: listener.version == process.stores.ranking.version(BOARD))
        assert listener.lines == process.top(1000)


def test_a_change_that_nobody_was_told_of_is_seen_all_the_same(process: Process, monkeypatch) -> None:
    """Events are hints: the board's version is looked at besides."""
    player = process.player()
    with process.open() as socket:
        listener = Listener(socket, top=1000)
        listener.receive()
        monkeypatch.setattr(events, "publish", lambda *_: None)
        process.score(player)
        listener.until(lambda: listener.version == process.stores.ranking.version(BOARD))
        assert listener.lines == process.top(1000)


@pytest.mark.slow
def test_a_frozen_redis_is_left_and_listened_to_anew(process: Process) -> None:
    player = process.player()
    valkey = psutil.Process(process.stores.redis.info()["process_id"])
    with process.open() as socket:
        listener = Listener(socket, top=1000)
        listener.receive()
        valkey.suspend()
        try:
            eventually(lambda: status(process, "/readyz") == 503)
            assert status(process, "/healthz") == 200
            socket.send('{"type":"ping"}')
            listener.next("pong")
        finally:
            valkey.resume()
        eventually(lambda: status(process, "/readyz") == 200)
        process.score(player)
        listener.until(lambda: listener.version == process.stores.ranking.version(BOARD))
        assert listener.lines == process.top(1000)


def test_an_emptied_redis_is_no_loss(process: Process) -> None:
    player = process.player()
    process.score(player)
    with process.open() as socket:
        listener = Listener(socket, top=1000)
        listener.receive()
        process.stores.redis.flushall()
        process.score(player)
        listener.until(lambda: listener.version == process.stores.ranking.version(BOARD))
        assert listener.lines == process.top(1000)


def test_several_processes_share_the_port(environ: dict[str, str]) -> None:
    with running(environ, SOCKETS_PROCESSES="2") as process:
        player, sockets = process.player(), []

        def both_serve() -> bool:
            """The kernel gives a connection to whoever is quick."""
            sockets.append(process.open(legacy=True))
            return all(len(child.net_connections(kind="tcp")) > 1 for child in process.workers())

        eventually(both_serve, seconds=30)
        listeners = [Listener(socket, top=1000) for socket in sockets]
        for _ in range(3):
            process.score(player)
        for listener in listeners:
            listener.until(lambda listener=listener: listener.version == process.stores.ranking.version(BOARD))
            assert listener.lines == process.top(1000)
        process.gunicorn.send_signal(signal.SIGTERM)
        assert {ended(socket) for socket in sockets} == {(1001, "going_away")}


def test_at_the_end_everybody_is_told_to_go_elsewhere(environ: dict[str, str]) -> None:
    with running(environ) as process:
        with process.open() as socket:
            Listener(socket).receive()
            started = time.monotonic()
            process.gunicorn.send_signal(signal.SIGTERM)
            assert ended(socket) == (1001, "going_away")
            process.gunicorn.wait(timeout=10)
            assert time.monotonic() - started < 5
        assert "Traceback" not in process.log.read_text()


def reset(connection: socket.socket) -> None:
    """End a connection without a word but TCP's RST."""
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    connection.close()


def fetch(process: Process, path: str) -> bytes:
    with urllib.request.urlopen(f"http://127.0.0.1:{process.port}{path}", timeout=5) as answer:
        body: bytes = answer.read()
        return body


def raw(process: Process, receive_buffer: int | None = None) -> socket.socket:
    """A TCP connection after the handshake."""
    client = socket.socket()
    if receive_buffer:
        client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receive_buffer)
    client.connect(("127.0.0.1", process.port))
    client.sendall(
        f"GET /ws/v1/leaderboards/{BOARD} HTTP/1.1\r\nHost: here\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n"
        "Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n".encode()
    )
    answer = b""
    while not answer.endswith(b"\r\n\r\n"):
        answer += client.recv(1)
    assert answer.startswith(b"HTTP/1.1 101")
    return client


def takes(process: Process, data: bytes) -> bool:
    """Whether a socket takes all of it; else it is cut off or not read any more."""
    with raw(process) as client:
        client.settimeout(5)
        try:
            client.sendall(data)
        except OSError:
            return False
        return True


def masked(opcode: int, payload: bytes, *, fin: bool = True) -> bytes:
    assert len(payload) < 126
    return bytes([0x80 * fin | opcode, 0x80 | len(payload), 0, 0, 0, 0]) + payload


def messages_of(client: socket.socket) -> Iterator[dict[str, Any]]:
    """Text messages of a server, unfragmented."""
    client.settimeout(WAIT_SECONDS)
    stream = client.makefile("rb")
    while True:
        first, length = stream.read(2)
        if length == 126:
            (length,) = struct.unpack("!H", stream.read(2))
        elif length == 127:
            (length,) = struct.unpack("!Q", stream.read(8))
        payload = stream.read(length)
        if first == 0x81:
            yield json.loads(payload)
