"""Every refusal of the contract: its status, its code, its shape, and that it changed nothing (I9)."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import jwt
import pytest
from flask.testing import FlaskClient
from werkzeug.test import TestResponse

from models.guard.desk import Why
from models.settings import Settings
from tests.fixtures.api import OpenApi, SignedIn, bearer, wish
from tests.fixtures.own_postgres import OwnPostgres
from tests.fixtures.people import as_json, sign
from web import limits
from web.problems import STATUS_OF
from web.services import EXTENSION, Services

UPDATE = "/api/v1/scores/update"
JSON = {"Content-Type": "application/json"}
MINUTE_MS = 60_000


def refused(answer: TestResponse, code: str) -> dict[str, Any]:
    """The answer is a problem of this code, with all that belongs to one."""
    body: dict[str, Any] = answer.get_json(force=True)
    assert (answer.status_code, body.get("code")) == (STATUS_OF[code], code), answer.text
    assert answer.mimetype == "application/problem+json"
    assert {"type", "title", "status", "detail", "code", "request_id"} <= set(body)
    assert body["status"] == answer.status_code
    assert body["request_id"] == answer.headers["X-Request-ID"]
    assert "Traceback" not in answer.text
    assert "<html" not in answer.text.lower()
    if answer.status_code == 401:
        assert answer.headers["WWW-Authenticate"] == "Bearer"
    if answer.status_code in (429, 503):
        assert int(answer.headers["Retry-After"]) >= 1
    if code == "validation_failed":
        assert body["errors"]
        assert all(set(fault) == {"pointer", "message"} for fault in body["errors"])
    return body


@pytest.fixture
def unchanged(contents: Callable[[], Any]) -> Callable[[Callable[[], TestResponse], str], dict[str, Any]]:
    """`unchanged(call, code)`: the call is refused with that code and no row of any table is another."""

    def run(call: Callable[[], TestResponse], code: str) -> dict[str, Any]:
        before = contents()
        body = refused(call(), code)
        assert contents() == before
        return body

    return run


BODIES = [
    (b"", "malformed_json"),
    (b"{", "malformed_json"),
    (b'{"action_id": NaN}', "malformed_json"),
    (b'{"action_id": Infinity}', "malformed_json"),
    (b'{"action_id": "\xff\xfe"}', "malformed_json"),
    (b"[" * 33 + b"]" * 33, "malformed_json"),
    (b'{"a":' * 40 + b"1" + b"}" * 40, "malformed_json"),
    (b"[" * 16_000, "malformed_json"),
    (b"[]", "validation_failed"),
    (b"null", "validation_failed"),
    (b'"text"', "validation_failed"),
    (b"12", "validation_failed"),
    (b"{}", "validation_failed"),
    (b'{"value": 1e999}', "validation_failed"),
    (b'{"value": ' + b"9" * 5_000 + b"}", "validation_failed"),
]


@pytest.mark.parametrize(("body", "code"), BODIES, ids=[f"{body[:16]!r}…{len(body)}" for body, _ in BODIES])
def test_a_body_that_is_no_update_is_told_from_one_that_is_no_json(
    client: FlaskClient, sign_up: Callable[[], SignedIn], unchanged, body: bytes, code: str
) -> None:
    player = sign_up()
    unchanged(lambda: client.post(UPDATE, data=body, headers={**JSON, **player.headers}), code)


@pytest.mark.parametrize(
    ("member", "value"),
    [
        ("action_id", "has space"),
        ("action_id", "x" * 65),
        ("action_id", ""),
        ("action_id", 7),
        ("action", "Not-A-Name"),
        ("value", "1"),
        ("value", 1.5),
        ("value", True),
        ("value", 2**63),
        ("value", 0),
        ("value", 101),
        ("nonce", "xyz"),
        ("nonce", "ab" * 33),
        ("timestamp", "now"),
        ("timestamp", -1),
        ("signature", "A" * 64),
        ("signature", None),
        ("socre", 1),
    ],
)
def test_a_wrong_member_is_pointed_at(
    client: FlaskClient, sign_up: Callable[[], SignedIn], unchanged, member: str, value: object
) -> None:
    player = sign_up()
    body = as_json(sign(player.account), **{member: value})
    told = unchanged(lambda: client.post(UPDATE, data=body, headers={**JSON, **player.headers}), "validation_failed")
    assert told["errors"][0]["pointer"] == f"/{member}"


def test_each_fault_of_a_token_has_its_own_answer(
    client: FlaskClient, sign_up: Callable[[], SignedIn], services: Services, unchanged
) -> None:
    player = sign_up()
    body = as_json(sign(player.account))

    def post(headers: dict[str, str]) -> Callable[[], TestResponse]:
        return lambda: client.post(UPDATE, data=body, headers={**JSON, **headers})

    unchanged(post({}), "token_missing")
    unchanged(post({"Authorization": "Basic Zm9vOmJhcg=="}), "token_invalid")
    unchanged(post(bearer("nonsense")), "token_invalid")
    unchanged(post(bearer(player.access_token + "=")), "token_invalid")
    unchanged(post(bearer(player.refresh_token)), "token_invalid")
    unchanged(post(bearer(services.identity.issue_service("gs", ["scores:write"], 60)[0])), "token_invalid")
    unchanged(post(bearer(_token_that_ended(services, player))), "token_expired")
    assert client.post("/api/v1/auth/logout", headers=player.headers).status_code == 204
    unchanged(post(player.headers), "token_revoked")


def _token_that_ended(services: Services, player: SignedIn) -> str:
    """A token made as ours are, a quarter of an hour ago."""
    claims = jwt.decode(player.access_token, options={"verify_signature": False})
    for name in ("iat", "nbf", "exp"):
        claims[name] -= 1000
    key = services.settings.token_keys[0]
    return jwt.encode(claims, key.secret, algorithm="HS256", headers={"kid": key.kid})


def test_a_blocked_player_is_refused(
    client: FlaskClient, sign_up: Callable[[], SignedIn], services: Services, unchanged
) -> None:
    player = sign_up()
    services.stores.desk.restrict("user", player.account.username, "block", Why("tests", "a test"))
    body = as_json(sign(player.account))
    unchanged(lambda: client.post(UPDATE, data=body, headers={**JSON, **player.headers}), "user_blocked")
    unchanged(lambda: client.get("/api/v1/scores/me", headers=player.headers), "user_blocked")


def test_what_is_signed_must_be_signed_by_its_player_and_unaltered(
    client: FlaskClient, sign_up: Callable[[], SignedIn], unchanged
) -> None:
    player, other = sign_up(), sign_up()
    update = sign(player.account)
    forgeries = [
        as_json(update, signature="0" * 64),
        as_json(update, value=2),
        as_json(update, nonce="ab" * 16),
        as_json(update, action_id="another"),
        as_json(update, timestamp=update.timestamp + 1),
        as_json(sign(player.account, key=other.account.secret_key)),
        as_json(sign(replace(player.account, user_id=other.account.user_id))),
    ]
    for body in forgeries:
        unchanged(lambda: client.post(UPDATE, data=body, headers={**JSON, **player.headers}), "signature_invalid")  # noqa: B023


@pytest.mark.parametrize("minutes", [-5.2, 5.2, -600, 600])
def test_a_stale_or_early_timestamp_is_refused(
    client: FlaskClient, sign_up: Callable[[], SignedIn], unchanged, minutes: float
) -> None:
    player = sign_up()
    body = as_json(sign(player.account, timestamp=int(time.time() * 1000 + minutes * MINUTE_MS)))
    unchanged(lambda: client.post(UPDATE, data=body, headers={**JSON, **player.headers}), "timestamp_out_of_window")


def test_an_action_id_and_a_nonce_serve_one_action(
    client: FlaskClient, sign_up: Callable[[], SignedIn], unchanged
) -> None:
    player = sign_up()
    first = sign(player.account, "first", value=1)
    assert client.post(UPDATE, data=as_json(first), headers={**JSON, **player.headers}).status_code == 202

    def post(update: Any) -> Callable[[], TestResponse]:
        return lambda: client.post(UPDATE, data=as_json(update), headers={**JSON, **player.headers})

    unchanged(post(sign(player.account, "first", value=2)), "action_id_conflict")
    unchanged(post(sign(player.account, "first", action="boss_defeated")), "action_id_conflict")
    unchanged(post(sign(player.account, "second", nonce=first.nonce)), "nonce_reused")
    unchanged(post(sign(player.account, "second", nonce=first.nonce.upper())), "nonce_reused")


def test_an_action_the_catalogue_does_not_know_is_refused(
    client: FlaskClient, sign_up: Callable[[], SignedIn], unchanged
) -> None:
    player = sign_up()
    body = as_json(sign(player.account, action="win_everything"))
    unchanged(lambda: client.post(UPDATE, data=body, headers={**JSON, **player.headers}), "action_unknown")


def test_types_and_sizes_of_bodies_are_bounded(
    client: FlaskClient, sign_up: Callable[[], SignedIn], service_headers, unchanged
) -> None:
    player = sign_up()
    body = as_json(sign(player.account))
    typed = {"Content-Type": "text/plain", **player.headers}
    unchanged(lambda: client.post(UPDATE, data=body, headers=typed), "unsupported_media_type")
    large = b" " * 17_000 + body
    unchanged(lambda: client.post(UPDATE, data=large, headers={**JSON, **player.headers}), "payload_too_large")
    huge = b" " * (1024 * 1024 + 1)
    headers = {**JSON, **service_headers("scores:write")}
    unchanged(lambda: client.post("/api/v1/scores/batch", data=huge, headers=headers), "payload_too_large")


def test_a_scope_is_needed_where_a_game_server_calls(
    client: FlaskClient, sign_up: Callable[[], SignedIn], service_headers, unchanged
) -> None:
    player, batch = sign_up(), {"updates": []}
    unchanged(lambda: client.post("/api/v1/scores/batch", json=batch), "token_missing")
    unchanged(lambda: client.post("/api/v1/scores/batch", json=batch, headers=player.headers), "forbidden")
    headers = service_headers("users:write")
    unchanged(lambda: client.post("/api/v1/scores/batch", json=batch, headers=headers), "forbidden")


def test_closed_registration_wants_a_scope(open_api: OpenApi, settings: Settings, contents) -> None:
    closed = open_api(replace(settings, registration_open=False))
    client, wanted = closed.test_client(), {"username": "newcomer", "email": "newcomer@example.org"}
    before = contents()
    refused(client.post("/api/v1/users", json=wanted), "token_missing")
    identity = closed.extensions["scoreboard"].identity
    wrong = bearer(identity.issue_service("gs", ["scores:write"], 60)[0])
    refused(client.post("/api/v1/users", json=wanted, headers=wrong), "forbidden")
    assert contents() == before
    right = bearer(identity.issue_service("gs", ["users:write"], 60)[0])
    assert client.post("/api/v1/users", json=wanted, headers=right).status_code == 201


def test_a_name_and_an_address_are_taken_once_without_regard_to_case(
    client: FlaskClient, sign_up: Callable[[], SignedIn], unchanged
) -> None:
    name = sign_up().account.username
    same_name = {"username": name.upper(), "email": "new@example.org"}
    same_mail = {"username": "new-" + name[2:], "email": f"{name.upper()}@EXAMPLE.ORG"}
    unchanged(lambda: client.post("/api/v1/users", json=same_name), "already_exists")
    unchanged(lambda: client.post("/api/v1/users", json=same_mail), "already_exists")


def test_unknown_places_and_methods_are_problems_too(
    client: FlaskClient, sign_up: Callable[[], SignedIn], unchanged
) -> None:
    player = sign_up()
    unchanged(lambda: client.get("/api/v1/nowhere"), "not_found")
    unchanged(lambda: client.get(UPDATE), "method_not_allowed")
    unchanged(lambda: client.delete("/api/v1/leaderboards/global"), "method_not_allowed")
    unchanged(lambda: client.get("/api/v1/leaderboards/nowhere"), "board_unknown")
    unchanged(lambda: client.get("/api/v1/scores/me?board=nowhere", headers=player.headers), "board_unknown")
    unchanged(lambda: client.get("/api/v1/scores/updates/never-sent", headers=player.headers), "not_found")
    unchanged(lambda: client.get("/api/v1/leaderboards/global?limit=0"), "validation_failed")
    unchanged(lambda: client.get("/api/v1/leaderboards/global?limit=1001"), "validation_failed")
    unchanged(lambda: client.get("/api/v1/leaderboards/global?cursor=%F0%9F%8E%B2"), "validation_failed")
    unchanged(lambda: client.get("/api/v1/leaderboards/global?lmit=3"), "validation_failed")


def test_limits_refuse_with_the_time_to_wait(
    open_api: OpenApi, settings: Settings, sign_up: Callable[[], SignedIn], contents
) -> None:
    player = sign_up()
    app = open_api(replace(settings, limit_user="2/minute", limit_registration="1/minute"))
    client = app.test_client()

    def post() -> TestResponse:
        return client.post(UPDATE, data=as_json(sign(player.account)), headers={**JSON, **player.headers})

    assert [post().status_code for _ in range(2)] == [202, 202]
    before = contents()
    answer = post()
    refused(answer, "rate_limited")
    assert answer.headers["RateLimit-Limit"] == "2"
    assert answer.headers["RateLimit-Remaining"] == "0"
    assert 1 <= int(answer.headers["RateLimit-Reset"]) <= 61
    assert contents() == before
    statuses = [
        client.post("/api/v1/users", json={"username": f"crowd-{n}", "email": f"crowd-{n}@example.org"}).status_code
        for n in range(3)
    ]
    assert statuses == [201, 429, 429]


def test_without_redis_a_limit_holds_all_the_same(
    open_api: OpenApi, settings: Settings, sign_up: Callable[[], SignedIn], monkeypatch
) -> None:
    """Each process counts for itself then; asking Redis again after a pause gives nobody more."""
    monkeypatch.setattr(limits, "REDIS_PAUSE_SECONDS", 0.0)
    player = sign_up()
    app = open_api(replace(settings, limit_user="2/minute", redis_url="unix:///nobody-is-here"))
    client = app.test_client()
    statuses = [
        client.post(UPDATE, data=as_json(sign(player.account)), headers={**JSON, **player.headers}).status_code
        for _ in range(4)
    ]
    assert statuses == [202, 202, 429, 429]


def test_a_running_cooldown_is_a_limit(client: FlaskClient, sign_up: Callable[[], SignedIn], unchanged) -> None:
    player = sign_up()
    first = as_json(sign(player.account, "bonus-1", action="daily_bonus"))
    headers = {**JSON, **player.headers}
    assert client.post(UPDATE, data=first, headers=headers).status_code == 202
    again = as_json(sign(player.account, "bonus-2", action="daily_bonus"))
    unchanged(lambda: client.post(UPDATE, data=again, headers=headers), "rate_limited")
    assert client.post(UPDATE, data=first, headers=headers).headers["Idempotent-Replayed"] == "true"


def test_a_full_inbox_refuses_before_it_grows(
    open_api: OpenApi, settings: Settings, sign_up: Callable[[], SignedIn], contents, eventually
) -> None:
    player = sign_up()
    client = open_api(replace(settings, inbox_depth_limit=1)).test_client()
    headers = {**JSON, **player.headers}

    def post() -> TestResponse:
        return client.post(UPDATE, data=as_json(sign(player.account)), headers=headers)

    eventually(lambda: post().status_code == 503)
    before = contents()
    refused(post(), "overloaded")
    assert contents() == before


def test_with_postgres_away_the_answer_is_503_in_time(
    open_api: OpenApi, settings: Settings, sign_up: Callable[[], SignedIn]
) -> None:
    """I1, I8, I10: neither accepted nor let through unchecked, and nobody waits without end."""
    player = sign_up()
    nowhere = "postgresql+psycopg://nobody@127.0.0.1:1/nothing"
    client = open_api(replace(settings, database_url=nowhere)).test_client()
    started = time.monotonic()
    refused(client.post(UPDATE, data=as_json(sign(player.account)), headers={**JSON, **player.headers}), "not_ready")
    assert time.monotonic() - started < 10
    assert client.get("/healthz").status_code == 200
    parts = refused(client.get("/readyz"), "not_ready")["parts"]
    assert parts["database"]["status"] == "failing"
    assert parts["redis"]["status"] == "ok"


def test_no_call_fails_by_postgres_going_away(
    open_api: OpenApi, own_postgres: OwnPostgres, settings_on_own_postgres: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    """In the first second, while what is known of revocations still holds, each finds out by itself."""
    api = open_api(settings_on_own_postgres)
    client, here = api.test_client(), api.extensions[EXTENSION]
    new = {"username": "ada", "email": "ada@example.org"}
    player = SignedIn(client.post("/api/v1/users", json=new).json)
    service = bearer(here.identity.issue_service("tests", ["scores:write"], 3600)[0])
    server_update = {"user_id": player.account.user_id, "action_id": "s-1", "action": "level_complete", "value": 1}
    own_postgres.stop()
    monkeypatch.setattr(here.stores.revocations, "_be_fresh", lambda: None)
    monkeypatch.setattr(here.stores.pressure, "refuse_if_high", lambda: None)
    calls: dict[str, Callable[[], TestResponse]] = {
        "users": lambda: client.post("/api/v1/users", json={"username": "bob", "email": "bob@example.org"}),
        "token": lambda: client.post("/api/v1/auth/token", json=wish(player.account)),
        "refresh": lambda: client.post("/api/v1/auth/refresh", headers=bearer(player.refresh_token)),
        "logout": lambda: client.post("/api/v1/auth/logout", headers=player.headers),
        "batch": lambda: client.post("/api/v1/scores/batch", json={"updates": [server_update]}, headers=service),
        "me": lambda: client.get("/api/v1/scores/me", headers=player.headers),
        "history": lambda: client.get("/api/v1/scores/me/history", headers=player.headers),
        "state": lambda: client.get("/api/v1/scores/updates/a-1", headers=player.headers),
        "board": lambda: client.get("/api/v1/leaderboards/global"),
        "around": lambda: client.get(f"/api/v1/leaderboards/global/around/{player.account.user_id}"),
    }
    writes = {"batch": "queue_unavailable"}
    for name, call in calls.items():
        refused(call(), writes.get(name, "not_ready"))
    update = as_json(sign(player.account))
    refused(client.post(UPDATE, data=update, headers={**JSON, **player.headers}), "queue_unavailable")


def test_requests_carry_their_id_and_insane_ones_get_a_new_one(client: FlaskClient) -> None:
    assert client.get("/healthz", headers={"X-Request-ID": "abc-123"}).headers["X-Request-ID"] == "abc-123"
    for insane in ("a b", "x" * 129, "ünicode", '"><script>'):
        made = client.get("/healthz", headers={"X-Request-ID": insane.encode("latin-1").decode("latin-1")})
        assert made.headers["X-Request-ID"] != insane
        assert len(made.headers["X-Request-ID"]) == 32
