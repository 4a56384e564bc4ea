"""Reading the boards over the API: pages, cursors, ETags, neighbours, friends."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import replace
from typing import Any
from uuid import uuid4

import pytest
from flask.testing import FlaskClient

from models.accounts.users import Registered
from models.settings import Settings
from tests.fixtures.api import OpenApi
from tests.fixtures.people import Players, server_update

BOARD = "/api/v1/leaderboards/global"
RFC3339 = re.compile(r"\A\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{6}Z\Z")


@pytest.fixture
def crowd(players: Players, submit_batch: Callable[..., Any], drain: Callable[..., Any]) -> list[Registered]:
    """25 players; the first has the most points, and the last three are tied, in the order they came."""
    people = players(25)
    for at, person in enumerate(people):
        submit_batch([server_update(person, value=max(26 - at, 4))])
    drain()
    return people


def entries(client: FlaskClient, path: str) -> list[dict[str, Any]]:
    answer = client.get(path)
    assert answer.status_code == 200, answer.text
    found: list[dict[str, Any]] = answer.json["entries"]
    return found


def test_a_board_without_scores_is_an_empty_list(client: FlaskClient) -> None:
    page = client.get(BOARD).json
    assert (page["entries"], page["total"], page["next_cursor"], page["previous_cursor"]) == ([], 0, None, None)


def test_an_entry_says_who_where_how_much_and_since_when(client: FlaskClient, crowd: list[Registered]) -> None:
    first = entries(client, BOARD)[0]
    assert set(first) == {"rank", "user_id", "username", "score", "reached_at"}
    assert (first["rank"], first["user_id"], first["username"]) == (1, crowd[0].user_id, crowd[0].username)
    assert first["score"] == 260
    assert RFC3339.match(first["reached_at"])


def test_equal_scores_rank_by_who_was_there_first(client: FlaskClient, crowd: list[Registered]) -> None:
    last = entries(client, BOARD)[-3:]
    assert [entry["user_id"] for entry in last] == [person.user_id for person in crowd[-3:]]
    assert [entry["rank"] for entry in last] == [23, 24, 25]
    assert len({entry["score"] for entry in last}) == 1


def test_pages_lead_through_the_whole_board_and_back(client: FlaskClient, crowd: list[Registered]) -> None:
    everybody = [person.user_id for person in crowd]
    seen, cursor, pages = [], None, 0
    while True:
        page = client.get(BOARD, query_string={"limit": 10, **({"cursor": cursor} if cursor else {})}).json
        seen += [entry["user_id"] for entry in page["entries"]]
        pages += 1
        if page["next_cursor"] is None:
            break
        cursor = page["next_cursor"]
    assert (seen, pages) == (everybody, 3)
    back = client.get(BOARD, query_string={"limit": 10, "cursor": page["previous_cursor"]}).json
    assert [entry["user_id"] for entry in back["entries"]] == everybody[10:20]


def test_who_knows_the_version_gets_304_until_it_changes(
    client: FlaskClient, crowd: list[Registered], submit_batch: Callable[..., Any], drain: Callable[..., Any]
) -> None:
    first = client.get(BOARD + "?limit=5")
    assert "max-age" in first.headers["Cache-Control"]
    assert "public" in first.headers["Cache-Control"]
    again = client.get(BOARD + "?limit=5", headers={"If-None-Match": first.headers["ETag"]})
    assert (again.status_code, again.data, again.headers["ETag"]) == (304, b"", first.headers["ETag"])
    weak = client.get(BOARD + "?limit=5", headers={"If-None-Match": f'"x", W/{first.headers["ETag"]}'})
    assert weak.status_code == 304
    other_page = client.get(BOARD + "?limit=6", headers={"If-None-Match": first.headers["ETag"]})
    assert other_page.status_code == 200
    submit_batch([server_update(crowd[3])])
    drain()
    changed = client.get(BOARD + "?limit=5", headers={"If-None-Match": first.headers["ETag"]})
    assert changed.status_code == 200
    assert changed.json["version"] > first.json["version"]


def test_around_a_player_stand_the_neighbours(client: FlaskClient, crowd: list[Registered]) -> None:
    def around(at: int, limit: int) -> list[int]:
        return [e["rank"] for e in entries(client, f"{BOARD}/around/{crowd[at].user_id}?limit={limit}")]

    assert around(12, 5) == [11, 12, 13, 14, 15]
    assert around(0, 5) == [1, 2, 3, 4, 5]
    assert around(24, 5) == [21, 22, 23, 24, 25]
    assert around(12, 1000) == list(range(1, 26))
    assert len(entries(client, f"{BOARD}/around/{crowd[12].user_id}")) == 11


@pytest.mark.parametrize("who", ["610abb9c-3658-4aa2-bf1b-95d78ddbd763", "not-a-uuid", "A" * 300])
def test_around_nobody_is_not_found(client: FlaskClient, crowd: list[Registered], who: str) -> None:
    answer = client.get(f"{BOARD}/around/{who}")
    assert (answer.status_code, answer.json["code"]) == (404, "not_found")


def test_friends_are_ranked_among_everybody(client: FlaskClient, crowd: list[Registered]) -> None:
    wanted = [crowd[20].user_id, str(uuid4()), crowd[2].user_id, crowd[2].user_id]
    found = client.post(BOARD + "/ranks", json={"user_ids": wanted}).json
    assert [(e["user_id"], e["rank"]) for e in found["entries"]] == [(crowd[2].user_id, 3), (crowd[20].user_id, 21)]
    assert client.post(BOARD + "/ranks", json={"user_ids": []}).json["entries"] == []
    assert client.post(BOARD + "/ranks", json={"user_ids": [str(uuid4()) for _ in range(500)]}).status_code == 200
    assert client.post(BOARD + "/ranks", json={"user_ids": [str(uuid4()) for _ in range(501)]}).status_code == 422
    assert client.post(BOARD + "/ranks", json={"user_ids": ["nobody"]}).status_code == 422


def test_the_boards_are_listed_with_what_counts_on_them(client: FlaskClient) -> None:
    boards = {board["board"]: board for board in client.get("/api/v1/leaderboards").json["boards"]}
    assert {"action": "level_complete", "points": 10, "value_least": 1, "value_most": 100, "cooldown_seconds": 0} in (
        boards["global"]["actions"]
    )


def test_a_board_lost_from_redis_is_rebuilt_for_the_next_reader(
    client: FlaskClient, crowd: list[Registered], stores: Any
) -> None:
    """I5: Redis holds nothing that Postgres does not give back, and versions go on (I6)."""
    before = client.get(BOARD).json
    stores.redis.flushdb()
    after = client.get(BOARD).json
    assert after["entries"] == before["entries"]
    assert after["version"] > before["version"]


def test_a_front_end_on_an_allowed_origin_may_call(open_api: OpenApi, settings: Settings) -> None:
    home = "https://game.example"
    client = open_api(replace(settings, allowed_origins=(home,))).test_client()
    asked = {"Access-Control-Request-Method": "POST", "Access-Control-Request-Headers": "authorization"}
    preflight = client.options("/api/v1/scores/update", headers={"Origin": home, **asked})
    assert (preflight.status_code, preflight.headers["Access-Control-Allow-Origin"]) == (204, home)
    assert "Authorization" in preflight.headers["Access-Control-Allow-Headers"]
    refusal = client.post("/api/v1/scores/update", headers={"Origin": home})
    assert (refusal.status_code, refusal.headers["Access-Control-Allow-Origin"]) == (401, home)
    for origin in ("https://evil.example", "null", home + ".evil.example"):
        stranger = client.options("/api/v1/scores/update", headers={"Origin": origin, **asked})
        assert not [name for name, _ in stranger.headers if name.startswith("Access-Control")]
        answer = client.get(BOARD, headers={"Origin": origin})
        assert "Access-Control-Allow-Origin" not in answer.headers
        assert "Origin" in answer.headers["Vary"]


def test_with_redis_away_reads_say_when_to_come_again(open_api: OpenApi, settings: Settings) -> None:
    client = open_api(replace(settings, redis_url="unix:///nobody-listens-here")).test_client()
    answer = client.get(BOARD)
    assert (answer.status_code, answer.json["code"]) == (503, "not_ready")
    assert int(answer.headers["Retry-After"]) >= 1
