"""What is scraped and alerted on: promtool's checks and unit tests, runbooks that are there, metrics that exist."""

from __future__ import annotations

import json
import re
import subprocess
from collections import defaultdict
from functools import cache
from pathlib import Path
from typing import Any

import pytest
import yaml

from deploy.grafana.queries import metrics_of
from deploy.local.procfile import ROOT
from deploy.production import programs
from deploy.production.places import OFFSETS, Places
from deploy.production.servers import prometheus
from tests.contracts.test_docs import anchors
from tests.fixtures.programs import need

SOURCE = ROOT / "deploy" / "prometheus"
RULES = sorted(SOURCE.glob("rules/*.yml"))
TESTS = sorted(SOURCE.glob("tests/*.yml"))
JOBS = {
    "api", "sockets", "worker", "flower", "nginx", "haproxy", "postgres", "pgbouncer", "redis", "rabbitmq", "node",
    "prometheus", "alertmanager",
}  # fmt: skip


@cache
def alerts() -> dict[str, dict[str, Any]]:
    """Name → rule, of every alert."""
    groups = [group for path in RULES for group in yaml.safe_load(path.read_text("utf-8"))["groups"]]
    return {rule["alert"]: rule for group in groups for rule in group["rules"] if "alert" in rule}


def promtool(*words: object) -> str:
    """What promtool prints; an error of its fails the test."""
    need("promtool")
    done = subprocess.run(
        [programs.require("promtool"), *map(str, words)], capture_output=True, text=True, check=False, timeout=60
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def test_the_configuration_of_the_picture_is_one(tmp_path: Path) -> None:
    configuration = prometheus.write(tmp_path, prometheus.targets(Places()), interval_seconds=2, pace=0.1)
    promtool("check", "config", configuration)
    found = yaml.safe_load(configuration.read_text("utf-8"))
    assert {job["job_name"] for job in found["scrape_configs"]} == JOBS
    for job in JOBS:
        for target in json.loads((tmp_path / "targets" / f"{job}.json").read_text("utf-8")):
            assert target["labels"]["instance"], job


def test_every_part_that_has_figures_is_scraped() -> None:
    found = {
        address for parts in prometheus.targets(Places()).values() for part in parts for address in part["targets"]
    }
    scraped = {name for name in OFFSETS if Places().address(name) in found}
    # The doors tell theirs on ports of their own, stores by exporters; the rest of the ports is no part's.
    assert {"api-1", "api-2", "api-3", "sockets-1", "sockets-2", "flower", "prometheus", "alertmanager"} <= scraped
    assert {name for name in OFFSETS if name.endswith(("-exporter", "-metrics"))} <= scraped
    assert "lb-2-status" in scraped


def test_a_drill_waits_a_part_of_the_time() -> None:
    rules = "      - alert: A\n        for: 1m\n      - alert: B\n        for: 30s\n        x: '1m'\n"
    assert re.findall("for: (.*)", prometheus.paced(rules, 0.1)) == ["6s", "3s"]
    assert prometheus.paced(rules, 0.1).count("1m") == 1
    assert re.findall("for: (.*)", prometheus.paced(rules, 1)) == ["60s", "30s"]


def test_the_rules_are_rules() -> None:
    promtool("check", "rules", *RULES)


@pytest.mark.parametrize("path", TESTS, ids=lambda path: path.stem)
def test_alerts_fire_when_they_should_and_stay_silent_when_all_is_well(path: Path) -> None:
    promtool("test", "rules", path)


def test_each_alert_is_seen_silent_and_firing() -> None:
    seen: dict[str, set[bool]] = defaultdict(set)
    for path in TESTS:
        for test in yaml.safe_load(path.read_text("utf-8"))["tests"]:
            for case in test["promql_expr_test"]:
                (name,) = re.findall('alertname="(\\w+)"', case["expr"])
                seen[name].add(bool(case["exp_samples"]))
    seen["Watchdog"].add(False)  # it has nothing to be silent for
    assert seen == {name: {True, False} for name in alerts()}


@pytest.mark.parametrize("name", alerts())
def test_an_alert_says_how_urgent_it_is_and_what_to_do_first(name: str) -> None:
    rule = alerts()[name]
    assert rule["labels"]["severity"] in ({"none"} if name == "Watchdog" else {"page", "ticket"})
    assert rule["labels"]["area"]
    notes = rule["annotations"]
    assert set(notes) == {"summary", "description", "runbook_url"}
    assert len(notes["description"]) > 40
    document, _, anchor = notes["runbook_url"].partition("#")
    assert document == "docs/operations.md"
    assert anchor in anchors(ROOT / document)


def test_the_documents_list_every_alert() -> None:
    table = (ROOT / "docs" / "monitoring.md").read_text("utf-8")
    told = {name: (severity, anchor) for name, severity, anchor in re.findall(
        r"^\| `(\w+)` \| (\w+) \| .* \| \[.*\]\(operations\.md#([\w-]+)\) \|$", table, re.MULTILINE
    )}  # fmt: skip
    assert told == {
        name: (rule["labels"]["severity"], rule["annotations"]["runbook_url"].partition("#")[2])
        for name, rule in alerts().items()
    }


def metrics_of_rules() -> set[str]:
    """Those that the rules are made of, without what other rules record."""
    groups = [group for path in RULES for group in yaml.safe_load(path.read_text("utf-8"))["groups"]]
    rules = [rule for group in groups for rule in group["rules"]]
    recorded = {rule["record"] for rule in rules if "record" in rule}
    return {metric for rule in rules for metric in metrics_of(rule["expr"])} - recorded
