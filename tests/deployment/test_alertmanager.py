"""Who is told of what: amtool's checks, the expected receivers, and a real Alertmanager that tells the receiver."""

from __future__ import annotations

import json
import subprocess
import sys
import urllib.error
import urllib.request
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
import yaml

from deploy.production import programs
from deploy.production.places import Places
from deploy.production.receiver import Receiver, alerts_of, line_of
from deploy.production.servers import alertmanager
from tests.deployment.test_exporters import free_places
from tests.deployment.test_prometheus import alerts
from tests.fixtures.programs import need
from tests.fixtures.running import running
from tests.fixtures.waiting import eventually

URLS = {name: f"http://127.0.0.1:1/{name}" for name in alertmanager.RECEIVERS}


@pytest.fixture(scope="module")
def configuration(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("alertmanager") / "alertmanager.yml"
    path.write_text(alertmanager.configuration(URLS), "utf-8")
    return path


def amtool(*words: object) -> str:
    need("amtool")
    done = subprocess.run(
        [programs.require("amtool"), *map(str, words)], capture_output=True, text=True, check=False, timeout=30
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout.strip()


def test_the_configuration_is_one(configuration: Path) -> None:
    assert "SUCCESS" in amtool("check-config", configuration)


@pytest.mark.parametrize(
    ("labels", "receivers"),
    [
        ("alertname=InboxOld severity=page area=pipeline", "page"),
        ("alertname=PartDown severity=ticket area=part", "ticket"),
        ("alertname=SecurityIncident severity=ticket area=security", "security"),
        ("alertname=SecurityEventsUnnoted severity=page area=security", "security,page"),
        ("alertname=ScoreboardIncident severity=warning rule=guessing", "security"),
        ("alertname=Watchdog severity=none area=watching", "watchdog"),
        ("alertname=OfSomebodyElse", "ticket"),
    ],
)
def test_an_alert_goes_to_whom_it_concerns(configuration: Path, labels: str, receivers: str) -> None:
    assert amtool("config", "routes", "test", f"--config.file={configuration}", *labels.split()) == receivers


def test_every_alert_is_told_to_somebody_by_its_urgency(configuration: Path) -> None:
    """The alerts that are, not only those above."""
    for name, rule in alerts().items():
        severity, area = rule["labels"]["severity"], rule["labels"]["area"]
        told = {"page": "page", "ticket": "ticket", "none": "watchdog"}[severity]
        assert told in alertmanager.RECEIVERS, name
        assert area, name


def test_inhibitions_name_alerts_that_are() -> None:
    """A misspelled name would inhibit nothing, and nobody would notice."""
    rules: dict[str, Any] = yaml.safe_load(alertmanager.configuration(URLS))
    named: set[str] = set()
    for rule in rules["inhibit_rules"]:
        for matcher in [*rule["source_matchers"], *rule["target_matchers"]]:
            label, operator, value = matcher.split(maxsplit=2)
            if label != "alertname":
                continue
            for name in value.strip('"').split("|"):
                beginning = name.removesuffix(".*").removeprefix(".*")
                assert any(beginning in alert for alert in alerts()), name
                named |= {beginning} if operator == "=" else set()
    assert named <= set(alerts())
    areas = {rule["labels"]["area"] for rule in alerts().values()}
    assert {"objective", "pipeline", "worker", "door"} <= areas


@pytest.fixture(scope="module")
def there(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Places, Path]]:
    """A running Alertmanager that tells the receiver: where they are, and the receiver's folder."""
    need("prometheus-alertmanager")
    folder, places = tmp_path_factory.mktemp("running"), free_places()
    parts = [
        alertmanager.receiver("receiver", folder, places),
        alertmanager.part("alertmanager", folder / "am", places, group_wait="100ms", group_interval="1s"),
    ]
    with running(folder, *parts):
        yield places, folder


def fire(places: Places, *labels: dict[str, str], ended: bool = False) -> None:
    """As Prometheus does."""
    now = datetime.now(UTC)
    body = json.dumps(
        [
            {
                "labels": each,
                "annotations": {"summary": f"of {each['alertname']}", "runbook_url": "docs/operations.md#x"},
                "startsAt": (now - timedelta(seconds=30)).isoformat(),
                "endsAt": (now + timedelta(seconds=-1 if ended else 300)).isoformat(),
            }
            for each in labels
        ]
    ).encode()
    url = f"http://{places.address('alertmanager')}/api/v2/alerts"
    request = urllib.request.Request(url, body, {"Content-Type": "application/json"})
    with urllib.request.urlopen(request, timeout=5) as answer:
        assert answer.status == 200


def test_a_page_is_printed_kept_and_resolved_and_what_follows_from_it_is_not_told(there) -> None:
    places, folder = there
    cause = {"alertname": "DatabaseDown", "severity": "page", "area": "database"}
    follows = {"alertname": "AcceptBudgetBurnsFast", "severity": "page", "area": "objective", "objective": "accept"}
    other = {
        "alertname": "PartDown",
        "severity": "ticket",
        "area": "part",
        "instance": "sockets-1",
        "job": "sockets",
    }

    def kept() -> list[dict[str, str]]:
        path = folder / alertmanager.ALERTS
        return [json.loads(line) for line in path.read_text("utf-8").splitlines()] if path.exists() else []

    fire(places, cause)
    eventually(lambda: any(told["name"] == "DatabaseDown" for told in kept()), 10)
    fire(places, follows, other)
    eventually(lambda: any(told["name"] == "PartDown" for told in kept()), 10)
    fire(places, cause, ended=True)
    eventually(lambda: any(told["status"] == "resolved" for told in kept()), 10)
    told = {(each["receiver"], each["name"], each["part"], each["status"]) for each in kept()}
    assert told >= {
        ("page", "DatabaseDown", "database", "firing"),
        ("page", "DatabaseDown", "database", "resolved"),
        ("ticket", "PartDown", "sockets-1", "firing"),
    }
    before = [each["name"] for each in kept() if each["status"] == "firing"]
    assert before.index("DatabaseDown") < before.index("PartDown")
    moments = {each["name"]: each["told_at"] for each in kept()}
    inhibited = [each for each in kept() if each["name"] == "AcceptBudgetBurnsFast"]
    resolved_at = next(each["told_at"] for each in kept() if each["status"] == "resolved")
    assert all(each["told_at"] >= resolved_at for each in inhibited), moments
    printed = (folder / "receiver.log").read_text("utf-8")
    assert "firing    page      DatabaseDown" in printed
    assert "of DatabaseDown" in printed


def test_what_is_no_message_is_refused(there) -> None:
    places, _ = there
    for body in (b"", b"[]", b"{", b'{"alerts": [{}]}', b'{"alerts": 1}'):
        request = urllib.request.Request(f"http://{places.address('receiver')}/page", body, method="POST")
        with pytest.raises(urllib.error.HTTPError) as refused:
            urllib.request.urlopen(request, timeout=5)
        with refused.value as answer:
            assert answer.code == 400


def test_a_line_holds_nothing_that_a_terminal_would_obey() -> None:
    message = {
        "receiver": "page",
        "alerts": [{"status": "firing", "labels": {"alertname": "A\x1b[2J"}, "annotations": {"summary": "b\nc\x07"}}],
    }
    (told,) = alerts_of(message, "2026-11-26T10:00:00.000+00:00")
    line = line_of(told)
    assert line.isprintable()
    assert "A?[2J" in line


def test_alerts_are_kept_one_a_line(tmp_path: Path) -> None:
    said: list[str] = []
    receiver = Receiver(tmp_path / "alerts.jsonl", said.append)
    alert = {"status": "firing", "labels": {"alertname": "A", "instance": "api-1"}, "annotations": {}}
    receiver.take(json.dumps({"receiver": "page", "alerts": [alert, alert]}).encode())
    receiver.take(json.dumps({"receiver": "page", "alerts": []}).encode())
    lines = (tmp_path / "alerts.jsonl").read_text("utf-8").splitlines()
    assert [json.loads(line)["part"] for line in lines] == ["api-1", "api-1"]
    assert len(said) == 2


def test_the_receiver_says_why_it_cannot_listen() -> None:
    done = subprocess.run(
        [sys.executable, "-m", "deploy.production.receiver", "--listen", "127.0.0.1:99999"],
        capture_output=True, text=True, check=False, timeout=20,
    )  # fmt: skip
    assert done.returncode == 1
    assert "127.0.0.1:99999" in done.stderr
