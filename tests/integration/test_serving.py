"""HTTP as it comes over the wire: the early route answers as Flask does, and bad clients harm nobody else."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable

import pytest
from flask import Flask
from limits import parse

from tests.fixtures.api import SignedIn
from tests.fixtures.people import as_json, sign
from tests.fixtures.served import TWICE, Line
from web import credit
from web.api.serving import protocol as protocol_module
from web.api.serving import serving as serving_module
from web.api.serving.protocol import HEAD_BYTES_MOST
from web.api.serving.serving import EXTENSION as SERVING
from web.credit import Limit
from web.services import EXTENSION as SERVICES

UPDATE = "/api/v1/scores/update"


@pytest.fixture
def early(
    api: Flask, connect: Callable[[], Line], answered_early: Callable[[], int], eventually, monkeypatch
) -> Callable[[], int]:
    """`early()` counts the requests that were answered without Flask; credit is there when this is."""
    monkeypatch.setattr(credit, "JOINING_SECONDS", 0)
    limits = api.extensions[SERVICES].limits
    api.extensions[SERVICES].stores.revocations.start()
    limits.start()
    eventually(lambda: limits.write_on_credit("192.0.2.1", "nobody"))
    return answered_early


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


def test_an_early_answer_is_counted_against_the_limits(api, connect, early, player) -> None:
    api.extensions[SERVICES].limits._user = (Limit(parse("100/hour"), "tests"),)
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


def test_a_request_that_does_not_come_whole_is_waited_for_no_longer_than_the_limit(monkeypatch, api, request) -> None:
    monkeypatch.setattr(protocol_module, "REQUEST_SECONDS_MOST", 0.3)
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


def test_a_connection_is_kept_while_it_is_used(monkeypatch, server, connect) -> None:
    monkeypatch.setattr(serving_module, "LOOK_SECONDS", 0.1)
    server.config.timeout_keep_alive = 1
    idle, used = connect(), connect()
    for line in (idle, used):
        line.send(b"GET /healthz HTTP/1.1\r\nHost: here\r\n\r\n")
        assert line.answer().status == 200
    ends_at = time.monotonic() + 2
    while time.monotonic() < ends_at:
        used.send(b"GET /healthz HTTP/1.1\r\nHost: here\r\n\r\n")
        assert used.answer().status == 200
        time.sleep(0.1)
    assert idle.ends()


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


def test_who_comes_after_all_were_told_to_end_is_told_too(server, connect, monkeypatch) -> None:
    async def tells_nobody(sockets: object = None) -> None:
        await asyncio.sleep(4)

    monkeypatch.setattr(server, "shutdown", tells_nobody)
    server.should_exit = True
    assert connect().ends()


def test_behind_proxies_the_address_is_the_one_they_saw(api, connect, early, player, query) -> None:
    line = connect()
    before = early()
    line.send(post(player, as_json(sign(player.account, "direct")), "X-Forwarded-For: 203.0.113.7"))
    assert line.answer().status == 202
    api.extensions[SERVING]._update._hops = 1
    line.send(post(player, as_json(sign(player.account, "behind")), "X-Forwarded-For: 198.51.100.9, 203.0.113.7"))
    assert line.answer().status == 202
    assert early() == before + 2
    found = query("SELECT action_id, ip_address FROM inbox WHERE action_id IN ('direct', 'behind') ORDER BY action_id")
    assert [(action_id, str(address)) for action_id, address in found] == [
        ("behind", "203.0.113.7"),
        ("direct", "127.0.0.1"),
    ]
