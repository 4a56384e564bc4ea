"""One trace from the request to the frame, and one request id from API to socket, through the real processes."""

from __future__ import annotations

import json
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from secrets import token_hex
from typing import Any

import pytest
import redis
from websockets.sync.client import connect

from deploy.local.procfile import ROOT
from models.accounts.users import Registered
from models.settings import Settings
from models.tracing.opening import open_tracing
from models.tracing.tracing import FAREWELL_SECONDS, TRACED_A_SECOND_MOST
from tests.fixtures.collector import Collector, Received, collecting
from tests.fixtures.live_stack import LiveStack, running_stack
from tests.fixtures.people import as_json, server_update, sign

STEPS = {"accept", "wake", "apply", "refresh", "publish", "send"}


@dataclass
class Watched:
    """A running service whose traces go to a collector."""

    stack: LiveStack
    collector: Collector
    player: Registered
    token: str

    def post(self, path: str, body: bytes, token: str = "", **headers: str) -> str:
        """Send an update; returns its request id."""
        sent = {"Content-Type": "application/json", "Authorization": f"Bearer {token or self.token}"}
        sent |= {name.replace("_", "-"): value for name, value in headers.items()}
        request = urllib.request.Request(self.stack.api_url + path, data=body, headers=sent)
        with urllib.request.urlopen(request, timeout=10) as answer:
            assert answer.status in (200, 202)
            return str(answer.headers["X-Request-ID"])

    def lines(self, request_id: str) -> dict[str, dict[str, Any]]:
        """The log lines that have this request id, by the step they tell of; of two the one that names a trace."""
        found = {}
        for path in self.stack.logs():
            for text in path.read_text("utf-8").splitlines():
                line = json.loads(text) if request_id in text else {}
                ids = line.get("http", {}).get("request", {}).get("id", ())
                if request_id == ids or request_id in ids:
                    step = f"{line['service']['name']} {line['event']['action']}"
                    found[step] = line if "trace" in line else found.get(step, line)
        return found


@pytest.fixture(scope="module")
def watched(
    postgres_server: str, template: str, servers_folder: Path, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Watched]:
    folder = tmp_path_factory.mktemp("traced")
    with (
        collecting() as collector,
        running_stack(
            "traced", postgres_server, template, servers_folder, folder,
            TRACES_URL=collector.url, TRACES_RATIO="0", LOG_LEVEL="debug",
        ) as stack,
    ):  # fmt: skip
        name = f"traced-{token_hex(4)}"
        body = json.dumps({"username": name, "email": f"{name}@example.org"}).encode()
        request = urllib.request.Request(
            f"{stack.api_url}/api/v1/users", data=body, headers={"Content-Type": "application/json"}
        )
        with urllib.request.urlopen(request, timeout=10) as answer:
            told = json.loads(answer.read())
        player = Registered(told["user_id"], name, bytes.fromhex(told["secret_key"]))
        with connect(f"{stack.sockets_url}/ws/v1/leaderboards/global") as board:
            board.send('{"type":"subscribe"}')
            board.recv(timeout=10)
            yield Watched(stack, collector, player, told["access_token"])


def traceparent(flags: str = "01") -> tuple[str, str]:
    """A client's trace, and the header that says so."""
    trace_id = token_hex(16)
    return trace_id, f"00-{trace_id}-{token_hex(8)}-{flags}"


def parent_of(spans: dict[str, Received], name: str) -> bytes:
    return spans[name].span.parent_span_id


def test_a_wake_up_by_celery_carries_the_trace(watched: Watched, eventually) -> None:
    """When no worker stays with the shard; where one does, Celery carries nothing."""
    spans: dict[str, Received] = {}
    while not spans or spans["wake"].attributes["scoreboard.said"] != "sent":  # another was called at that moment
        with redis.Redis.from_url(watched.stack.settings.redis_url) as cache:
            eventually(lambda: not cache.exists("sb:wake:{0}") and cache.pubsub_numsub("sb:called:{0}")[0][1] == 0)
        trace_id, header = traceparent()
        watched.post("/api/v1/scores/update", as_json(sign(watched.player)), traceparent=header)
        eventually(lambda trace_id=trace_id: set(watched.collector.of(trace_id)) >= STEPS, 10)
        spans = watched.collector.of(trace_id)
    eventually(lambda: "drain" in watched.collector.of(trace_id))
    assert parent_of(watched.collector.of(trace_id), "drain") == spans["wake"].span.span_id


@pytest.mark.parametrize("way", ["loop", "flask"])
def test_one_trace_leads_from_the_request_to_the_frame(watched: Watched, eventually, way: str) -> None:
    trace_id, header = traceparent()
    update = sign(watched.player)
    more = {"Prefer": "wait=5"} if way == "flask" else {}
    request_id = watched.post(
        "/api/v1/scores/update", as_json(update), traceparent=header, tracestate="es=s:0.5,other=1", **more
    )
    eventually(lambda: set(watched.collector.of(trace_id)) >= STEPS, 10)
    spans = watched.collector.of(trace_id)
    assert {name: spans[name].service for name in STEPS} == {
        "accept": "scoreboard-web",
        "wake": "scoreboard-web",
        "apply": "scoreboard-worker",
        "refresh": "scoreboard-worker",
        "publish": "scoreboard-worker",
        "send": "scoreboard-sockets",
    }
    span_ids = {name: spans[name].span.span_id for name in STEPS}
    assert parent_of(spans, "accept").hex() == header.split("-")[2]
    assert parent_of(spans, "wake") == parent_of(spans, "apply") == span_ids["accept"]
    assert parent_of(spans, "refresh") == parent_of(spans, "publish") == span_ids["apply"]
    assert parent_of(spans, "send") == span_ids["publish"]
    for name in STEPS:
        span = spans[name].span
        assert 0 < span.end_time_unix_nano - span.start_time_unix_nano < 10e9
        assert span.trace_state == "es=s:0.5,other=1"
    accept, apply, send = (spans[name].attributes for name in ("accept", "apply", "send"))
    assert accept["http.route"] == "/api/v1/scores/update"
    assert accept["http.response.status_code"] == (200 if way == "flask" else 202)
    assert accept["http.request.header.x-request-id"] == [request_id]
    assert (accept["user.id"], accept["scoreboard.action.id"]) == (watched.player.user_id, update.action_id)
    assert (apply["db.system.name"], apply["scoreboard.action.id"]) == ("postgresql", update.action_id)
    assert (send["scoreboard.board"], send["scoreboard.sockets"]) == ("global", 1)

    def told() -> bool:
        return len(watched.lines(request_id)) >= 3

    eventually(told)
    lines = watched.lines(request_id)
    for step, name in (("accept", "web request"), ("publish", "worker publish"), ("send", "sockets send")):
        line = lines[f"scoreboard-{name}"]
        assert line["trace"]["id"] == trace_id
        assert line["span"]["id"] == span_ids[step].hex()
    assert lines["scoreboard-web request"]["scoreboard"]["action"]["id"] == update.action_id


def test_one_request_id_is_found_from_the_api_to_the_socket_without_a_trace(watched: Watched, eventually) -> None:
    update = sign(watched.player)
    request_id = watched.post("/api/v1/scores/update", as_json(update), X_Request_ID=f"edge-{token_hex(6)}")
    steps = {"scoreboard-web request", "scoreboard-worker publish", "scoreboard-sockets send"}
    eventually(lambda: set(watched.lines(request_id)) >= steps)
    lines = watched.lines(request_id)
    assert lines["scoreboard-web request"]["user"]["id"] == watched.player.user_id
    assert "trace" not in lines["scoreboard-web request"]
    published, sent = (lines[f"scoreboard-{name}"]["scoreboard"] for name in ("worker publish", "sockets send"))
    assert (published["board"], sent["board"]) == ("global", "global")
    assert sent["version"] >= published["version"]


def test_a_batch_of_a_game_server_is_one_trace(watched: Watched, eventually) -> None:
    trace_id, header = traceparent()
    updates = [server_update(watched.player) for _ in range(20)]
    body = json.dumps({"updates": [update._asdict() for update in updates]}).encode()
    watched.post("/api/v1/scores/batch", body, watched.stack.token("scores:write"), traceparent=header)
    eventually(lambda: set(watched.collector.of(trace_id)) >= STEPS, 10)
    spans = [each for each in watched.collector.spans if each.trace_id == trace_id and each.name == "apply"]
    assert sum(each.attributes["scoreboard.updates"] for each in spans) == len(updates)


def test_what_is_no_sampled_trace_is_not_traced_and_harms_nothing(watched: Watched, eventually) -> None:
    before = {each.trace_id for each in watched.collector.spans}
    for header in (f"00-{'0' * 32}-{'1' * 16}-01", "nonsense", traceparent("00")[1]):
        request_id = watched.post("/api/v1/scores/update", as_json(sign(watched.player)), traceparent=header)
        eventually(lambda request_id=request_id: len(watched.lines(request_id)) == 3)
        assert "trace" not in watched.lines(request_id)["scoreboard-web request"]
    trace_id, header = traceparent()  # spans of one process come in order
    watched.post("/api/v1/scores/update", as_json(sign(watched.player)), traceparent=header)
    eventually(lambda: set(watched.collector.of(trace_id)) >= STEPS, 10)
    assert {each.trace_id for each in watched.collector.spans} - before == {trace_id}


def test_a_collector_that_is_away_costs_spans_and_nothing_else(settings: Settings) -> None:
    """One that takes connections and never answers: the worst there is."""
    with socket.create_server(("127.0.0.1", 0)) as deaf:
        port = deaf.getsockname()[1]
        tracing = open_tracing(replace(settings, traces_url=f"http://127.0.0.1:{port}/", traces_ratio=1.0), "tests")
        assert tracing is not None
        began = time.monotonic()
        steps = [tracing.accept(f"r-{n}", None, None, begun_ns=time.monotonic_ns()) for n in range(1_000)]
        traced = [step for step in steps if step is not None]
        for step in traced:
            for _ in range(100):
                follows = tracing.follow(step.carried, "apply")
                assert follows is not None
                follows.end()
        assert len(traced) <= 2 * TRACED_A_SECOND_MOST  # however many ask for it
        assert time.monotonic() - began < 5
        began = time.monotonic()
        tracing.close()
        assert time.monotonic() - began < 2 * FAREWELL_SECONDS


OFF = """
import sys, web.live.app, worker.tasks
from models.settings import Settings
from models.tracing.opening import open_tracing
assert open_tracing(Settings.from_env(), "tests") is None
print([name for name in sys.modules if name.startswith(("models.tracing.tracing", "opentelemetry.sdk.trace",
    "opentelemetry.exporter", "opentelemetry.proto"))])
"""


def test_nothing_of_it_is_loaded_unless_it_is_asked_for(environment: dict[str, str]) -> None:
    done = subprocess.run(
        [sys.executable, "-c", OFF], cwd=ROOT, env={"PYTHONPATH": str(ROOT), **environment},
        capture_output=True, text=True, check=False, timeout=60,
    )  # fmt: skip
    assert done.stdout == "[]\n", done.stdout + done.stderr
