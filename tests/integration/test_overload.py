"""More writes than a process lets in are refused at once, and nobody else notices (I8, I9)."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import replace
from typing import Any

import pytest
from flask import Flask
from prometheus_client import REGISTRY
from sqlalchemy import text
from werkzeug.test import TestResponse

from models.settings import Settings
from tests.fixtures.api import OpenApi, SignedIn
from tests.fixtures.people import as_json, sign
from web.gate import EXTENSION as GATE
from web.gate import WRITES_MOST, Gate
from web.services import EXTENSION

UPDATE = "/api/v1/scores/update"
ORIGIN = "https://game.example"


@pytest.fixture
def api(open_api: OpenApi, settings: Settings) -> Flask:
    """The API, for pages on one origin."""
    return open_api(replace(settings, allowed_origins=(ORIGIN,)))


@pytest.fixture
def gate(api: Flask) -> Gate:
    """The process' gate."""
    found: Gate = api.extensions[GATE]
    return found


def post(api: Flask, player: SignedIn, **headers: str) -> TestResponse:
    """A fresh update."""
    sent = {"Content-Type": "application/json", **player.headers, **headers}
    return api.test_client().post(UPDATE, data=as_json(sign(player.account)), headers=sent)


@pytest.fixture
def held(api: Flask, monkeypatch: pytest.MonkeyPatch) -> Iterator[threading.Event]:
    """Writes to the inbox wait until this is set, as with a database that is frozen."""
    released = threading.Event()
    acceptor = api.extensions[EXTENSION].stores.acceptor
    write = acceptor.accept

    def wait_first(*args: Any, **named: Any) -> Any:
        assert released.wait(10)
        return write(*args, **named)

    monkeypatch.setattr(acceptor, "accept", wait_first)
    yield released
    released.set()


@pytest.fixture
def full(
    api: Flask, gate: Gate, held: threading.Event, sign_up: Callable[[], SignedIn], eventually
) -> Iterator[list[Future[TestResponse]]]:
    """The gate has let in all it lets in; these are their answers."""
    player = sign_up()
    with ThreadPoolExecutor(WRITES_MOST) as pool:
        answers = [pool.submit(post, api, player, Prefer="wait=0") for _ in range(WRITES_MOST)]
        try:
            eventually(lambda: gate.writes.inside == WRITES_MOST)
            yield answers
        finally:
            held.set()


def test_the_surplus_is_refused_as_a_problem_that_a_page_can_read(
    api: Flask, full: list[Future[TestResponse]], contents
) -> None:
    before, counted = contents(), _refused()
    answer = api.test_client().post(UPDATE, data=b"{", headers={"Origin": ORIGIN, "X-Request-ID": "mine-1"})
    told = answer.get_json(force=True)
    assert (answer.status_code, told["code"], told["status"]) == (503, "overloaded", 503)
    assert answer.mimetype == "application/problem+json"
    assert told["request_id"] == answer.headers["X-Request-ID"] == "mine-1"
    assert int(answer.headers["Retry-After"]) >= 1
    assert answer.headers["Access-Control-Allow-Origin"] == ORIGIN
    assert "Retry-After" in answer.headers["Access-Control-Expose-Headers"]
    assert _refused() == counted + 1
    assert contents() == before
    assert not any(answer.done() for answer in full)


def test_health_and_boards_answer_meanwhile(api: Flask, full: list[Future[TestResponse]]) -> None:
    client = api.test_client()
    assert client.get("/healthz").status_code == 200
    assert client.get("/api/v1/leaderboards/global").status_code == 200
    assert client.post("/api/v1/leaderboards/global/ranks", json={"user_ids": []}).status_code != 503
    assert not any(answer.done() for answer in full)


def test_who_was_let_in_is_answered_and_the_gate_is_empty_again(
    api: Flask, gate: Gate, held: threading.Event, full: list[Future[TestResponse]], sign_up: Callable[[], SignedIn]
) -> None:
    held.set()
    assert {answer.result(10).status_code for answer in full} == {202}
    assert gate.writes.inside == 0
    assert post(api, sign_up()).status_code == 202


def test_a_refused_or_failing_request_gives_its_place_back(api: Flask, gate: Gate) -> None:
    statuses = {api.test_client().post(UPDATE, data=b"{").status_code for _ in range(WRITES_MOST + 1)}
    assert statuses == {401}
    assert gate.writes.inside == 0


@pytest.mark.parametrize("limit", [{"inbox_depth_limit": 1}, {"inbox_age_limit_seconds": 0.05}], ids=["deep", "old"])
def test_an_inbox_at_its_limit_refuses_and_recovers_by_itself(
    open_api: OpenApi, settings: Settings, sign_up: Callable[[], SignedIn], eventually, limit: dict[str, Any]
) -> None:
    app, player = open_api(replace(settings, **limit)), sign_up()
    assert post(app, player).status_code == 202
    eventually(lambda: post(app, player).get_json().get("code") == "overloaded")
    with app.extensions[EXTENSION].stores.engine.begin() as connection:
        connection.execute(text("DELETE FROM inbox"))  # as a worker does that has come back
    eventually(lambda: post(app, player).status_code == 202)


def _refused() -> float:
    return REGISTRY.get_sample_value("scoreboard_refused_total", {"code": "overloaded"}) or 0.0
