"""What one file sends, another receives: tasks, queues and processes carry the same names everywhere."""

from __future__ import annotations

import re
import shlex
from pathlib import Path

import pytest
import yaml

from models import names
from worker.schedule import schedule_of

ROOT = Path(__file__).resolve().parents[2]


def procfile() -> dict[str, str]:
    """The processes and their commands."""
    lines = (ROOT / "Procfile").read_text("utf-8").splitlines()
    return dict(line.split(": ", 1) for line in lines if line and not line.startswith("#"))


def test_every_task_that_is_sent_is_registered_under_that_name() -> None:
    source = (ROOT / "worker" / "tasks.py").read_text("utf-8")
    registered = {getattr(names, constant) for constant in re.findall(r"@app\.task\(name=names\.(\w+)", source)}
    assert registered == {*names.TASK_QUEUES, *names.APPLY_TASKS}
    assert {entry["task"] for entry in schedule_of(4).values()} <= registered


@pytest.mark.parametrize("shards", [1, 4, 100])
def test_the_worker_of_the_procfile_consumes_every_queue_that_is_sent_to(shards: int) -> None:
    """It names none, so Celery has it take all that are declared."""
    assert not {"-Q", "--queues", "-X", "--exclude-queues"} & set(shlex.split(procfile()["worker"]))
    declared = set(names.queues(shards))
    sent_to = {names.apply_queue(shard, shards) for shard in range(shards)} | set(names.TASK_QUEUES.values())
    beats = {entry["options"]["queue"] for entry in schedule_of(shards).values()}
    assert sent_to == beats == declared
    assert len(declared) <= names.APPLY_QUEUES_MOST + 1


def test_one_shard_has_the_queue_it_always_had() -> None:
    assert names.queues(1) == ("apply", "maintenance")
    assert names.seen_key("apply") == "sb:worker:seen"


def test_compose_runs_the_processes_of_the_procfile() -> None:
    services = yaml.safe_load((ROOT / "docker-compose.yml").read_text("utf-8"))["services"]
    assert set(procfile()) <= set(services)


def test_the_packages_and_folders_the_service_is_built_of_are_there() -> None:
    for path in (
        "web",
        "worker",
        "models",
        "migrations",
        "tests",
        "docker-compose.yml",
        "requirements.txt",
        "Procfile",
    ):
        assert (ROOT / path).exists(), path
    wanted = (
        "flask", "flask-sock", "celery", "redis", "sqlalchemy", "psycopg", "flask-jwt-extended", "flask-limiter",
        "prometheus-flask-exporter",
    )  # fmt: skip
    pinned = set(re.findall(r"^([a-z0-9-]+)(?:\[[a-z,]+\])?==", (ROOT / "requirements.txt").read_text("utf-8"), re.M))
    assert set(wanted) <= pinned


def test_no_other_file_than_settings_reads_the_environment() -> None:
    readers = [
        str(path.relative_to(ROOT))
        for folder in ("models", "web", "worker", "migrations")
        for path in (ROOT / folder).rglob("*.py")
        if re.search(r"os\.environ|getenv", path.read_text("utf-8"))
    ]
    assert readers == ["models/settings.py"]
