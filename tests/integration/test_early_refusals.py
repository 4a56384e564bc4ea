"""When no more are let in, an update is refused from its bytes, with what the parsed way says."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import replace

import pytest
from flask import Flask
from hypothesis import given
from hypothesis import strategies as st
from prometheus_client import REGISTRY

from models.settings import Settings
from tests.fixtures.api import OpenApi
from tests.fixtures.served import Answer, Line
from web.api.serving.early_refusals import REQUEST_LINE, EarlyRefusals
from web.api.serving.protocol import HEAD_BYTES_MOST
from web.api.serving.serving import EXTENSION as SERVING
from web.gate import EXTENSION as GATE
from web.gate import Gate

ORIGIN = "https://game.example"
ORDINARY = ("Host: here", "Authorization: Bearer x", "Content-Type: application/json")


@pytest.fixture
def api(open_api: OpenApi, settings: Settings) -> Flask:
    """The API, for pages on one origin."""
    return open_api(replace(settings, allowed_origins=(ORIGIN,)))


@pytest.fixture
def full(api: Flask, monkeypatch: pytest.MonkeyPatch) -> Gate:
    """Nobody's writes are let in."""
    gate: Gate = api.extensions[GATE]
    monkeypatch.setattr(gate.writes, "_most", 0)
    return gate


@pytest.fixture
def unparsed(monkeypatch: pytest.MonkeyPatch) -> Callable[[], int]:
    """How many were refused without being parsed."""
    refused: list[bytes] = []
    to = EarlyRefusals.to

    def counted(refusals: EarlyRefusals, data: bytes, date: bytes) -> bytes | None:
        answer = to(refusals, data, date)
        if answer is not None:
            refused.append(answer)
        return answer

    monkeypatch.setattr(EarlyRefusals, "to", counted)
    return lambda: len(refused)


@pytest.fixture
def line(connect: Callable[[], Line], full: Gate) -> Line:
    """A connection that has had its first answer."""
    line = connect()
    line.send(b"GET /healthz HTTP/1.1\r\nHost: here\r\n\r\n")
    assert line.answer().status == 200
    return line


def update(*headers: str, body: bytes = b"{}", length: str | None = None) -> bytes:
    """A request with these header lines."""
    lines = "\r\n".join([*headers, length or f"Content-Length: {len(body)}"])
    return REQUEST_LINE + lines.encode() + b"\r\n\r\n" + body


def parsed(line: Line, request: bytes) -> Answer:
    """What is said to a request that comes in two pieces."""
    line.send(request[:10])
    time.sleep(0.05)
    line.send(request[10:])
    return line.answer()


@pytest.mark.parametrize(
    "headers",
    [
        ORDINARY,
        (*ORDINARY, "X-Request-ID: mine-1"),
        (*ORDINARY, "x-request-id:mine-1", "X-REQUEST-ID: mine-2"),
        (*ORDINARY, "X-Request-ID: not sane"),
        (*ORDINARY, f"Origin: {ORIGIN}"),
        (*ORDINARY, "Origin: https://elsewhere.example"),
        (*ORDINARY, "Connection: Keep-Alive"),
    ],
)
def test_the_answer_is_the_parsed_ones(line, unparsed, headers, contents) -> None:
    before, request = contents(), update(*headers)
    line.send(request)
    quick = line.answer()
    assert (quick.status, quick.document["code"], unparsed()) == (503, "overloaded", 1)
    slow = parsed(line, request)
    assert unparsed() == 1
    assert quick.told == slow.told
    for answer in (quick, slow):
        assert answer.headers["x-request-id"] == answer.document["request_id"]
    if "mine" in quick.headers["x-request-id"]:
        assert quick.headers["x-request-id"] == slow.headers["x-request-id"]
    assert contents() == before


@pytest.mark.parametrize(
    ("request_bytes", "statuses"),
    [
        (update(*ORDINARY) * 2, [503, 503]),  # pipelined
        (update(*ORDINARY, length="Transfer-Encoding: chunked", body=b"2\r\n{}\r\n0\r\n\r\n"), [503]),
        (update(*ORDINARY, "Transfer-Encoding: chunked", body=b"0\r\n\r\n"), [400]),
        (update(*ORDINARY, "Content-Length: 3"), [400]),
        (update(*ORDINARY, "Connection: close"), [503]),
        (update(*ORDINARY).replace(b"POST", b"PUT"), [405]),
        (update(*ORDINARY).replace(b"HTTP/1.1", b"HTTP/1.0"), [503]),
        (update(*ORDINARY, "X: " + "x" * HEAD_BYTES_MOST), [503]),
    ],
)
def test_whatever_is_not_ordinary_is_parsed(line, unparsed, request_bytes, statuses) -> None:
    line.send(request_bytes)
    assert [line.answer().status for _ in statuses] == statuses
    assert unparsed() == 0


def test_in_the_middle_of_a_request_nothing_is_taken_for_one(line, unparsed) -> None:
    inner = update(*ORDINARY)
    line.send(update(*ORDINARY, body=inner)[: -len(inner)])
    time.sleep(0.05)
    line.send(inner)
    assert line.answer().status == 503
    line.send(b"GET /healthz HTTP/1.1\r\nHost: here\r\n\r\n")
    assert line.answer().status == 200
    assert unparsed() == 0


def test_refusals_are_counted_and_said_once_a_second(api, line, unparsed, eventually, monkeypatch) -> None:
    told: list[int] = []
    refused = Gate.refused
    monkeypatch.setattr(Gate, "refused", lambda gate, lane, n: (told.append(n), refused(gate, lane, n)))
    counted, total = _count("scoreboard_refused_total", code="overloaded"), _total(api)
    for _ in range(20):
        line.send(update(*ORDINARY))
        assert line.answer().status == 503
    assert parsed(line, update(*ORDINARY)).status == 503
    eventually(lambda: sum(told) == 21)
    assert len(told) <= 2
    assert _count("scoreboard_refused_total", code="overloaded") == counted + 21
    assert _total(api) == total + 21


def test_who_is_refused_keeps_the_connection(server, line, monkeypatch) -> None:
    server.config.timeout_keep_alive = 1
    ends_at = time.monotonic() + 2
    while time.monotonic() < ends_at:
        line.send(update(*ORDINARY))
        assert line.answer().status == 503
        time.sleep(0.2)


@pytest.fixture(scope="module")
def refusals() -> EarlyRefusals:
    """Those of a gate without an API."""
    return EarlyRefusals(Gate(lambda *_: [], []), _Nothing(), frozenset({ORIGIN}))  # type: ignore[arg-type]


class _Nothing:
    def count_untimed(self, *_told: object) -> None:
        """Nobody asks."""


@given(st.data())
def test_only_what_is_exactly_one_request_is_answered(refusals: EarlyRefusals, data: st.DataObject) -> None:
    """Whatever is cut from it, or put into it, that changes where it ends."""
    body = data.draw(st.binary(max_size=40))
    request = update(*ORDINARY, body=body)
    assert refusals.to(request, b"") is not None
    cut = data.draw(st.integers(0, len(request) - 1))
    assert refusals.to(request[:cut], b"") is None
    assert refusals.to(request + data.draw(st.binary(min_size=1, max_size=40)), b"") is None
    more = data.draw(
        st.sampled_from(
            [
                "Content-Length: 1",
                "content-length : 2",
                "Transfer-Encoding: chunked",
                "X: y\nContent-Length: 0",
                "Connection: close",
                "Connection: upgrade",
                "connection:close",
                "X: a\n transfer-encoding: chunked",
            ]
        )
    )
    assert refusals.to(update(*ORDINARY, more, body=body), b"") is None


def _total(api: Flask) -> float:
    registry = api.extensions[SERVING].requests.registry
    return registry.get_sample_value("flask_http_request_total", {"method": "POST", "status": "503"}) or 0.0


def _count(name: str, **labels: str) -> float:
    return REGISTRY.get_sample_value(name, labels) or 0.0
