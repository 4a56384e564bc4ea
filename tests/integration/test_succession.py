"""A server that is told to reload runs the code that lies in its folder then, and refuses nobody meanwhile."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import threading
import time
import urllib.request
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import psutil
import pytest

from deploy.local import procfile
from tests.fixtures import log_lines
from tests.fixtures.ports import free_ports

CODE = ("models", "web", "Procfile")
#: Where each says that it lives.
HEALTH = {"web": "web/api/operations.py", "sockets": "web/live/app.py"}


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """The code of the servers, to be changed."""
    for name in CODE:
        source = procfile.ROOT / name
        (shutil.copytree if source.is_dir() else shutil.copy)(source, tmp_path / name)
    return tmp_path


@dataclass(frozen=True)
class Server:
    """One of the two as it runs."""

    name: str
    port: str
    process: psutil.Process

    def health(self) -> str:
        with urllib.request.urlopen(f"http://127.0.0.1:{self.port}/healthz", timeout=10) as answer:
            return str(json.loads(answer.read())["status"])


@pytest.fixture(params=HEALTH)
def server(request: pytest.FixtureRequest, folder: Path, environment: dict[str, str]) -> Iterator[Server]:
    """Started in that folder."""
    (folder / "metrics").mkdir()
    port = str(free_ports(21_000))
    environ = {**os.environ, **environment, "HOST": "127.0.0.1", "PORT": port, "SOCKETS_PORT": port}
    environ |= {"PROMETHEUS_MULTIPROC_DIR": str(folder / "metrics"), "PYTHONPATH": str(folder)}
    environ["PATH"] = f"{Path(sys.executable).parent}:{os.environ['PATH']}"
    command = procfile.arguments(procfile.read()[request.param], environ)
    with (folder / "log").open("wb") as log:
        process = subprocess.Popen(command, cwd=folder, env=environ, stdout=log, stderr=log)
    yield Server(request.param, port, psutil.Process(process.pid))
    process.terminate()
    process.wait(15)
    log_lines.check(folder / "log")


@pytest.mark.slow
def test_new_code_takes_over_and_nobody_is_refused(
    server: Server, folder: Path, eventually: Callable[..., None]
) -> None:
    def answers() -> bool:
        try:
            return server.health() == "ok"
        except OSError:
            return False

    eventually(answers, 20)
    said, ends = Counter[str](), threading.Event()

    def ask() -> None:
        while not ends.is_set():
            try:
                said[server.health()] += 1
            except OSError as error:
                said[repr(error)] += 1

    crowd = [threading.Thread(target=ask) for _ in range(4)]
    for each in crowd:
        each.start()
    source = folder / HEALTH[server.name]

    def succeed(before: str, after: str) -> None:
        old = server.process.children()
        source.write_text(source.read_text("utf-8").replace(f'"{before}"', f'"{after}"'), "utf-8")
        server.process.send_signal(signal.SIGHUP)
        eventually(lambda: said[after] > 0, 20)
        eventually(lambda: not any(worker.is_running() for worker in old), 20)

    succeed("ok", "new")
    succeed("new", "newer")  # a successor has a successor
    last = said.copy()
    time.sleep(0.2)
    ends.set()
    for each in crowd:
        each.join()
    assert set(said) == {"ok", "new", "newer"}
    assert set(said - last) == {"newer"}
    assert len(server.process.children()) == {"web": 2, "sockets": 1}[server.name]
    log = (folder / "log").read_text("utf-8")
    assert "Traceback" not in log, log[-4000:]
