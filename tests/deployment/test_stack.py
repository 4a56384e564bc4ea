"""The one-command stack, for real: `make run` in its own folder, its processes killed, stopped, started again."""

import json
import os
import signal
import stat
import subprocess
import sys
import threading
import time
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import psycopg
import pytest

from deploy.local import supervision
from deploy.local.embedded import postgres
from deploy.local.folders import Folders
from deploy.local.processes import alive, marked
from deploy.local.procfile import ROOT, read
from tests.fixtures import log_lines
from tests.fixtures.ports import free_ports

PROCESSES = [*read(), "postgres", "cache", "broker"]


class MakeRun:
    """One `make run`, its output, and what belongs to it."""

    def __init__(self, data: Path, port: int) -> None:
        self.folders = Folders(data)
        self.port = port
        self.output: list[str] = []
        self.began = time.monotonic()
        venv = Path(sys.executable).parent.parent
        self.process = subprocess.Popen(
            ["make", "--no-print-directory", "run", f"PORT={port}", f"DATA_DIR={data}", f"VENV={venv}"],
            cwd=ROOT,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            start_new_session=True,
        )
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()

    def _read(self) -> None:
        assert self.process.stdout is not None
        with self.process.stdout as lines:
            for line in lines:
                self.output.append(line)

    def wait_ready(self, seconds: float = 60) -> float:
        """Seconds from the start to the ready line."""
        eventually(lambda: any(line.startswith("ready ") for line in self.output) or self.ended(), seconds)
        assert f"ready http://127.0.0.1:{self.port}\n" in self.output, "".join(self.output)
        return time.monotonic() - self.began

    def ended(self) -> bool:
        return self.process.poll() is not None

    def result(self, seconds: float) -> tuple[int, str]:
        """Exit code and everything it said."""
        code = self.process.wait(seconds)
        self._reader.join(5)
        return code, "".join(self.output)

    def get(self, path: str) -> int:
        with urllib.request.urlopen(f"http://127.0.0.1:{self.port}{path}", timeout=2) as answer:
            return int(answer.status)

    def stop(self) -> float:
        """SIGTERM to make; seconds until it has ended."""
        began = time.monotonic()
        self.process.terminate()
        self.process.wait(20)
        self._reader.join(5)
        return time.monotonic() - began


def eventually(condition, seconds: float) -> None:
    """Wait until the condition holds; errors of a service that is coming back count as not yet."""
    deadline = time.monotonic() + seconds
    while True:
        try:
            if condition():
                return
        except (OSError, psycopg.Error):
            pass
        assert time.monotonic() < deadline, f"not within {seconds} s"
        time.sleep(0.02)


@pytest.fixture(scope="module")
def stack(tmp_path_factory: pytest.TempPathFactory) -> Iterator[MakeRun]:
    run = MakeRun(tmp_path_factory.mktemp("stack") / "data", free_ports(21_000))
    try:
        run.wait_ready()
        yield run
    finally:
        if not run.ended():
            run.stop()
        log_lines.check(*(path for name in read() for path in run.folders.logs.glob(f"{name}.log*")))


def database(stack: MakeRun) -> psycopg.Connection:
    url = json.loads(stack.folders.environment_file.read_text())["DATABASE_URL"]
    return psycopg.connect(url.replace("+psycopg", ""), autocommit=True, connect_timeout=2)


def test_it_says_what_to_open_and_is_ready_when_it_says_so(stack: MakeRun) -> None:
    said = "".join(stack.output)
    assert stack.get("/readyz") == 200
    assert "/docs" in said
    assert "user scoreboard, password " in said
    assert str(stack.folders.data) in said


def test_what_is_secret_is_for_its_owner_only(stack: MakeRun) -> None:
    folders = stack.folders
    for file in (folders.secrets_file, folders.environment_file, folders.run / "commands.json"):
        assert stat.S_IMODE(file.stat().st_mode) == 0o600
    for folder in (folders.data, folders.logs, folders.run, folders.sockets):
        assert stat.S_IMODE(folder.stat().st_mode) == 0o700


def test_no_secret_is_on_a_command_line(stack: MakeRun) -> None:
    secrets = json.loads(stack.folders.secrets_file.read_text()).values()
    parts = {part for secret in secrets for part in secret.split(":") if len(part) > 20}
    assert parts
    for pid in marked(stack.folders.data):
        command = Path(f"/proc/{pid}/cmdline").read_bytes().decode(errors="replace")
        assert not any(part in command for part in parts)


@pytest.mark.parametrize("name", list(read()))
def test_a_log_is_json_from_its_first_line(stack: MakeRun, name: str) -> None:
    """What a server or Celery says at its start, too: a collector reads all of it."""
    for line in (stack.folders.logs / f"{name}.log").read_text("utf-8").splitlines():
        assert {"@timestamp", "message", "ecs.version"} <= set(json.loads(line)), line


def test_a_second_stack_in_the_same_folder_is_refused_in_one_sentence(stack: MakeRun) -> None:
    code, said = MakeRun(stack.folders.data, free_ports(21_000)).result(20)
    assert code != 0
    assert said.count("scoreboard: ") == 1
    assert f"DATA_DIR {stack.folders.data} is in use by a running stack" in said


def test_a_second_stack_on_the_same_port_is_refused_in_one_sentence(stack: MakeRun, tmp_path: Path) -> None:
    code, said = MakeRun(tmp_path / "other", stack.port).result(20)
    assert code != 0
    assert f"port {stack.port} (API) on 127.0.0.1 is in use" in said
    assert "make run PORT=" in said
    assert marked(tmp_path / "other") == []


@pytest.fixture(scope="module")
def demo(stack: MakeRun) -> Iterator[subprocess.Popen[str]]:
    """Players who play while processes are killed; at its end the demo holds what it was told against all the rest."""
    flask = Path(sys.executable).parent / "flask"
    playing = subprocess.Popen(
        [flask, "--app", "web", "demo", "--players", "30", "--updates", "600", "--rate", "50"],
        cwd=ROOT,
        env={**os.environ, "DATA_DIR": str(stack.folders.data)},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    with database(stack) as connection:
        eventually(lambda: connection.execute("SELECT EXISTS (SELECT FROM score_history)").fetchone()[0], 30)
    yield playing
    playing.kill()
    playing.communicate()


@pytest.mark.parametrize("name", PROCESSES)
def test_a_killed_process_is_back_within_seconds(stack: MakeRun, demo: subprocess.Popen[str], name: str) -> None:
    before = supervision.pids(stack.folders)[name]
    os.kill(before, signal.SIGKILL)

    def back() -> bool:
        return supervision.pids(stack.folders).get(name, before) != before and bool(marked(stack.folders.data, name))

    eventually(back, 5)  # 2 on a machine with nothing else to do
    assert not alive(before)
    eventually(lambda: postgres.answers(stack.folders.sockets), 10)
    eventually(lambda: stack.get("/readyz") == 200, 20)


def test_what_was_played_meanwhile_counted_once(demo: subprocess.Popen[str]) -> None:
    """Ledger = history = scores = Redis = the list of a socket that used deltas alone, whatever was killed."""
    said, _ = demo.communicate(timeout=90)
    assert demo.returncode == 0, said
    assert "ledger = history = scores = Redis for 30 players" in said


def test_children_of_a_killed_process_do_not_stay(stack: MakeRun) -> None:
    children = set(marked(stack.folders.data, "web"))
    os.kill(supervision.pids(stack.folders)["web"], signal.SIGKILL)
    eventually(lambda: not any(alive(pid) for pid in children), 5)
    eventually(lambda: stack.get("/readyz") == 200, 20)


def test_it_stops_within_ten_seconds_leaves_nothing_and_keeps_the_data(stack: MakeRun) -> None:
    with database(stack) as connection:
        connection.execute("CREATE TABLE kept (proof text)")
        connection.execute("INSERT INTO kept VALUES ('still here')")
    processes = marked(stack.folders.data)
    assert len(processes) >= len(PROCESSES)

    assert stack.stop() < 10
    assert not any(alive(pid) for pid in processes)
    assert marked(stack.folders.data) == []
    assert not stack.folders.environment_file.exists()

    again = MakeRun(stack.folders.data, stack.port)
    try:
        assert again.wait_ready() < 15
        with database(again) as connection:
            assert connection.execute("SELECT proof FROM kept").fetchone() == ("still here",)
            connection.execute("DROP TABLE kept")
        ends_when_its_supervisor_is_killed(again)
    finally:
        if not again.ended():
            again.stop()


def ends_when_its_supervisor_is_killed(stack: MakeRun) -> None:
    (supervisor,) = marked(stack.folders.data, "supervisord")
    os.kill(supervisor, signal.SIGKILL)
    code, said = stack.result(10)
    assert code != 0
    assert "supervisord ended by itself" in said
    assert marked(stack.folders.data) == []
