"""The running deployment under drill: who runs, where it is reached, and how a part of it is lost and comes back."""

from __future__ import annotations

import json
import subprocess
import sys
import threading
from pathlib import Path
from typing import Any, Final

import psycopg

from deploy.local import supervision
from deploy.local.folders import Folders
from deploy.local.processes import kill, marked
from deploy.local.procfile import ROOT
from deploy.production.places import Places
from deploy.production.servers import postgres
from tests.fixtures.waiting import eventually

BACK_SECONDS_MOST: Final = 60.0
#: What the supervisor starts in the place of a part whose machine is gone.
_NOTHING: Final = [sys.executable, "-c", "import signal; signal.pause()"]


class Deployment:
    """Parts by name; what is done to them is what happens to machines."""

    def __init__(self, folders: Folders, places: Places) -> None:
        self.folders = folders
        self.places = places
        self._held: dict[str, dict[str, Any]] = {}

    def runs(self) -> bool:
        """Whether it is up."""
        return self.folders.environment_file.exists() and supervision.running(self.folders)

    def kill(self, name: str) -> None:
        """kill -9 of a part and its children; its supervisor starts it again at once."""
        kill(marked(self.folders.data, name))

    def lose(self, name: str) -> None:
        """The part's machine is gone: kill -9, and it does not come back until `bring_back`."""
        commands = self._commands()
        self._held[name] = commands[name]
        self._write({**commands, name: {"arguments": _NOTHING, "environment": {}}})
        self.kill(name)

    def bring_back(self, name: str) -> None:
        """The machine is there again, and what ran on it is started."""
        self._write({**self._commands(), name: self._held.pop(name)})
        self.kill(name)

    def query(self, sql: str, values: dict[str, Any] | None = None) -> list[tuple[Any, ...]]:
        """Rows from the primary, by a superuser's own connection."""
        with postgres.connect_primary(self.folders, self.places) as connection:
            cursor = connection.execute(sql, values)  # type: ignore[call-overload]
            return cursor.fetchall() if cursor.description else []

    def command(self, *words: str) -> str:
        """What one of the service's commands prints."""
        done = subprocess.run(
            [sys.executable, "-m", "flask", "--app", "web", *words],
            cwd=ROOT, env={**_environ(), "DATA_DIR": str(self.folders.data)}, check=True, capture_output=True, text=True, timeout=60,
        )  # fmt: skip
        return done.stdout.strip()

    def _commands(self) -> dict[str, Any]:
        return dict(json.loads((self.folders.run / "commands.json").read_text("utf-8")))

    def _write(self, commands: dict[str, Any]) -> None:
        (self.folders.run / "commands.json").write_text(json.dumps(commands), "utf-8")
