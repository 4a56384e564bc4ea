"""What operators and front ends ask: where things are, whether they work, and figures."""

from __future__ import annotations

import re
import time
import urllib.request
from typing import Any

import pytest
from flask.testing import FlaskClient

from models import names
from models.settings import Settings
from tests.fixtures.api import OpenApi
from tests.fixtures.live_stack import LiveStack
from tests.fixtures.own_postgres import OwnPostgres
from tests.fixtures.people import as_json, sign
from tests.integration.test_end_to_end import call, newcomer


def test_one_address_leads_to_all_others(client: FlaskClient, settings: Settings) -> None:
    answer = client.get("/api/v1")
    assert answer.status_code == 200
    assert answer.json.keys() == {"name", "version", "api_url", "sockets_url", "docs_url"}
    assert (answer.json["api_url"], answer.json["sockets_url"]) == (settings.api_url, settings.sockets_url)


def test_health_asks_nobody(open_api: OpenApi, environment) -> None:
    nowhere = {
        "DATABASE_URL": "postgresql://x@/x?host=/nobody-is-here",
        "REDIS_URL": "unix:///nobody-is-here",
        "BROKER_URL": "redis+socket:///nobody-is-here?virtual_host=0",
    }
    client = open_api(Settings.from_env({**environment, **nowhere})).test_client()
    assert client.get("/healthz").status_code == 200
    answer = client.get("/readyz")
    assert answer.status_code == 503
    assert {name: part["status"] for name, part in answer.json["parts"].items()} == dict.fromkeys(
        ("database", "schema", "redis", "broker", "worker", "inbox"), "failing"
    )


@pytest.fixture
def parts(client: FlaskClient):
    def ask() -> dict[str, Any]:
        answer = client.get("/readyz")
        assert answer.status_code == (
            200 if all(part["status"] == "ok" for part in answer.json["parts"].values()) else 503
        )
        return answer.json["parts"]

    return ask


def test_readiness_tells_each_part_apart(parts, query, stores) -> None:
    stores.redis.delete(names.seen_key(names.APPLY_QUEUE))
    found = parts()
    assert {name for name, part in found.items() if part["status"] == "failing"} == {"worker"}
    stores.redis.set(names.seen_key(names.APPLY_QUEUE), b"1")
    assert parts()["worker"]["status"] == "ok"
    query("UPDATE alembic_version SET version_num = '0000'")
    assert parts()["schema"]["status"] == "failing"
    query("UPDATE alembic_version SET version_num = '9999'")
    assert parts()["schema"]["status"] == "ok", "a newer version's migration has run, and we serve until it has come"
    query("DROP TABLE alembic_version")
    found = parts()
    assert (found["database"]["status"], found["schema"]["status"]) == ("ok", "failing")
    assert "the beginning" in found["schema"]["detail"]


def test_a_frozen_database_is_told_in_ten_seconds(
    open_api: OpenApi, own_postgres: OwnPostgres, settings_on_own_postgres: Settings
) -> None:
    """I8."""
    client = open_api(settings_on_own_postgres).test_client()
    assert client.get("/readyz").json["parts"]["database"]["status"] == "ok"
    own_postgres.freeze()
    started = time.monotonic()
    parts = client.get("/readyz").json["parts"]
    assert time.monotonic() - started < 10
    assert {part for part in ("database", "schema", "inbox") if parts[part]["status"] == "failing"} == {
        "database",
        "schema",
        "inbox",
    }


def test_readiness_never_shows_a_secret(open_api: OpenApi, environment) -> None:
    nowhere = {
        "DATABASE_URL": "postgresql://someone:hush-hush@/x?host=/nobody-is-here",
        "REDIS_URL": "redis://:hush-hush@127.0.0.1:1/0",
        "BROKER_URL": "redis://:hush-hush@127.0.0.1:1/0",
    }
    client = open_api(Settings.from_env({**environment, **nowhere})).test_client()
    assert "hush" not in client.get("/readyz").text


def test_readiness_tells_how_deep_and_how_old_the_inbox_is(parts, submit, player, query) -> None:
    submit(player)
    query("UPDATE inbox SET accepted_at = now() - interval '100 seconds'")
    inbox = parts()["inbox"]
    assert (inbox["status"], inbox["depth"]) == ("ok", 1)
    assert 100 <= inbox["oldest_age_seconds"] < 120
    query("UPDATE inbox SET accepted_at = now() - interval '1000 seconds'")
    assert parts()["inbox"]["status"] == "failing"


def figures(text: str, name: str) -> dict[str, float]:
    """Labels → value of a metric in Prometheus' text format."""
    return {labels: float(value) for labels, value in re.findall(rf"^{name}(\{{.*\}})? (\S+)$", text, re.MULTILINE)}


class TestOfTheRunningService:
    """With real processes: figures of web and worker add up in one answer."""

    def metrics(self, stack: LiveStack) -> str:
        with urllib.request.urlopen(stack.api_url + "/metrics", timeout=5) as answer:
            assert answer.headers["Content-Type"].startswith("text/plain")
            return answer.read().decode()

    def test_an_update_is_counted_when_accepted_replayed_applied_and_published(
        self, live_stack: LiveStack, eventually
    ) -> None:
        player, token = newcomer(live_stack)
        before = self.metrics(live_stack)
        update = sign(player)
        for _ in range(3):
            call(live_stack, "/api/v1/scores/update", as_json(update), Authorization=token, Prefer="wait=10")

        def grown(name: str) -> float:
            now = self.metrics(live_stack)
            return sum(figures(now, name).values()) - sum(figures(before, name).values())

        for name, by in (
            ("scoreboard_updates_accepted_total", 1),
            ("scoreboard_updates_replayed_total", 2),
            ("scoreboard_updates_applied_total", 1),
            ("scoreboard_accepted_to_applied_seconds_count", 1),
            ("scoreboard_accepted_to_published_seconds_count", 1),
            ("scoreboard_apply_batch_rows_sum", 1),
        ):
            eventually(lambda name=name, by=by: grown(name) == by)

    def test_every_part_of_the_running_service_is_ready(self, live_stack: LiveStack) -> None:
        status, answer = call(live_stack, "/readyz")
        assert status == 200
        assert {part["status"] for part in answer["parts"].values()} == {"ok"}  # type: ignore[union-attr]
