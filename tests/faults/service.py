"""The service under attack: the one-command stack on the laboratory's stores, its processes found and disturbed."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
import urllib.request
from pathlib import Path
from typing import Final

from deploy.local import supervision
from deploy.local.folders import Folders
from deploy.local.processes import alive, marked
from deploy.local.procfile import ROOT, read
from tests.faults.tether import tether
from tests.fixtures import log_lines
from tests.fixtures.ports import free_ports
from tests.fixtures.waiting import eventually

READY_SECONDS_MOST: Final = 60.0


class Service:
    """`api` and `sockets` are its addresses; what dies comes back by itself."""

    def __init__(self, data: Path, environment: dict[str, str], tree: Path = ROOT) -> None:
        """`tree` is the folder whose code runs."""
        port = free_ports(10_000)
        self.api = f"http://127.0.0.1:{port}"
        self.sockets = f"ws://127.0.0.1:{port + 1}"
        self.folders = Folders(data)
        self._said: list[str] = []
        inherited = {name: value for name, value in os.environ.items() if name != "MAKELEVEL"}
        self._process = subprocess.Popen(
            [sys.executable, "-m", "deploy.local"],
            cwd=tree,
            env={**inherited, "DATA_DIR": str(data), "PORT": str(port), **environment},
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            start_new_session=True,
            preexec_fn=tether(signal.SIGTERM),  # noqa: PLW1509 - so that nothing outlives a laboratory that is killed
        )
        threading.Thread(target=self._listen, daemon=True).start()
        eventually(self._started, READY_SECONDS_MOST, 0.05)

    def pid(self, name: str) -> int:
        """The process that the supervisor started under this name."""
        return supervision.pids(self.folders)[name]

    def children(self, name: str) -> list[int]:
        """Its children: web's and the sockets' workers, Celery's pool."""
        parent = self.pid(name)
        return [pid for pid in marked(self.folders.data, name) if pid != parent]

    def give(self, name: str, environment: dict[str, str]) -> None:
        """Add to the environment of a process from its next start on, in place of what was given before."""
        path = self.folders.run / "commands.json"
        commands = json.loads(path.read_text("utf-8"))
        commands[name]["environment"] = environment
        path.write_text(json.dumps(commands), "utf-8")

    def await_successor(self, name: str, pid: int) -> None:
        """Return when the supervisor has put another process in the place of this one, and its orphans are gone."""
        eventually(lambda: self._successor(name) not in (None, pid), READY_SECONDS_MOST)

    def _successor(self, name: str) -> int | None:
        return supervision.pids(self.folders).get(name)

    def everything(self) -> list[int]:
        """All processes but those that only look after the others."""
        names = supervision.pids(self.folders)
        return [pid for name in names for pid in marked(self.folders.data, name)]

    def answers(self) -> bool:
        """Whether the API and the sockets say that all is well."""
        return _is_well(f"{self.api}/readyz") and _is_well(f"{self.sockets.replace('ws', 'http', 1)}/readyz")

    def stop(self) -> None:
        """End it in good order."""
        self._process.send_signal(signal.SIGTERM)
        try:
            self._process.wait(20)
        except subprocess.TimeoutExpired:
            self._process.kill()
        eventually(lambda: not any(alive(pid) for pid in marked(self.folders.data)), 10)
        log_lines.check(*(path for name in read() for path in self.folders.logs.glob(f"{name}.log*")))

    def _listen(self) -> None:
        assert self._process.stdout is not None
        with self._process.stdout as lines:
            for line in lines:
                self._said.append(line)

    def _started(self) -> bool:
        if self._process.poll() is not None:
            raise AssertionError("the service did not start:\n" + "".join(self._said))
        return any(line.startswith("ready ") for line in self._said)


def signal_all(pids: list[int], number: signal.Signals) -> None:
    """Send a signal to processes, some of which may be gone."""
    for pid in pids:
        try:
            os.kill(pid, number)
        except ProcessLookupError:
            continue


def _is_well(url: str) -> bool:
    try:
        with urllib.request.urlopen(url, timeout=3) as answer:
            return bool(answer.status == 200)
    except OSError:
        return False
