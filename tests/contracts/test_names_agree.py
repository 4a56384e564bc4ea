"""What one file sends, another receives: tasks, queues and processes carry the same names everywhere."""

from __future__ import annotations

import re
import shlex
from pathlib import Path

import yaml

from models import names
from worker.schedule import SCHEDULE

ROOT = Path(__file__).resolve().parents[2]


def procfile() -> dict[str, str]:
    """The processes and their commands."""
    lines = (ROOT / "Procfile").read_text("utf-8").splitlines()
    return dict(line.split(": ", 1) for line in lines if line and not line.startswith("#"))


def test_every_task_that_is_sent_is_registered_under_that_name() -> None:
    source = (ROOT / "worker" / "tasks.py").read_text("utf-8")
    registered = {getattr(names, constant) for constant in re.findall(r"@app\.task\(name=names\.(\w+)", source)}
    assert registered == set(names.TASK_QUEUES)
    assert {entry["task"] for entry in SCHEDULE.values()} <= registered


def test_the_worker_of_the_procfile_consumes_every_queue_that_is_sent_to() -> None:
    words = shlex.split(procfile()["worker"])
    consumed = set(words[words.index("--queues") + 1].split(","))
    assert consumed == set(names.TASK_QUEUES.values()) == {names.APPLY_QUEUE, names.MAINTENANCE_QUEUE}


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
