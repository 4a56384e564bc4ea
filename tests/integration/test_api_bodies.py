"""Bodies and addresses that parsers trip over: at every call an answer of the contract, never a 5xx (I9)."""

from __future__ import annotations

import base64
import http.client
import json
from collections.abc import Callable, Iterator
from urllib.parse import urlsplit
from uuid import uuid4

import msgspec
import pytest
from flask.testing import FlaskClient

from models.pipeline.updates import SignedUpdate
from tests.fixtures.api import SignedIn, bearer
from tests.fixtures.bodies import BODIES, MALFORMED
from tests.fixtures.live_stack import LiveStack
from tests.fixtures.people import as_json, sign
from web.problems import STATUS_OF

HEADERS = {"Content-Type": "application/json"}
CALLS = {
    "update": "/api/v1/scores/update",
    "batch": "/api/v1/scores/batch",
    "register": "/api/v1/users",
    "token": "/api/v1/auth/token",
    "ranks": "/api/v1/leaderboards/global/ranks",
}


@pytest.fixture
def authorised(sign_up: Callable[[], SignedIn], service_headers) -> dict[str, dict[str, str]]:
    """Headers with which each call reads its body."""
    return {
        "update": {**HEADERS, **sign_up().headers},
        "batch": {**HEADERS, **service_headers("scores:write")},
        "register": HEADERS,
        "token": HEADERS,
        "ranks": HEADERS,
    }


@pytest.mark.parametrize("call", CALLS)
def test_no_body_does_anything_but_get_a_problem(client: FlaskClient, authorised, contents, call: str) -> None:
    before = contents()
    for name, (body, expected) in BODIES.items():
        answer = client.post(CALLS[call], data=body, headers=authorised[call])
        code = answer.get_json(force=True).get("code")
        assert answer.status_code == STATUS_OF.get(code), f"{name}: {answer.status_code} {answer.text}"
        assert 400 <= answer.status_code < 500, name
        assert answer.mimetype == "application/problem+json", name
        if len(body) > 16 * 1024 and call not in ("batch", "ranks"):
            assert code == "payload_too_large", name
        elif expected == MALFORMED:
            assert code == "malformed_json", name
    assert contents() == before


def test_no_item_of_a_batch_does_anything_but_get_refused(client: FlaskClient, authorised, contents) -> None:
    before = contents()
    for name, (item, _) in BODIES.items():
        body = b'{"updates": [' + item + b"]}"
        answer = client.post(CALLS["batch"], data=body, headers=authorised["batch"])
        assert answer.status_code in (202, 400, 422), f"{name}: {answer.status_code} {answer.text}"
        if answer.status_code == 202:
            assert {result["status"] for result in answer.json["results"]} == {"refused"}, name  # type: ignore[index]
    assert contents() == before


def test_what_is_wrong_with_one_item_does_not_refuse_the_others(client: FlaskClient, authorised, sign_up) -> None:
    good = {"user_id": sign_up().account.user_id, "action_id": "g", "action": "level_complete", "value": 1}
    bad = [b"null", b'"text"', b'{"action_id": "b", "extra": [[1]]}', b"5"]
    items = b",".join([*bad, json.dumps(good).encode()])
    answer = client.post(CALLS["batch"], data=b'{"updates": [' + items + b"]}", headers=authorised["batch"])
    assert answer.status_code == 202, answer.text
    results = answer.json["results"]  # type: ignore[index]
    assert [result["status"] for result in results] == ["refused"] * 4 + ["queued"]
    assert results[2]["action_id"] == "b"


def cursors() -> Iterator[str]:
    def encoded(value: object) -> str:
        return base64.urlsafe_b64encode(msgspec.json.encode(value)).decode().rstrip("=")

    instant = "2026-11-23T12:00:00+00:00"
    yield from ("x", "%00", "%ff", "é", "=", "A" * 9_000, "r1", encoded("r-1"), encoded(5), encoded([1, 2, 3]))
    yield encoded([instant, "glo\0bal", 1])
    yield encoded([instant, "global", 2**63])
    yield encoded([instant, "global", -(2**70)])
    yield encoded([instant.replace("+00:00", ""), "global", 1])
    yield encoded(["0001-01-01T00:00:00+14:00", "global", 1])
    yield encoded(["9999-12-31T23:59:59-14:00", "global", 1])
    yield base64.urlsafe_b64encode(b"r99999999999999999999999999").decode().rstrip("=")
    yield base64.urlsafe_b64encode(b"r" + b"9" * 500).decode().rstrip("=")


ADDRESSES = [
    "/api/v1/scores/updates/%00",
    "/api/v1/scores/updates/a%00b",
    "/api/v1/scores/updates/%ff%fe",
    "/api/v1/scores/updates/" + "a" * 5_000,
    "/api/v1/scores/updates/%F0%9F%98%80",
    "/api/v1/scores/me?board=%00",
    "/api/v1/scores/me?board=" + "b" * 5_000,
    "/api/v1/scores/me?bord=global",
    "/api/v1/scores/me/history?board=%00",
    "/api/v1/leaderboards/%00",
    "/api/v1/leaderboards/global/around/%00",
    f"/api/v1/leaderboards/%00/around/{uuid4()}",
    *[
        f"/api/v1/{where}limit={limit}"
        for where in ("leaderboards/global?", "scores/me/history?")
        for limit in ("0", "-1", "1001", "x", "1e3", "", "9" * 50, "%00", "١")
    ],
]


def test_no_address_does_anything_but_get_a_problem(client: FlaskClient, sign_up) -> None:
    headers = sign_up().headers
    for address in ADDRESSES:
        answer = client.get(address, headers=headers)
        assert 400 <= answer.status_code < 500, f"{address}: {answer.status_code} {answer.text}"
        assert answer.mimetype == "application/problem+json", address


def test_no_cursor_does_anything_but_lead_somewhere_or_get_refused(client: FlaskClient, sign_up) -> None:
    headers = sign_up().headers
    for where in ("/api/v1/leaderboards/global", "/api/v1/scores/me/history"):
        for cursor in cursors():
            answer = client.get(f"{where}?cursor={cursor}", headers=headers)
            assert answer.status_code in (200, 422), f"{where} {cursor}: {answer.status_code} {answer.text}"


@pytest.mark.parametrize(
    "token", ["", "x", "a.b.c", "é", "\0", "A" * 5_000, "a.b.c.d", "....", "eyJhbGciOiJub25lIn0.e30.", "null"]
)
def test_no_token_does_anything_but_get_refused(client: FlaskClient, token: str) -> None:
    answer = client.get("/api/v1/scores/me", headers=bearer(token) if "\0" not in token else {"Authorization": token})
    assert (answer.status_code, answer.json["code"]) in ((401, "token_invalid"), (401, "token_missing"))  # type: ignore[index]


def raw_post(stack: LiveStack, path: str, body: object, headers: dict[str, str]) -> tuple[int, dict[str, object]]:
    connection = http.client.HTTPConnection(urlsplit(stack.api_url).netloc, timeout=10)
    try:
        connection.request("POST", path, body, headers, encode_chunked=not isinstance(body, bytes))
        answer = connection.getresponse()
        return answer.status, json.loads(answer.read())
    finally:
        connection.close()


def chunks(body: bytes, size: int) -> Iterator[bytes]:
    for start in range(0, len(body), size):
        yield body[start : start + size]


class TestOnTheWire:
    """Through the real server, where bodies come in pieces and lengths are not always told."""

    @pytest.fixture
    def signed_in(self, live_stack: LiveStack) -> SignedIn:
        name = f"wire-{uuid4().hex[:12]}"
        body = json.dumps({"username": name, "email": f"{name}@example.org"}).encode()
        status, answer = raw_post(live_stack, "/api/v1/users", body, HEADERS)
        assert status == 201
        return SignedIn(answer)

    def test_a_chunked_body_is_read_like_any_other(self, live_stack, signed_in) -> None:
        update: SignedUpdate = sign(signed_in.account)
        headers = {**HEADERS, **signed_in.headers, "Transfer-Encoding": "chunked"}
        status, answer = raw_post(live_stack, CALLS["update"], chunks(as_json(update), 7), headers)
        assert (status, answer["status"]) == (202, "queued")

    def test_a_chunked_body_that_is_too_large_is_refused_though_it_tells_no_length(self, live_stack, signed_in) -> None:
        """One byte too many, which the server has to read to know."""
        headers = {**HEADERS, **signed_in.headers, "Transfer-Encoding": "chunked"}
        status, answer = raw_post(live_stack, CALLS["update"], chunks(b" " * (16 * 1024 + 1), 4096), headers)
        assert (status, answer["code"]) == (413, "payload_too_large")

    def test_a_body_that_is_too_large_is_refused(self, live_stack, signed_in) -> None:
        body = b" " * (16 * 1024 + 1)
        status, answer = raw_post(live_stack, CALLS["update"], body, {**HEADERS, **signed_in.headers})
        assert (status, answer["code"]) == (413, "payload_too_large")

    def test_the_largest_body_there_may_be_is_read(self, live_stack, signed_in) -> None:
        update = as_json(sign(signed_in.account))
        body = update + b" " * (16 * 1024 - len(update))
        status, answer = raw_post(live_stack, CALLS["update"], body, {**HEADERS, **signed_in.headers})
        assert (status, answer["status"]) == (202, "queued")
