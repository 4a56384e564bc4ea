"""What operators do over HTTP: under the scope alone, each with a reason, and as their commands do it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any
from uuid import uuid4

import pytest
from flask.testing import FlaskClient
from werkzeug.test import TestResponse

from models.guard.suspicion import Suspicion
from models.guard.watch import Watch
from models.stores import Stores
from tests.fixtures.api import SignedIn
from tests.fixtures.people import as_json, sign
from web.api.admin_schemas import ACTION_IDS_MOST
from web.services import Services

ADMIN = "/api/v1/admin"
NO_INCIDENT = "0f9c9a3e-9a4c-4c8e-8a43-3f1b7f0f5f0d"
CALLS = [
    ("GET", "/incidents"),
    ("GET", f"/incidents/{NO_INCIDENT}"),
    ("POST", f"/incidents/{NO_INCIDENT}/close"),
    ("GET", "/restrictions"),
    ("POST", "/restrictions"),
    ("POST", "/restrictions/lift"),
    ("GET", "/quarantine"),
    ("GET", "/quarantine/ada"),
    ("POST", "/quarantine/ada/release"),
    ("POST", "/quarantine/ada/reject"),
    ("POST", "/players/ada/hide"),
    ("POST", "/players/ada/show"),
    ("POST", "/players/ada/void"),
    ("POST", "/players/ada/restore"),
    ("POST", "/players/ada/key"),
    ("GET", "/acts"),
    ("GET", "/seals"),
    ("GET", "/glance"),
    ("GET", "/players"),
    ("GET", "/players/ada"),
    ("GET", "/players/ada/history"),
    ("POST", "/players/ada/sign-out"),
    ("GET", "/dead-letters"),
    ("POST", "/dead-letters/retry"),
    ("POST", "/dead-letters/drop"),
    ("POST", "/dead-letters/keep"),
]

Ask = Callable[..., TestResponse]


@pytest.fixture
def ask(client: FlaskClient, service_headers: Callable[..., dict[str, str]]) -> Ask:
    """`ask("/incidents")` as a moderator, and with members a POST; the answer must have `status`."""
    headers = service_headers("moderation")

    def run(path: str, status: int = 200, **body: Any) -> Any:
        answer = (
            client.post(ADMIN + path, json=body, headers=headers) if body else client.get(ADMIN + path, headers=headers)
        )
        assert answer.status_code == status, answer.text
        return answer.json

    return run


def play(client: FlaskClient, player: SignedIn, action_id: str, value: int = 1) -> int:
    body = as_json(sign(player.account, action_id, value=value))
    headers = {"Content-Type": "application/json", **player.headers}
    return client.post("/api/v1/scores/update", data=body, headers=headers).status_code


def names(stores: Stores) -> list[str]:
    return [entry.username for entry in stores.ranking.top("global", 10).entries]


def test_every_call_of_operators_is_tried_here(api) -> None:
    rules = {(m, str(r)) for r in api.url_map.iter_rules() for m in (r.methods or ()) if str(r).startswith(ADMIN)}
    assert len({rule for rule in rules if rule[0] in ("GET", "POST")}) == len(CALLS)


@pytest.mark.parametrize(("method", "path"), CALLS)
def test_nobody_else_may(
    client: FlaskClient, sign_up, service_headers, contents, method: str, path: str, tried
) -> None:
    player = sign_up()
    before = contents()
    for headers, code in (
        ({}, "token_missing"),
        (player.headers, "forbidden"),
        (service_headers("scores:write", "users:write", "boards:read"), "forbidden"),
    ):
        answer = client.open(ADMIN + path, method=method, json={"reason": "x"}, headers=headers)
        assert answer.json["code"] == code
        tried("operators' calls: without a token, a player's, other scopes", accepted=answer.status_code < 400)
    assert contents() == before


def test_only_an_admin_changes_keys(client: FlaskClient, sign_up, service_headers) -> None:
    player = sign_up()
    path, body = f"{ADMIN}/players/{player.account.username}/key", {"reason": "lost"}
    assert client.post(path, json=body, headers=service_headers("moderation")).json["code"] == "forbidden"
    answer = client.post(path, json=body, headers=service_headers("admin"))
    assert answer.status_code == 201
    assert play(client, player, "old-key") == 403
    player.account = type(player.account)(
        player.account.user_id, player.account.username, bytes.fromhex(answer.json["secret_key"])
    )
    assert play(client, player, "new-key") == 202


@pytest.mark.parametrize(
    "body",
    [
        {},
        {"reason": ""},
        {"reason": "x", "subject_kind": "user", "subject": "ada", "kind": "ban"},
        {"reason": "x", "subject_kind": "user", "subject": "ada", "kind": "throttle"},
        {"reason": "x", "subject_kind": "user", "subject": "ada", "kind": "throttle", "throttle_to": "often"},
        {"reason": "x", "subject_kind": "user", "subject": "ada", "kind": "block", "throttle_to": "1/second"},
        {"reason": "x", "subject_kind": "address", "subject": "192.0.2.1", "kind": "quarantine"},
        {"reason": "x", "subject_kind": "address", "subject": "everywhere", "kind": "block"},
        {"reason": "x", "subject_kind": "user", "subject": "ada", "kind": "block", "seconds": 0},
    ],
)
def test_what_is_no_restriction_is_refused_with_the_member(client, service_headers, sign_up, body, query) -> None:
    body = {**body, **({"subject": sign_up().account.username} if body.get("subject") == "ada" else {})}
    answer = client.post(f"{ADMIN}/restrictions", json=body, headers=service_headers("moderation"))
    assert (answer.status_code, answer.json["code"]) == (422, "validation_failed")
    assert query("SELECT count(*) FROM restrictions") == query("SELECT count(*) FROM acts") == [(0,)]


def test_a_block_is_imposed_listed_and_lifted(ask: Ask, client, sign_up) -> None:
    player = sign_up()
    who = {"subject_kind": "user", "subject": player.account.username, "kind": "block"}
    imposed = ask("/restrictions", 201, **who, seconds=60, reason="a test")
    assert (imposed["subject"], imposed["imposed_by"]) == (player.account.user_id, "token tests")
    assert imposed["ends_at"] > imposed["imposed_at"]
    assert play(client, player, "blocked") == 403
    assert [each["id"] for each in ask("/restrictions?kind=block")["restrictions"]] == [imposed["id"]]
    assert ask("/restrictions?kind=throttle")["restrictions"] == []
    ask("/restrictions?kind=ban", 422)
    assert ask("/restrictions/lift", **who, reason="over")["lifted_at"] is not None
    assert play(client, player, "free") == 202
    ask("/restrictions/lift", 404, **who, reason="again")
    acts = ask(f"/acts?subject={player.account.user_id}")["acts"]
    assert [(each["operator"], each["act"], each["reason"]) for each in acts] == [
        ("token tests", "lift block user", "over"),
        ("token tests", "block user", "a test"),
    ]


def test_quarantine_from_the_first_update_to_the_release(ask: Ask, client, sign_up, drain, stores) -> None:
    player, other = sign_up(), sign_up()
    name = player.account.username
    ask("/restrictions", 201, subject_kind="user", subject=name, kind="quarantine", reason="too good")
    assert play(client, player, "q-1") == play(client, player, "q-2") == play(client, other, "o-1") == 202
    drain()
    assert names(stores) == [other.account.username]
    assert [(each["username"], each["updates"]) for each in ask("/quarantine")["players"]] == [(name, 2)]
    assert [each["action_id"] for each in ask(f"/quarantine/{name}")["updates"]] == ["q-1", "q-2"]
    assert ask(f"/quarantine/{name}/release", reason="fine")["updates"] == 2
    drain()
    assert names(stores) == [name, other.account.username]
    assert ask("/quarantine")["players"] == ask("/restrictions")["restrictions"] == []


def test_what_is_rejected_never_counts(ask: Ask, client, sign_up, drain, stores) -> None:
    player = sign_up()
    name = player.account.username
    ask("/restrictions", 201, subject_kind="user", subject=name, kind="quarantine", reason="too good")
    play(client, player, "q-1")
    drain()
    assert ask(f"/quarantine/{name}/reject", reason="a robot")["updates"] == 1
    answer = client.get("/api/v1/scores/updates/q-1", headers=player.headers).json
    assert (answer["status"], answer["code"], answer["detail"]) == ("rejected", "rejected_by_operator", "a robot")


def test_as_many_updates_as_one_act_may_name_fit_into_its_body(ask: Ask, sign_up) -> None:
    longest = [f"{number:064d}" for number in range(ACTION_IDS_MOST)]
    ask(f"/players/{sign_up().account.username}/void", 404, action_ids=longest, reason="a long night " * 76)


def test_a_player_is_hidden_and_updates_are_voided_and_both_undone(ask: Ask, client, sign_up, drain, stores) -> None:
    player = sign_up()
    name = player.account.username
    play(client, player, "v-1", 3)
    play(client, player, "v-2", 2)
    drain()
    assert ask(f"/players/{name}/hide", reason="under review")["changed"]
    assert not ask(f"/players/{name}/hide", reason="again")["changed"]
    assert names(stores) == []
    assert ask(f"/players/{name}/show", reason="fine")["changed"]
    assert names(stores) == [name]
    ask(f"/players/{name}/void", 422, reason="all of it")
    [voided] = ask(f"/players/{name}/void", action_ids=["v-1"], reason="a broken level")["updates"]
    assert (voided["action_id"], voided["score_increment"]) == ("v-1", 30)
    assert [entry.score for entry in stores.ranking.top("global", 10).entries] == [20]
    ask(f"/players/{name}/void", 404, action_ids=["v-1"], reason="again")
    assert len(ask(f"/players/{name}/restore", since="2020-01-01T00:00:00Z", reason="it was not")["updates"]) == 1
    assert [entry.score for entry in stores.ranking.top("global", 10).entries] == [50]


def test_an_incident_is_listed_looked_at_and_closed(ask: Ask, services: Services) -> None:
    watch = Watch(services.stores.engine, services.stores.rules, Suspicion(services.stores.redis))
    for _ in range(200):
        watch.note("token_invalid", address="192.0.2.77", request_id="r-1")
    watch.report()
    [incident] = ask("/incidents")["incidents"]
    assert (incident["rule"], incident["subject"], incident["events"]) == ("forged-tokens", "192.0.2.77", 200)
    path = f"/incidents/{incident['id']}"
    assert ask(path)["evidence"][0]["request_id"] == "r-1"
    assert ask(f"{path}/close", reason="a scanner")["closed_reason"] == "a scanner"
    ask(f"{path}/close", 404, reason="again")
    assert ask("/incidents")["incidents"] == []
    assert len(ask("/incidents?all=1")["incidents"]) == 1
    ask("/incidents/no-uuid", 404)


def test_a_game_server_may_ask_for_anybody(client, sign_up, service_headers, drain, services: Services) -> None:
    player = sign_up()
    play(client, player, "s-1")
    drain()
    path = f"/api/v1/scores/of/{player.account.user_id}"
    headers = service_headers("boards:read")
    assert client.get(path, headers=headers).json["score"] == 10
    assert client.get(path, headers=service_headers("scores:write")).json["code"] == "forbidden"
    assert client.get(path, headers=player.headers).json["code"] == "forbidden"
    assert client.get(f"/api/v1/scores/of/{uuid4()}", headers=headers).status_code == 404
    assert client.get("/api/v1/scores/of/ada", headers=headers).status_code == 404
