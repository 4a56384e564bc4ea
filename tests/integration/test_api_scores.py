"""Updates over the API: accepted, repeated, waited for, in batches; and a player's own standing and history."""

from __future__ import annotations

import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from types import SimpleNamespace
from typing import Any
from uuid import uuid4

import pytest
from flask.testing import FlaskClient
from sqlalchemy.exc import OperationalError

from models.pipeline import ledger
from models.pipeline.drain import Drain
from tests.fixtures.api import SignedIn
from tests.fixtures.people import as_json, sign
from tests.fixtures.threads import at_once, background
from web.api import waiting

UPDATE, BATCH = "/api/v1/scores/update", "/api/v1/scores/batch"
JSON = {"Content-Type": "application/json"}


@pytest.fixture
def player(sign_up: Callable[[], SignedIn]) -> SignedIn:
    return sign_up()


@pytest.fixture
def working(worker: Drain) -> Iterator[None]:
    """A worker that drains all the time."""
    stop = threading.Event()

    def work() -> None:
        while not stop.wait(0.005):
            worker.drain(0)

    thread = background(work)
    yield
    stop.set()
    thread.join(10)


def send(client: FlaskClient, player: SignedIn, update: Any, **headers: str) -> Any:
    return client.post(UPDATE, data=as_json(update), headers={**JSON, **player.headers, **headers})


def test_an_update_is_queued_and_says_where_to_look(client, player, query, drain) -> None:
    answer = send(client, player, sign(player.account, "a:1"))
    assert answer.status_code == 202
    assert answer.json == {"action_id": "a:1", "status": "queued", "status_url": answer.json["status_url"]}
    assert query("SELECT action_id FROM inbox") == [("a:1",)]
    state = client.get(answer.json["status_url"], headers=player.headers)
    assert (state.status_code, state.json["status"]) == (200, "queued")
    drain()
    state = client.get(answer.json["status_url"], headers=player.headers).json
    [result] = state["results"]
    assert state["status"] == "applied"
    assert result == {
        "board": "global",
        "previous_score": 0,
        "score_increment": 10,
        "new_score": 10,
        "rank": 1,
    }


def test_the_request_id_goes_with_the_update_into_the_ledger(client, player, query, drain) -> None:
    send(client, player, sign(player.account), **{"X-Request-ID": "from-the-caller.1"})
    drain()
    assert query("SELECT request_id FROM score_history") == [("from-the-caller.1",)]


def test_who_waits_gets_the_result_with_the_rank(client, player, working) -> None:
    answer = send(client, player, sign(player.account, "b-1", "boss_defeated"), Prefer="wait=10")
    assert answer.status_code == 200
    assert answer.headers["Preference-Applied"] == "wait"
    assert answer.json["status"] == "applied"
    results = {result["board"]: result for result in answer.json["results"]}
    assert {board: (r["new_score"], r["rank"]) for board, r in results.items()} == {
        "global": (500, 1),
        "skill": (500, 1),
    }


def test_who_waits_too_short_gets_202_and_it_is_queued_all_the_same(client, player, query) -> None:
    for seconds in ("0", "1"):
        answer = send(client, player, sign(player.account, f"w-{seconds}"), Prefer=f"wait={seconds}")
        assert (answer.status_code, answer.json["status"]) == (202, "queued")
        assert "Preference-Applied" not in answer.headers
    assert query("SELECT count(*) FROM inbox") == [(2,)]


@pytest.mark.parametrize(
    "trouble",
    [
        OperationalError("SELECT", {}, Exception("the server closed the connection unexpectedly")),
        RuntimeError("nobody thought of this"),
    ],
)
def test_a_result_that_cannot_be_read_is_no_refusal(client, player, query, monkeypatch, trouble) -> None:
    """I1: it is committed, so no trouble afterwards may be told as a refusal."""

    def fail(*_: object) -> None:
        raise trouble

    monkeypatch.setattr(waiting.ledger, "outcome", fail)
    answer = send(client, player, sign(player.account), Prefer="wait=1")
    assert (answer.status_code, answer.json["status"]) == (202, "queued")
    assert query("SELECT count(*) FROM inbox") == [(1,)]


@pytest.mark.parametrize("prefer", ["", "wait", "wait=x", "wait=-1", "respond-async", "await=3", "wait=99999999999"])
def test_a_preference_that_says_nothing_sane_is_no_preference(client, player, prefer) -> None:
    """RFC 7240 §2: what is not understood is ignored."""
    assert send(client, player, sign(player.account), Prefer=prefer).status_code == 202


def test_a_repeat_gets_the_same_answer_and_says_so(client, player, drain, contents) -> None:
    update = sign(player.account, "a-1")
    first = send(client, player, update)
    assert "Idempotent-Replayed" not in first.headers
    for again in (update, sign(player.account, "a-1")):
        repeat = send(client, player, again)
        assert (repeat.status_code, repeat.json) == (202, first.json)
        assert repeat.headers["Idempotent-Replayed"] == "true"
    drain()
    told = send(client, player, update, Prefer="wait=5")
    before = contents()
    repeat = send(client, player, sign(player.account, "a-1"), Prefer="wait=5")
    assert (repeat.status_code, repeat.json["results"][0]["new_score"]) == (200, 10)
    assert repeat.json == told.json
    assert repeat.headers["Idempotent-Replayed"] == "true"
    assert contents() == before


def test_a_repeat_is_told_the_rank_of_the_first_answer_whatever_moved_since(client, player, sign_up, drain) -> None:
    update, other = sign(player.account, "b-1", "boss_defeated"), sign_up()
    send(client, player, update)
    drain()
    first = send(client, player, update, Prefer="wait=5")
    for _ in range(2):
        send(client, other, sign(other.account, action="boss_defeated"))
    drain()
    assert client.get("/api/v1/scores/me", headers=player.headers).json["rank"] == 2
    repeat = send(client, player, update, Prefer="wait=5")
    state = client.get("/api/v1/scores/updates/b-1", headers=player.headers)
    assert {result["rank"] for result in first.json["results"]} == {1}
    assert repeat.json == first.json == state.json


def test_of_two_first_answers_at_once_one_decides_the_rank(stores, player) -> None:
    """Whichever was kept first is what both are told."""

    def tell(rank: int) -> dict[str, int]:
        with stores.engine.begin() as connection:
            return ledger.tell_ranks(connection, player.account.user_id, "a-1", {"global": rank})

    told = at_once([lambda rank=rank: tell(rank) for rank in range(1, 17)])
    assert told == [told[0]] * 16


def test_fifty_equal_requests_at_once_are_one_history_row_and_fifty_equal_answers(api, player, query, drain) -> None:
    """I2."""
    update = sign(player.account, "a-1")
    answers = at_once([lambda: send(api.test_client(), player, update) for _ in range(50)])
    assert {(answer.status_code, answer.text) for answer in answers} == {(202, answers[0].text)}
    assert Counter("Idempotent-Replayed" in answer.headers for answer in answers) == {False: 1, True: 49}
    drain()
    assert query("SELECT count(*) FROM score_history") == [(1,)]


def test_fifty_equal_requests_that_wait_get_fifty_equal_results(api, player, query, working) -> None:
    """More than may wait for long: they wait as well while updates are applied in good time."""
    update = sign(player.account, "a-1")
    answers = at_once([lambda: send(api.test_client(), player, update, Prefer="wait=10") for _ in range(50)])
    assert {(answer.status_code, answer.text) for answer in answers} == {(200, answers[0].text)}
    assert answers[0].json["results"][0]["new_score"] == 10
    assert Counter("Idempotent-Replayed" in answer.headers for answer in answers) == {False: 1, True: 49}
    assert query("SELECT count(*) FROM score_history") == [(1,)]


def test_those_too_many_do_not_wait_while_nothing_is_applied(
    client, services, player, query, eventually, monkeypatch
) -> None:
    """I8: an API whose worker is gone has threads left for others."""
    send(client, player, sign(player.account, "old"))
    query("UPDATE inbox SET accepted_at = accepted_at - interval '1 minute'")
    eventually(lambda: services.stores.pressure.state().oldest_age_seconds > 1)
    monkeypatch.setattr(waiting, "_waiters", threading.BoundedSemaphore(1))
    never = SimpleNamespace(monotonic=time.monotonic, sleep=lambda seconds: pytest.fail("waited all the same"))
    monkeypatch.setattr(waiting, "time", never)
    with waiting._waiters:
        answer = send(client, player, sign(player.account, "a-1"), Prefer="wait=10")
    assert (answer.status_code, answer.json["status"]) == (202, "queued")


def test_what_was_parked_is_told_as_rejected_with_its_reason(client, player, query, drain) -> None:
    send(client, player, sign(player.account, "a-1"))
    query("UPDATE inbox SET action = 'gone'")
    drain()
    state = client.get("/api/v1/scores/updates/a-1", headers=player.headers).json
    assert (state["status"], state["code"]) == ("rejected", "action_unknown")
    assert state["detail"]
    answer = send(client, player, sign(player.account, "a-1"), Prefer="wait=5")
    assert (answer.status_code, answer.json["status"]) == (200, "rejected")


def test_an_update_is_shown_to_its_owner_alone(client, player, sign_up) -> None:
    send(client, player, sign(player.account, "a-1"))
    for who, action_id in ((sign_up(), "a-1"), (player, "a-2"), (player, "A-1")):
        answer = client.get(f"/api/v1/scores/updates/{action_id}", headers=who.headers)
        assert (answer.status_code, answer.json["code"]) == (404, "not_found")


def test_a_nonce_spent_for_tokens_is_no_update(client, player, query) -> None:
    query("INSERT INTO inbox_keys VALUES (:u, 'token/00', '00', 'token', 0)", u=player.account.user_id)
    for path in ("token/00", "token%2F00"):
        answer = client.get(f"/api/v1/scores/updates/{path}", headers=player.headers)
        assert answer.status_code == 404


class TestBatch:
    """A game server's updates."""

    @pytest.fixture
    def headers(self, service_headers) -> dict[str, str]:
        return {**JSON, **service_headers("scores:write")}

    def item(self, player: SignedIn, action_id: str, **changes: Any) -> dict[str, Any]:
        update = {"user_id": player.account.user_id, "action_id": action_id, "action": "level_complete", "value": 1}
        return {**update, **changes}

    def test_results_come_in_order_and_one_bad_item_refuses_no_other(
        self, client, player, headers, query, drain
    ) -> None:
        items = [
            self.item(player, "k-1"),
            self.item(player, "k-1"),
            self.item(player, "k-1", value=2),
            self.item(player, "k-2", action="fly"),
            self.item(player, "k-3", value=101),
            self.item(player, "k-4", user_id=str(uuid4())),
            self.item(player, "k-5", user_id="nobody"),
            self.item(player, "k 6"),
            self.item(player, "k-7", nonce="00"),
            {"action_id": "k-8"},
            5,
            self.item(player, "k-9", value=100),
        ]
        answer = client.post(BATCH, json={"updates": items}, headers=headers)
        assert answer.status_code == 202
        told = [(result["status"], result.get("code")) for result in answer.json["results"]]
        invalid = ("refused", "validation_failed")
        assert told == [
            ("queued", None),
            ("queued", None),
            ("refused", "action_id_conflict"),
            ("refused", "action_unknown"),
            invalid,
            ("refused", "not_found"),
            *[invalid] * 5,
            ("queued", None),
        ]
        ids = [result["action_id"] for result in answer.json["results"]]
        assert ids == ["k-1", "k-1", "k-1", "k-2", "k-3", "k-4", "k-5", "k 6", "k-7", "k-8", None, "k-9"]
        drain()
        assert query("SELECT action_id, new_score FROM score_history ORDER BY version") == [("k-1", 10), ("k-9", 1010)]

    def test_a_thousand_are_taken_and_one_more_is_too_many(self, client, player, headers, query) -> None:
        items = [self.item(player, f"k-{n}") for n in range(1001)]
        answer = client.post(BATCH, json={"updates": items}, headers=headers)
        assert (answer.status_code, answer.json["code"]) == (422, "validation_failed")
        assert query("SELECT count(*) FROM inbox") == [(0,)]
        answer = client.post(BATCH, json={"updates": items[:1000]}, headers=headers)
        assert Counter(result["status"] for result in answer.json["results"]) == {"queued": 1000}
        assert query("SELECT count(*) FROM inbox") == [(1000,)]

    def test_a_batch_may_be_large_and_not_larger(self, client, player, headers) -> None:
        padding = " " * (1024 * 1024)
        answer = client.post(BATCH, data='{"updates": []}' + padding, headers=headers)
        assert (answer.status_code, answer.json["code"]) == (413, "payload_too_large")
        body = b'{"updates": [' + b" " * 1_000_000 + b'{"action_id": "x"}]}'
        assert client.post(BATCH, data=body, headers=headers).status_code == 202

    @pytest.mark.parametrize("scopes", [[], ["users:write"], ["boards:read", "admin"]])
    def test_another_scope_will_not_do(self, client, player, service_headers, contents, scopes) -> None:
        before = contents()
        headers = {**JSON, **service_headers(*scopes)}
        answer = client.post(BATCH, json={"updates": [self.item(player, "k-1")]}, headers=headers)
        assert (answer.status_code, answer.json["code"]) == (403, "forbidden")
        assert contents() == before

    def test_a_player_cannot_vouch_for_anybody(self, client, player) -> None:
        answer = client.post(BATCH, json={"updates": [self.item(player, "k-1")]}, headers=player.headers)
        assert (answer.status_code, answer.json["code"]) == (403, "forbidden")


class TestMe:
    """A player's own standing and history."""

    def test_who_has_not_played_yet_has_no_rank(self, client, player) -> None:
        mine = client.get("/api/v1/scores/me", headers=player.headers)
        assert mine.status_code == 200
        assert "private" in mine.headers["Cache-Control"]
        assert (mine.json["score"], mine.json["rank"], mine.json["last_action_id"]) == (0, None, None)

    def test_score_rank_percentile_and_the_last_action(self, client, sign_up, submit, drain) -> None:
        people = [sign_up() for _ in range(4)]
        for value, person in enumerate(people, start=1):
            submit(person.account, f"last-{value}", value=value)
        drain()
        mine = client.get("/api/v1/scores/me?board=global", headers=people[0].headers).json
        best = client.get("/api/v1/scores/me?board=global", headers=people[3].headers).json
        assert (mine["score"], mine["rank"], mine["total"], mine["percentile"]) == (10, 4, 4, 25.0)
        assert (best["score"], best["rank"], best["percentile"]) == (40, 1, 100.0)
        assert best["last_action_id"] == "last-4"
        assert best["last_action_at"].endswith("Z")

    def test_an_unknown_board_is_told(self, client, player) -> None:
        for path in ("/api/v1/scores/me?board=pigs", "/api/v1/scores/me/history?board=pigs"):
            answer = client.get(path, headers=player.headers)
            assert (answer.status_code, answer.json["code"]) == (404, "board_unknown")

    def test_history_comes_newest_first_in_pages(self, client, player, submit, drain) -> None:
        for number in range(7):
            submit(player.account, f"h-{number}", "boss_defeated" if number % 2 else "level_complete")
            drain()
        seen: list[dict[str, Any]] = []
        cursor = ""
        while cursor is not None:
            page = client.get(f"/api/v1/scores/me/history?limit=4&cursor={cursor}", headers=player.headers).json
            seen += page["entries"]
            cursor = page["next_cursor"]
        assert [entry["action_id"] for entry in seen if entry["board"] == "global"] == [
            f"h-{number}" for number in reversed(range(7))
        ]
        assert [entry["action_id"] for entry in seen if entry["board"] == "skill"] == ["h-5", "h-3", "h-1"]
        assert seen[0].keys() == {
            "action_id",
            "action",
            "value",
            "board",
            "score_increment",
            "previous_score",
            "new_score",
            "created_at",
        }
        skill = client.get("/api/v1/scores/me/history?board=skill", headers=player.headers).json
        assert [entry["new_score"] for entry in skill["entries"]] == [1500, 1000, 500]
        assert skill["next_cursor"] is None

    def test_nobody_sees_anothers(self, client, player, sign_up, submit, drain) -> None:
        submit(player.account)
        drain()
        assert client.get("/api/v1/scores/me/history", headers=sign_up().headers).json["entries"] == []

    def test_scores_at_the_ends_of_int64_are_exact(self, client, player, submit, drain, query, stores) -> None:
        submit(player.account)
        drain()
        for score in (2**63 - 1, -(2**63), 2**53 + 1):
            query("UPDATE scores SET score = :score, version = version + 1", score=score)
            stores.redis.flushdb()
            assert client.get("/api/v1/scores/me", headers=player.headers).json["score"] == score
            assert client.get("/api/v1/leaderboards/global").json["entries"][0]["score"] == score
