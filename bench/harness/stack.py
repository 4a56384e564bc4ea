"""A stack of its own for a measurement, with the CPU each kind of its processes uses."""

from __future__ import annotations

import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections import defaultdict
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Final
from urllib.error import URLError
from urllib.request import urlopen

import psutil

from models.settings import Settings

READY_SECONDS: Final = 90.0
STOP_SECONDS: Final = 40.0
#: Limits that a load generator on one address must not meet; the players' own stay as they are shipped.
OPEN_LIMITS: Final = {"LIMIT_ADDRESS": "1000000/second", "LIMIT_REGISTRATION": "1000000/second"}
#: What a command line says of the part it belongs to, looked for in this order.
_PARTS: Final = {
    "web/api/gunicorn_conf": "web",
    "gunicorn": "sockets",
    "flower": "flower",
    " beat ": "beat",
    "celery": "worker",
    "postgres": "postgres",
    "valkey": "redis",
}


@dataclass(frozen=True, slots=True)
class Stack:
    """A running service."""

    api: str
    sockets: str
    settings: Settings
    process: psutil.Process

    @property
    def address(self) -> tuple[str, int]:
        """Where the API listens."""
        return self.settings.host, self.settings.port

    def cpu_seconds(self) -> dict[str, float]:
        """CPU used so far by each part, user and system; of processes that are alive."""
        used: defaultdict[str, float] = defaultdict(float)
        for process in self.process.children(recursive=True):
            try:
                part, times = part_of(process), process.cpu_times()
            except psutil.Error:  # it ended meanwhile
                continue
            used[part] += times.user + times.system
        return dict(used)


def part_of(process: psutil.Process) -> str:
    """The part of the service it belongs to. Raises psutil.Error when it has ended."""
    line = " ".join(process.cmdline()) + " " + process.name()
    return next((part for word, part in _PARTS.items() if word in line), "other")


@contextmanager
def running(settings: Mapping[str, str] | None = None) -> Iterator[Stack]:
    """Start a stack in a folder of its own, and stop it in the end; `settings` are added to the environment."""
    folder = Path(tempfile.mkdtemp(prefix="sb-bench-"))
    ours = {name: value for name, value in os.environ.items() if not name.endswith("_URL")}
    environ = {**ours, "DATA_DIR": str(folder), "PORT": str(free_port()), **OPEN_LIMITS, **(settings or {})}
    with (folder / "stack.log").open("wb") as log:
        process = subprocess.Popen(
            [sys.executable, "-m", "deploy.local"], env=environ, stdout=log, stderr=log, start_new_session=True
        )
    try:
        api = f"http://127.0.0.1:{environ['PORT']}"
        _await_ready(api, process, folder / "stack.log")
        found = Settings.from_env({**environ, "DATA_DIR": str(folder)})
        yield Stack(api, found.sockets_url, found, psutil.Process(process.pid))
    finally:
        process.send_signal(signal.SIGINT)
        try:
            process.wait(STOP_SECONDS)
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, signal.SIGKILL)
        shutil.rmtree(folder, ignore_errors=True)


def _await_ready(api: str, process: subprocess.Popen[bytes], log: Path) -> None:
    deadline = time.monotonic() + READY_SECONDS
    while time.monotonic() < deadline and process.poll() is None:
        try:
            with urlopen(api + "/readyz", timeout=2) as answer:  # noqa: S310 - our own http address
                if json.load(answer)["status"] == "ready":
                    return
        except (URLError, OSError, ValueError, KeyError):
            pass
        time.sleep(0.2)
    raise SystemExit(f"the stack did not get ready:\n{log.read_text('utf-8', 'replace')[-4000:]}")


def free_port(in_a_row: int = 3) -> int:
    """A port that is free with those after it: the API's, the sockets' and Flower's."""
    for first in range(21_000, 29_000, 10):
        sockets = []
        try:
            for port in range(first, first + in_a_row):
                sockets.append(probe := socket.socket())
                probe.bind(("127.0.0.1", port))
            return first
        except OSError:
            continue
        finally:
            for probe in sockets:
                probe.close()
    raise SystemExit(f"no {in_a_row} free ports in a row between 21000 and 29000")
