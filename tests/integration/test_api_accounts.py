"""Registration, tokens by signature, refresh and logout over the API."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable
from secrets import token_hex
from typing import Any

import pytest
from flask.testing import FlaskClient

from models.accounts.users import Registered
from models.guard.desk import Why
from models.settings import Settings
from tests.fixtures.api import OpenApi, SignedIn, bearer, wish
from tests.fixtures.threads import at_once
from web.problems import STATUS_OF
from web.services import EXTENSION

ME = "/api/v1/scores/me"
TOKEN, REFRESH, LOGOUT = "/api/v1/auth/token", "/api/v1/auth/refresh", "/api/v1/auth/logout"


def refused(answer: Any, code: str) -> bool:
    return (answer.status_code, answer.get_json(force=True).get("code")) == (STATUS_OF[code], code)


def test_a_new_player_gets_a_key_and_tokens_that_work(client: FlaskClient, stores) -> None:
    answer = client.post("/api/v1/users", json={"username": "Ada_L.-9", "email": "ada@example.org"})
    assert answer.status_code == 201
    assert set(answer.json) == {"user_id", "username", "secret_key", "access_token", "refresh_token", "expires_in"}
    assert answer.json["expires_in"] == 900
    assert answer.headers["Cache-Control"] == "no-store"
    assert stores.users.secret_key(answer.json["user_id"]).hex() == answer.json["secret_key"]
    assert client.get(ME, headers=bearer(answer.json["access_token"])).status_code == 200
    assert client.post(REFRESH, headers=bearer(answer.json["refresh_token"])).status_code == 200


@pytest.mark.parametrize(
    ("body", "pointer"),
    [
        ({"username": "ab", "email": "a@b"}, "/username"),
        ({"username": "a" * 33, "email": "a@b"}, "/username"),
        ({"username": "Ada Lovelace", "email": "a@b"}, "/username"),
        ({"username": "adä", "email": "a@b"}, "/username"),
        ({"username": "ada\n", "email": "a@b"}, "/username"),
        ({"username": 5, "email": "a@b"}, "/username"),
        ({"username": "ada"}, "/email"),
        ({"username": "ada", "email": "nobody"}, "/email"),
        ({"username": "ada", "email": "a b@c"}, "/email"),
        ({"username": "ada", "email": "a@" + "b" * 300}, "/email"),
        ({"username": "ada", "email": "a@b", "admin": True}, "/admin"),
    ],
)
def test_a_registration_that_will_not_do_is_pointed_at(client: FlaskClient, contents, body, pointer) -> None:
    before = contents()
    answer = client.post("/api/v1/users", json=body)
    assert refused(answer, "validation_failed")
    assert [fault["pointer"] for fault in answer.json["errors"]] == [pointer]
    assert contents() == before


def test_a_signature_gets_tokens_once(client: FlaskClient, sign_up: Callable[[], SignedIn]) -> None:
    body = wish(sign_up().account)
    answer = client.post(TOKEN, json=body)
    assert answer.status_code == 200
    assert set(answer.json) == {"access_token", "refresh_token", "expires_in"}
    assert client.get(ME, headers=bearer(answer.json["access_token"])).status_code == 200
    assert refused(client.post(TOKEN, json=body), "nonce_reused")


def test_a_wish_for_tokens_that_is_not_the_players_own_gets_none(client: FlaskClient, sign_up, contents) -> None:
    ada, bob = sign_up().account, sign_up().account
    now = int(time.time() * 1000)
    before = contents()
    for body, code in (
        ({**wish(ada), "username": bob.username}, "signature_invalid"),
        ({**wish(ada), "nonce": "0" * 32}, "signature_invalid"),
        ({**wish(ada), "timestamp": now - 1}, "signature_invalid"),
        ({**wish(ada), "signature": "0" * 64}, "signature_invalid"),
        (wish(Registered(ada.user_id, "nobody-by-that-name", ada.secret_key)), "signature_invalid"),
        (wish(Registered(ada.user_id, "nobody-by-that-name", bytes(32))), "signature_invalid"),
        (wish(ada, timestamp=now - 301_000), "timestamp_out_of_window"),
        (wish(ada, timestamp=now + 301_000), "timestamp_out_of_window"),
        ({**wish(ada), "signature": "A" * 64}, "validation_failed"),
    ):
        assert refused(client.post(TOKEN, json=body), code), code
    assert contents() == before


def test_a_nonce_of_an_action_cannot_get_tokens_and_the_other_way_round(client, sign_up, submit) -> None:
    """I2: a nonce serves once, whatever for."""
    account = sign_up().account
    nonce = token_hex(16)
    submit(account, nonce=nonce)
    assert refused(client.post(TOKEN, json=wish(account, nonce=nonce)), "nonce_reused")


def test_a_blocked_player_gets_no_tokens(client: FlaskClient, sign_up, services) -> None:
    player = sign_up()
    services.stores.desk.restrict("user", player.account.username, "block", Why("tests", "a test"))
    assert refused(client.post(TOKEN, json=wish(player.account)), "user_blocked")
    assert refused(client.post(REFRESH, headers=bearer(player.refresh_token)), "user_blocked")
    assert refused(client.get(ME, headers=player.headers), "user_blocked")


def test_each_refresh_gives_a_new_pair_and_a_spent_one_ends_the_family(client: FlaskClient, sign_up) -> None:
    player = sign_up()
    first = client.post(REFRESH, headers=bearer(player.refresh_token))
    assert first.status_code == 200
    assert first.json["refresh_token"] != player.refresh_token
    second = client.post(REFRESH, headers=bearer(first.json["refresh_token"]))
    assert second.status_code == 200
    assert refused(client.post(REFRESH, headers=bearer(first.json["refresh_token"])), "token_revoked")
    for token in (player.access_token, first.json["access_token"], second.json["access_token"]):
        assert refused(client.get(ME, headers=bearer(token)), "token_revoked")
    assert refused(client.post(REFRESH, headers=bearer(second.json["refresh_token"])), "token_revoked")
    assert client.post(TOKEN, json=wish(player.account)).status_code == 200


def test_of_ten_refreshes_at_once_with_one_token_one_gets_a_pair(api, open_api, settings, sign_up) -> None:
    player = sign_up()
    other = open_api(settings)
    answers = at_once(
        [
            lambda n=n: (
                (api, other)[n % 2].test_client().post(REFRESH, headers=bearer(player.refresh_token)).status_code
            )
            for n in range(10)
        ]
    )
    assert Counter(answers) == {200: 1, 401: 9}


def test_a_revoked_family_gets_no_pair_where_that_is_not_known_yet(
    client: FlaskClient, open_api: OpenApi, settings, sign_up, monkeypatch
) -> None:
    """I10: within the second that a replica may be old."""
    player, other = sign_up(), open_api(settings)
    replica = other.extensions[EXTENSION].stores.revocations
    replica.stop()
    monkeypatch.setattr(replica, "_be_fresh", lambda: None)
    assert client.post(LOGOUT, headers=player.headers).status_code == 204
    assert other.test_client().get(ME, headers=player.headers).status_code == 200
    assert refused(other.test_client().post(REFRESH, headers=bearer(player.refresh_token)), "token_revoked")


def test_tokens_are_not_taken_for_what_they_are_not_for(client: FlaskClient, sign_up, service_headers) -> None:
    player = sign_up()
    assert refused(client.get(ME, headers=bearer(player.refresh_token)), "token_invalid")
    assert refused(client.post(REFRESH, headers=player.headers), "token_invalid")
    assert refused(client.get(ME, headers=service_headers("scores:write")), "token_invalid")
    assert refused(client.post(REFRESH, headers=service_headers("scores:write")), "token_invalid")
    assert refused(client.post(LOGOUT, headers=bearer(player.refresh_token)), "token_invalid")


def test_logout_ends_the_family_in_every_process_and_no_other(
    client: FlaskClient, open_api: OpenApi, settings, sign_up, eventually
) -> None:
    """I10."""
    player = sign_up()
    elsewhere = client.post(TOKEN, json=wish(player.account)).json
    other = open_api(settings).test_client()
    assert other.get(ME, headers=player.headers).status_code == 200
    answer = client.post(LOGOUT, headers=player.headers)
    assert (answer.status_code, answer.data) == (204, b"")
    began = time.monotonic()
    eventually(lambda: refused(other.get(ME, headers=player.headers), "token_revoked") or None, 5)
    assert time.monotonic() - began < 1
    assert refused(client.get(ME, headers=player.headers), "token_revoked")
    assert refused(client.post(REFRESH, headers=bearer(player.refresh_token)), "token_revoked")
    assert client.get(ME, headers=bearer(elsewhere["access_token"])).status_code == 200


def test_a_game_server_may_register_players_where_registration_is_closed(
    open_api: OpenApi, environment, sign_up
) -> None:
    closed = open_api(Settings.from_env({**environment, "REGISTRATION": "closed"}))
    identity = closed.extensions[EXTENSION].identity
    token, _ = identity.issue_service("tests", ["users:write"], 60)
    body = {"username": "from-server", "email": "server@example.org"}
    assert refused(closed.test_client().post("/api/v1/users", json=body), "token_missing")
    assert closed.test_client().post("/api/v1/users", json=body, headers=bearer(token)).status_code == 201
