"""What a player may ask for: a copy of all that is kept, another key, to be forgotten; nothing sealed breaks by it."""

from __future__ import annotations

import hashlib
import hmac
import time
from collections.abc import Callable
from secrets import token_hex
from typing import Any

import pytest
from flask.testing import FlaskClient

from models.accounts.users import Registered
from models.guard import addresses
from tests.fixtures.api import SignedIn, bearer, wish
from tests.fixtures.people import as_json, sign
from tests.fixtures.servers import in_parts
from web.services import Services

ME = "/api/v1/users/me"


def signed(player: Registered, purpose: str, **changes: Any) -> dict[str, Any]:
    """What a player signs by hand for a purpose."""
    body = {"timestamp": int(time.time() * 1000), "nonce": token_hex(16), **changes}
    message = f"v1\n{purpose}\n{player.user_id}\n{body['nonce']}\n{body['timestamp']}".encode()
    return {"signature": hmac.new(player.secret_key, message, hashlib.sha256).hexdigest(), **body}


def play(client: FlaskClient, player: SignedIn, address: str = "192.0.2.9") -> int:
    headers = {"Content-Type": "application/json", **player.headers}
    body = as_json(sign(player.account))
    return client.post(
        "/api/v1/scores/update", data=body, headers=headers, environ_base={"REMOTE_ADDR": address}
    ).status_code


def test_a_player_gets_all_that_is_kept_and_nobody_elses(client: FlaskClient, sign_up, drain) -> None:
    player, other = sign_up(), sign_up()
    assert play(client, player) == play(client, other, "192.0.2.10") == 202
    drain()
    answer = client.get(f"{ME}/export", headers=player.headers)
    assert answer.headers["Cache-Control"] == "private, no-store"
    found = answer.json
    assert found["user"]["username"] == player.account.username
    assert found["user"]["email"] == f"{player.account.username}@example.org"
    assert [(row["board"], row["score"]) for row in found["scores"]] == [("global", 10)]
    assert [(row["address"], row["updates"]) for row in found["addresses"]] == [("192.0.2.9", 1)]
    assert len(found["sessions"]) == 1
    for secret in (player.account.secret_key.hex(), other.account.username, other.account.user_id, "192.0.2.10"):
        assert secret not in answer.text
    assert client.get(f"{ME}/export").status_code == 401


def test_a_player_changes_the_key_with_the_old_one(client: FlaskClient, sign_up, open_process, eventually) -> None:
    player, elsewhere = sign_up(), open_process()
    elsewhere.revocations.start()
    assert elsewhere.users.secret_key(player.account.user_id) == player.account.secret_key
    assert play(client, player) == 202
    body = signed(player.account, "key")
    answer = client.post(f"{ME}/key", json=body, headers=player.headers)
    assert answer.status_code == 201
    key = bytes.fromhex(answer.json["secret_key"])
    assert len(key) == 32
    assert play(client, player) == 403
    began = time.monotonic()
    eventually(lambda: elsewhere.users.secret_key(player.account.user_id) == key)  # I10
    assert time.monotonic() - began < 1
    player.account = Registered(player.account.user_id, player.account.username, key)
    assert play(client, player) == 202
    assert client.post("/api/v1/auth/token", json=wish(player.account)).status_code == 200


@pytest.mark.parametrize("call", ["key", "erase"])
def test_neither_goes_with_a_token_alone(client: FlaskClient, sign_up, contents, call: str) -> None:
    player, other = sign_up(), sign_up()
    old = int(time.time() * 1000) - 301_000
    before = contents()
    for body, code in (
        (signed(player.account, "token"), "signature_invalid"),
        (signed(player.account, "erase" if call == "key" else "key"), "signature_invalid"),
        (signed(other.account, call), "signature_invalid"),
        (signed(player.account, call, timestamp=old), "timestamp_out_of_window"),
        ({}, "validation_failed"),
    ):
        answer = client.post(f"{ME}/{call}", json=body, headers=player.headers)
        assert answer.json["code"] == code
    assert client.post(f"{ME}/{call}", json=signed(player.account, call)).json["code"] == "token_missing"
    assert contents() == before


def test_a_captured_wish_for_a_key_serves_once(client: FlaskClient, sign_up) -> None:
    player = sign_up()
    body = signed(player.account, "key")
    key = client.post(f"{ME}/key", json=body, headers=player.headers).json["secret_key"]
    answer = client.post(f"{ME}/key", json=body, headers=player.headers)
    assert answer.json["code"] == "signature_invalid"  # the key is another by now
    again = Registered(player.account.user_id, player.account.username, bytes.fromhex(key))
    spent = signed(again, "key", nonce=body["nonce"])
    assert client.post(f"{ME}/key", json=spent, headers=player.headers).json["code"] == "nonce_reused"


@in_parts
def test_who_is_erased_is_nobody_and_their_scores_stay(
    client: FlaskClient, sign_up: Callable[[], SignedIn], drain, query, services: Services
) -> None:
    player, other = sign_up(), sign_up()
    for each in (player, player, other):
        assert play(client, each) == 202
    drain()
    stores = services.stores
    assert len(list(stores.sealer.seal())) == 1
    name, user_id = player.account.username, player.account.user_id
    answer = client.post(f"{ME}/erase", json=signed(player.account, "erase"), headers=player.headers)
    assert (answer.status_code, answer.data) == (204, b"")
    [(username, email)] = query("SELECT username, email FROM users WHERE id = :id", id=user_id)
    assert (username, email) == (f"~{user_id[:8]}", f"~{user_id}")
    for table in ("users", "score_history", "inbox", "incidents", "refreshes", "scores"):
        assert name not in str(query(f"SELECT t::text FROM {table} t"))
    assert query("SELECT count(*) FROM score_history WHERE user_id = :id AND ip_address IS NOT NULL", id=user_id) == [
        (0,)
    ]
    assert query("SELECT count(*) FROM score_history WHERE ip_address IS NOT NULL") == [(1,)]  # the other's
    entries = {entry.user_id: entry for entry in stores.ranking.top("global", 10).entries}
    assert (entries[user_id].username, entries[user_id].score) == (f"~{user_id[:8]}", 20)
    assert client.get("/api/v1/scores/me", headers=player.headers).json["code"] == "token_revoked"
    assert client.post("/api/v1/auth/refresh", headers=bearer(player.refresh_token)).json["code"] == "token_revoked"
    assert client.post("/api/v1/auth/token", json=wish(player.account)).status_code in (401, 403)
    assert stores.audit_check.check().faults == []
    assert len(list(stores.sealer.seal())) == 1
    assert stores.audit_check.check().faults == []
    answer = client.post("/api/v1/users", json={"username": name, "email": f"{name}@example.org"})
    assert answer.status_code == 201  # the name is free again, and means somebody else
    assert answer.json["user_id"] != user_id


def test_addresses_are_forgotten_after_their_time(client: FlaskClient, sign_up, drain, query, raw, services) -> None:
    player = sign_up()
    play(client, player)
    drain()
    stores = services.stores
    assert len(list(stores.sealer.seal())) == 1
    assert addresses.forget_old(stores.engine, days=1, seconds=1) == 0
    tables = ["score_history", *(name for (name,) in raw.execute("SELECT name FROM score_history_months").fetchall())]
    for table in tables:
        raw.execute(f"ALTER TABLE {table} DISABLE TRIGGER USER")
    raw.execute("UPDATE score_history SET created_at = created_at - interval '2 days'")
    raw.execute("DELETE FROM progress")
    assert addresses.forget_old(stores.engine, days=1, seconds=1) == 1
    assert query("SELECT ip_address FROM score_history") == [(None,)]
    assert addresses.forget_old(stores.engine, days=1, seconds=1) == 0
