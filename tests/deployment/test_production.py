"""The production picture holds together: its parts, their addresses, and who watches them."""

from __future__ import annotations

import re
from collections import Counter
from pathlib import Path
from typing import Final

import pytest

from deploy.local import procfile
from deploy.local.errors import StackError
from deploy.production import programs
from deploy.production.folders import folders_of
from deploy.production.passwords import load_or_make
from deploy.production.places import OFFSETS, Places
from deploy.production.servers import prometheus, scoreboard
from tests.drill.strikes import STRIKES

ROOT: Final = procfile.ROOT
PLACES: Final = Places()


def test_no_two_parts_share_a_port() -> None:
    assert [offset for offset, times in Counter(OFFSETS.values()).items() if times > 1] == []


def test_a_base_without_room_for_all_is_refused() -> None:
    assert Places.of({}).port("lb-1") == 8700
    assert Places.of({"PORT": "9700"}).port("prometheus") == 9770
    for text in ("0", "65500", "http", "-1"):
        with pytest.raises(StackError, match="PORT must be"):
            Places.of({"PORT": text})


def test_prometheus_is_told_of_every_address_that_has_figures() -> None:
    watched = {target for parts in prometheus.targets(PLACES).values() for part in parts for target in part["targets"]}
    told = {name for name in OFFSETS if PLACES.address(name) in watched}
    exporters = {name for name in OFFSETS if name.endswith(("-exporter", "-metrics"))}
    services = {name for name in OFFSETS if re.fullmatch(r"(api|sockets)-\d", name)}
    asked_by_another = {"redis-2-exporter"} - told  # nobody: each Redis has an exporter of its own
    assert exporters | services | {"flower", "lb-2-status", "prometheus", "alertmanager"} <= told | asked_by_another


def test_the_service_of_the_picture_is_that_of_the_procfile(tmp_path: Path) -> None:
    parts = [
        *scoreboard.apis({}, tmp_path, PLACES),
        *scoreboard.sockets({}, tmp_path, PLACES),
        *scoreboard.workers({}, tmp_path, PLACES),
        *scoreboard.beats({}, tmp_path),
        scoreboard.flower({}, "user:password", PLACES),
    ]
    commands = {tuple(procfile.arguments(line, {})) for line in procfile.read().values()}
    assert {next(c for c in commands if tuple(part.arguments[: len(c)]) == c) for part in parts} == commands
    workers = [part.arguments for part in parts if part.name.startswith("worker-")]
    assert not any("--queues" in arguments for arguments in workers), "each takes all, so that none is missed"
    folders = [part.environment["PROMETHEUS_MULTIPROC_DIR"] for part in parts if part.name != "flower"]
    assert len(set(folders)) == len(folders), "each part's figures are its own"


def test_passwords_are_made_once_and_are_nobody_elses_to_read(tmp_path: Path) -> None:
    made = load_or_make(tmp_path / "passwords.json")
    assert load_or_make(tmp_path / "passwords.json") == made
    assert len(set(made.values())) == len(made)
    assert (tmp_path / "passwords.json").stat().st_mode & 0o077 == 0


def test_its_data_lies_beside_that_of_make_run() -> None:
    home = {"XDG_DATA_HOME": "/srv"}
    assert str(folders_of(home).data) == "/srv/scoreboard-production"
    assert str(folders_of({**home, "DATA_DIR": "/elsewhere"}).data) == "/elsewhere"


def test_who_lacks_a_program_is_told_the_package() -> None:
    assert programs.find("a-program-that-nobody-has") is None
    assert programs.advice(["promtool", "prometheus", "nginx"]).endswith(
        "apt-get install --no-install-recommends nginx prometheus"
    )


def test_the_drill_loses_one_of_everything() -> None:
    assert {strike.name for strike in STRIKES} == {
        "lb-1", "lb-2", "api-2", "sockets-1", "worker-1", "beat-1", "rabbitmq", "redis-master",
        "postgres-replica", "postgres-primary",
    }  # fmt: skip
    rules = "".join(path.read_text("utf-8") for path in (ROOT / "deploy" / "prometheus" / "rules").glob("*.yml"))
    assert {strike.alert for strike in STRIKES} - {""} <= set(re.findall(r"alert: (\w+)", rules))
