"""The dashboards are as their code says, and their queries have data in a Prometheus that scrapes the service."""

from __future__ import annotations

import json
import threading
import time
import urllib.request
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import matplotlib.image as images
import pytest
import yaml
from websockets.sync.client import connect

from deploy.grafana import check, picture
from deploy.grafana.__main__ import BOARDS, texts
from deploy.grafana.queries import DASHBOARDS, Asked, QueryFailed, ask, dashboards, metrics_of, name_of, queries
from deploy.local.procfile import ROOT
from deploy.production.part import Part
from deploy.production.servers import prometheus
from tests.deployment.test_exporters import free_places
from tests.fixtures.live_stack import LiveStack
from tests.fixtures.people import as_json, sign
from tests.fixtures.programs import need
from tests.fixtures.running import running
from tests.fixtures.waiting import eventually
from tests.integration.test_end_to_end import call, newcomer

NAMES = ("overview", "pipeline", "sockets", "stores", "security", "capacity")
WINDOW = "8s"


def test_the_dashboards_are_those_of_the_code() -> None:
    assert {path.name: path.read_text("utf-8") for path in DASHBOARDS.glob("*")} == texts(), "python -m deploy.grafana"
    assert tuple(BOARDS) == NAMES


@pytest.mark.parametrize("name", NAMES)
def test_a_dashboard_is_whole(name: str) -> None:
    document = dashboards()[name]
    assert document["uid"] == f"scoreboard-{name}"
    ids = [panel["id"] for panel in document["panels"]]
    assert len(set(ids)) == len(ids)
    for panel in document["panels"]:
        place = panel["gridPos"]
        assert place.get("x", 0) + place["w"] <= 24
        if panel["type"] != "row":
            assert panel["datasource"] == {"type": "prometheus", "uid": "scoreboard"}
            assert panel["targets"], panel["title"]


def test_grafana_is_told_of_the_source_and_the_folder_that_the_dashboards_name() -> None:
    folder = ROOT / "deploy" / "grafana" / "provisioning"
    (source,) = yaml.safe_load((folder / "datasources" / "prometheus.yml").read_text("utf-8"))["datasources"]
    assert (source["type"], source["uid"]) == ("prometheus", "scoreboard")
    (provider,) = yaml.safe_load((folder / "dashboards" / "scoreboard.yml").read_text("utf-8"))["providers"]
    assert provider["type"] == "file"


def test_queries_are_filled_and_series_named_as_grafana_does() -> None:
    asked = Asked("a", 1, "Panel", "A", 'rate(x{instance=~"$instance"}[$__rate_interval])', "{{job}}!", False)
    assert asked.filled("1m") == 'rate(x{instance=~".+"}[1m])'
    assert name_of(asked, {"job": "api"}) == "api!"
    assert metrics_of('sum by (le_x) (rate(a_b{c_d="e_f"}[5m])) / on (g_h) max(i_j:k_l) or vector(0)') == {
        "a_b",
        "i_j:k_l",
    }


def test_every_query_of_a_chosen_part_leaves_the_choice_open() -> None:
    assert all("$instance" in asked.expr for asked in queries("sockets"))
    assert not any("$" in asked.filled("1m") for asked in queries())


@pytest.mark.parametrize(
    ("value", "unit", "words"),
    [
        (0.0123, "s", "12.3 ms"), (0, "s", "0 s"), (2.5, "s", "2.5 s"), (0.5, "percentunit", "50 %"),
        (12_345, "ops", "12.3 k/s"), (7, "short", "7"), (3.2e9, "bytes", "3.2 GB"), (float("nan"), "s", "–"),
    ],
)  # fmt: skip
def test_figures_are_told_as_people_read_them(value: float, unit: str, words: str) -> None:
    assert picture.told(value, unit) == words


@pytest.fixture(scope="module")
def asked_of(_running_stack: LiveStack, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The address of a Prometheus that scrapes the running service, while a player plays and a spectator looks on."""
    need("prometheus")
    folder, places, stack = tmp_path_factory.mktemp("watching"), free_places(), _running_stack
    address = places.address("prometheus")
    ports = {"api": stack.settings.port, "sockets": stack.settings.sockets_port}
    ports["worker"] = int(stack.environ["WORKER_METRICS_PORT"])
    found = {
        **{
            job: [{"targets": [f"127.0.0.1:{port}"], "labels": {"instance": f"{job}-1"}}] for job, port in ports.items()
        },
        "prometheus": [{"targets": [address], "labels": {"instance": "prometheus"}}],
    }
    configuration = prometheus.write(folder, found, interval_seconds=1)
    part = Part(
        "prometheus",
        prometheus.command(configuration, folder / "data", address),
        ready=lambda: _answers(f"http://{address}/-/ready"),
    )
    done = threading.Event()
    playing = threading.Thread(target=_play, args=(stack, done))
    with running(folder, part):
        playing.start()
        try:
            yield f"http://{address}"
        finally:
            done.set()
            playing.join(10)


def _answers(url: str) -> bool:
    try:
        with urllib.request.urlopen(url, timeout=1) as answer:
            return bool(answer.status == 200)
    except OSError:
        return False


def _play(stack: LiveStack, done: threading.Event) -> None:
    player, token = newcomer(stack)
    url = f"{stack.sockets_url}/ws/v1/leaderboards/global"
    with connect(url, subprotocols=["scoreboard.v1"], origin=stack.settings.allowed_origins[0]) as spectator:
        spectator.send('{"type": "subscribe"}')
        while not done.wait(0.1):
            call(stack, "/api/v1/scores/update", as_json(sign(player)), Authorization=token, Prefer="wait=2")
            call(stack, "/api/v1/leaderboards/global")
            with suppress(TimeoutError):
                while True:
                    spectator.recv(timeout=0.001)


def is_ours(asked: Asked) -> bool:
    """Whether the service itself tells all that is asked for."""
    return all(name.startswith(("scoreboard", "flask_", "up", "ALERTS")) for name in metrics_of(asked.expr))


def test_every_query_of_ours_has_data(asked_of: str) -> None:
    def without_data() -> list[str]:
        found = check.check(asked_of, window=WINDOW)
        return [why for asked, why in found.failed] + [asked.expr for asked in found.empty if is_ours(asked)]

    deadline = time.monotonic() + 25
    while (missing := without_data()) and time.monotonic() < deadline:
        time.sleep(0.5)
    assert missing == []
    assert sum(map(is_ours, queries())) > 60


def test_the_check_says_what_has_no_data_and_what_is_no_query(asked_of: str, capsys, monkeypatch) -> None:
    monkeypatch.setattr("sys.argv", ["check", "--prometheus", asked_of, "--dashboard", "stores", "--window", WINDOW])
    assert check.main() == 1
    assert "no data  stores · Memory · A" in capsys.readouterr().out
    with pytest.raises(QueryFailed, match="parse error"):
        ask(asked_of, "query", query="sum(")


def test_all_parts_of_the_service_are_scraped(asked_of: str) -> None:
    def up() -> dict[str, str]:
        return {each["metric"]["instance"]: each["value"][1] for each in ask(asked_of, "query", query="up")}

    assert eventually(lambda: up() if len(up()) == 4 else None, 10) == dict.fromkeys(
        ("api-1", "sockets-1", "worker-1", "prometheus"), "1"
    )
    moments = ask(asked_of, "query", query="scoreboard_build_info")
    assert {each["metric"]["job"] for each in moments} == {"api", "sockets", "worker"}


def test_the_rules_are_evaluated_without_an_error(asked_of: str) -> None:
    with urllib.request.urlopen(f"{asked_of}/api/v1/rules", timeout=5) as answer:
        groups = json.load(answer)["data"]["groups"]
    faults = [rule for group in groups for rule in group["rules"] if rule.get("lastError")]
    assert len(groups) > 10
    assert not faults


def test_a_picture_is_drawn_of_the_same_queries(asked_of: str, tmp_path: Path, monkeypatch) -> None:
    file = tmp_path / "overview.png"
    words = ["picture", "--prometheus", asked_of, "--minutes", "0.3", "--window", WINDOW, "--output", str(file)]
    monkeypatch.setattr("sys.argv", words)
    assert picture.main() == 0
    pixels = images.imread(file)
    drawn = picture.Picture(dashboards()["overview"])
    assert pixels.shape[:2] == (drawn.height, picture.WIDTH_PIXELS)
    accent = [int(picture.LINES[0][place : place + 2], 16) / 255 for place in (1, 3, 5)]
    panels = dashboards()["overview"]["panels"]
    (graph,) = [panel for panel in panels if panel["title"] == "Updates" and panel["type"] == "timeseries"]
    left, top, width, height = map(int, drawn.box(graph))
    inside = pixels[top + 42 : top + height - 80, left + 62 : left + width - 18, :3]
    assert (abs(inside - accent).max(axis=2) < 0.05).sum() > 50  # a line, not only its name below
