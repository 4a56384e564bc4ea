"""Each part tells its own figures: the sockets on their port, the worker on one of its own."""

from __future__ import annotations

import re
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from pathlib import Path

import pytest
from flask import Flask
from flask.testing import FlaskClient

from models.errors import SettingsInvalid
from models.settings import Settings
from models.version import VERSION
from tests.fixtures.api import OpenApi
from tests.fixtures.live_stack import LiveStack
from tests.fixtures.own_postgres import OwnPostgres
from tests.fixtures.waiting import eventually
from web.live.app import create_app
from web.metrics import Requests
from worker import serving

#: Two processes that share their figures in the folder that the environment names.
_COUNTS = """
import os
from worker import metrics
child = os.fork()
metrics.APPLIED.inc(3 if child else 4)
metrics.COMPARED_AT.labels("global", "sample").set(2_000 if child else 1_000)
child and os.waitpid(child, 0)
"""


def read(url: str) -> str:
    with urllib.request.urlopen(url, timeout=5) as answer:
        return answer.read().decode()


def test_the_sockets_tell_theirs(live_stack: LiveStack) -> None:
    text = read(live_stack.sockets_url.replace("ws://", "http://") + "/metrics")
    assert re.search(r"^scoreboard_sockets \d", text, re.MULTILINE)
    assert f'version="{VERSION}"' in text
    assert "scoreboard_database_up" not in text  # the API asks PostgreSQL, nobody else


def test_a_worker_tells_theirs_and_that_it_lives(live_stack: LiveStack) -> None:
    address = f"http://127.0.0.1:{live_stack.environ['WORKER_METRICS_PORT']}"
    eventually(lambda: "scoreboard_swept_timestamp_seconds 1" in read(f"{address}/metrics"), 10, 0.1)
    text = read(f"{address}/metrics")
    # Known boards are there before anything was mended: growth of something is seen only when there was a 0 before it.
    assert re.search(r'^scoreboard_boards_repaired_total\{board="global"\} \d', text, re.MULTILINE)
    assert re.search(r'^scoreboard_players_repaired_total\{board="global",cause="ahead"\} \d', text, re.MULTILINE)
    assert read(f"{address}/healthz") == '{"status":"ok"}'
    with pytest.raises(urllib.error.HTTPError) as refused:
        read(f"{address}/")
    with refused.value as answer:
        assert answer.code == 404


def test_the_sockets_figures_are_for_inner_addresses(environment: dict[str, str]) -> None:
    app = create_app(Settings.from_env({**environment, "INNER_NETWORKS": "10.0.0.0/8"}))
    client = app.test_client()
    assert client.get("/metrics", environ_base={"REMOTE_ADDR": "192.0.2.1"}).status_code == 404
    assert client.get("/metrics", environ_base={"REMOTE_ADDR": "10.1.2.3"}).status_code == 200
    assert client.get("/healthz", environ_base={"REMOTE_ADDR": "192.0.2.1"}).status_code == 200


def test_figures_of_processes_add_up_and_moments_are_the_latest(environment: dict[str, str], tmp_path: Path) -> None:
    folder = tmp_path / "figures"
    folder.mkdir()
    environ = {**environment, "PROMETHEUS_MULTIPROC_DIR": str(folder)}
    subprocess.run([sys.executable, "-c", _COUNTS], env=environ, check=True, timeout=30)
    with socket.create_server(("127.0.0.1", 0)) as held:
        port = held.getsockname()[1]
    server = serving.serve("127.0.0.1", port, str(folder))
    try:
        text = read(f"http://127.0.0.1:{port}/metrics")
    finally:
        server.shutdown()
        server.server_close()
    assert "scoreboard_updates_applied_total 7.0" in text
    assert 'scoreboard_compared_timestamp_seconds{board="global",how="sample"} 2000.0' in text


def test_a_port_that_is_taken_ends_the_worker() -> None:
    with socket.create_server(("127.0.0.1", 0)) as held, pytest.raises(SystemExit, match="WORKER_METRICS_PORT"):
        serving.serve("127.0.0.1", held.getsockname()[1], None)


def test_a_worker_without_a_folder_for_its_figures_is_refused(environment: dict[str, str]) -> None:
    with pytest.raises(SettingsInvalid, match="PROMETHEUS_MULTIPROC_DIR"):
        Settings.from_env({**environment, "WORKER_METRICS_PORT": "9000"})
    assert Settings.from_env(environment).worker_metrics_port is None


def test_redis_and_the_workers_are_told_apart(client: FlaskClient, stores, parts_of) -> None:
    assert parts_of(client.get("/metrics").text) == {"scoreboard_redis_up": 1, "scoreboard_worker_up": 0}
    stores.redis.set("sb:worker:seen", b"1", ex=10)
    assert parts_of(client.get("/metrics").text) == {"scoreboard_redis_up": 1, "scoreboard_worker_up": 1}


def test_without_redis_nobody_knows_of_workers(open_api, environment: dict[str, str], parts_of) -> None:
    client = open_api(Settings.from_env({**environment, "REDIS_URL": "unix:///nobody-is-here"})).test_client()
    assert parts_of(client.get("/metrics").text) == {"scoreboard_redis_up": 0}


def test_a_frozen_database_is_told_before_the_scrape_is_over(
    open_api: OpenApi, own_postgres: OwnPostgres, settings_on_own_postgres: Settings
) -> None:
    """Else Prometheus would say that all APIs are down."""
    client = open_api(settings_on_own_postgres).test_client()
    assert "scoreboard_database_up 1.0" in client.get("/metrics").text
    own_postgres.freeze()
    started = time.monotonic()
    assert "scoreboard_database_up 0.0" in client.get("/metrics").text
    assert time.monotonic() - started < 3


@pytest.fixture
def parts_of():
    """What a text tells of Redis and the workers."""

    def run(text: str) -> dict[str, float]:
        found = re.findall(r"^(scoreboard_(?:redis|worker)_up) (\S+)$", text, re.MULTILINE)
        return {name: float(value) for name, value in found}

    return run


def test_the_inbox_is_told_by_shard(client: FlaskClient, submit, players, query) -> None:
    for player in players(3):
        submit(player)
    query("UPDATE inbox SET shard = 5 WHERE ctid = (SELECT min(ctid) FROM inbox)")
    text = client.get("/metrics").text
    assert 'scoreboard_inbox_shard_depth{shard="0"} 2.0' in text
    assert 'scoreboard_inbox_shard_depth{shard="5"} 1.0' in text
    assert "scoreboard_inbox_depth 3.0" in text


def test_a_request_that_never_came_to_flask_is_counted_under_its_route_and_status() -> None:
    requests = Requests(Flask("figures"))
    requests.count("GET", 304, "/api/v1/leaderboards/<board>", 0.001, None)
    requests.tell()
    labels = {"method": "GET", "status": "304", "url_rule": "/api/v1/leaderboards/<board>"}
    assert requests.registry.get_sample_value("flask_http_request_duration_seconds_count", labels) == 1
