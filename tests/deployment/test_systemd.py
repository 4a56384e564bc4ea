"""deploy/systemd: units that systemd takes, that are shut in, and that end as the servers do."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from pathlib import Path

import pytest

from deploy.local import procfile
from deploy.production import programs

FOLDER = procfile.ROOT / "deploy" / "systemd"
COMMON = "scoreboard-.service.d/10-common.conf"
#: The process of the Procfile → its unit, as it is enabled.
UNITS = {
    "web": "scoreboard-api@8000.service",
    "sockets": "scoreboard-sockets@8001.service",
    "worker": "scoreboard-worker@8003.service",
    "beat": "scoreboard-beat.service",
    "flower": "scoreboard-flower.service",
}
MIGRATE = "scoreboard-migrate.service"
#: systemd's own measure from 0 to 10: with an open network it gets no lower than about 1; 2 and less is «OK».
EXPOSURE_MOST = 1.5


@pytest.fixture(scope="module")
def installed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The units with a program where they say that ours is."""
    if programs.find("systemd-analyze") is None:
        pytest.skip(f"systemd-analyze reads the units: {programs.advice(['systemd-analyze'])}")
    folder = tmp_path_factory.mktemp("systemd") / "units"
    shutil.copytree(FOLDER, folder)
    for unit in folder.rglob("*.service"):
        text = unit.read_text("utf-8").replace("/opt/scoreboard/.venv/bin/python", "/bin/true")
        unit.write_text(text, "utf-8")
    return folder


def analyzed(installed: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    program = str(programs.require("systemd-analyze"))
    environ = {**os.environ, "SYSTEMD_UNIT_PATH": f"{installed}:"}
    return subprocess.run([program, *arguments], env=environ, capture_output=True, text=True, check=False, timeout=20)


def read(unit: str) -> str:
    """A unit's own text."""
    return (FOLDER / re.sub(r"@\w+", "@", unit)).read_text("utf-8")


def value(text: str, name: str) -> str:
    """The last value of a directive."""
    return re.findall(rf"^{name}=(.*)$", text, re.MULTILINE)[-1]


def test_systemd_takes_every_unit(installed: Path) -> None:
    names = [*UNITS.values(), MIGRATE, "scoreboard.target"]
    assert {re.sub(r"@\w+", "@", name) for name in names} == {each.name for each in FOLDER.glob("scoreboard*.*[et]")}
    checked = analyzed(installed, "verify", "--man=no", *names)
    assert (checked.returncode, checked.stderr) == (0, "")


def test_a_unit_with_a_fault_is_found(installed: Path) -> None:
    (installed / "wrong.service").write_text("[Service]\nExecStart=/bin/true\nKilMode=mixed\n", "utf-8")
    assert "KilMode" in analyzed(installed, "verify", "--man=no", "wrong.service").stderr


@pytest.mark.parametrize("unit", [*UNITS.values(), MIGRATE])
def test_every_service_is_shut_in(installed: Path, unit: str) -> None:
    told = analyzed(installed, "security", "--offline=yes", "--no-pager", unit).stdout
    exposure = re.search(r"Overall exposure level for \S+: ([\d.]+)", told)
    assert exposure is not None, told
    assert float(exposure[1]) <= EXPOSURE_MOST


@pytest.mark.parametrize("process", procfile.read())
def test_a_service_runs_the_process_of_the_procfile(process: str) -> None:
    command = f"/opt/scoreboard/.venv/bin/python -m deploy.local.procfile {process}"
    text = read(UNITS[process])
    assert value(text, "ExecStart") == command
    assert value(text, "Restart") == "always"
    assert value(text, "WantedBy") == "scoreboard.target"


def test_nobody_is_killed_before_they_have_finished() -> None:
    assert value((FOLDER / COMMON).read_text("utf-8"), "KillMode") == "mixed"
    for process, path in (("web", "web/api/gunicorn_conf.py"), ("sockets", "web/live/gunicorn_conf.py")):
        graceful = int(value((procfile.ROOT / path).read_text("utf-8").replace(" = ", "="), "graceful_timeout"))
        text = read(UNITS[process])
        assert int(value(text, "TimeoutStopSec")) >= graceful + 5
        assert value(text, "ExecReload") == "/bin/kill -HUP $MAINPID"
        assert value(text, "Type") == "notify"
    assert int(value(read(UNITS["worker"]), "TimeoutStopSec")) >= 15


def test_no_secret_is_in_a_unit_and_the_files_with_them_are_roots_alone() -> None:
    known = set(re.findall(r'"([A-Z][A-Z_]+)"', (procfile.ROOT / "models/settings.py").read_text("utf-8")))
    known |= {"PATH", "PYTHONPATH", "PYTHONUNBUFFERED", "FLOWER_ADDRESS", "WORKER_METRICS_PORT"}
    secret = {"DATABASE_URL", "REDIS_URL", "BROKER_URL", "TOKEN_KEYS", "ENCRYPTION_KEYS", "AUDIT_KEYS"}
    for path in (*FOLDER.glob("*.service"), FOLDER / COMMON):
        for line in re.findall(r"^Environment=(.*)$", path.read_text("utf-8"), re.MULTILINE):
            named = {each.partition("=")[0] for each in line.split()}
            assert named <= known - secret, path.name
    rules = (FOLDER / "tmpfiles.conf").read_text("utf-8")
    for name in ("secrets.json", "flower.env"):
        assert f"z /etc/scoreboard/{name} 0600 root root" in rules
    assert "LoadCredential=secrets.json:/etc/scoreboard/secrets.json" in (FOLDER / COMMON).read_text("utf-8")
