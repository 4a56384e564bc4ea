"""The running deployment under drill: who runs, where it is reached, and how a part of it is lost and comes back."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import urllib.request
from pathlib import Path
from typing import Any, Final

from deploy.local import supervision
from deploy.local.errors import StackError
from deploy.local.folders import Folders
from deploy.local.processes import grouped, kill, marked
from deploy.local.procfile import ROOT
from deploy.postgres.roles import DATABASE
from deploy.postgres.server import Server
from deploy.production.passwords import load_or_make
from deploy.production.places import OFFSETS, Places
from deploy.production.servers import pgbouncer, postgres, redis
from tests.faults.ways import Ways
from tests.fixtures.waiting import eventually

#: What the supervisor starts in the place of a part whose machine is gone.
_NOTHING: Final = [sys.executable, "-c", "import signal; signal.pause()"]


#: The alerts that tell what is, and not what has been for a while.
_ABOUT_NOW: Final = frozenset(
    {
        "PartDown", "AllPartsDown", "DatabaseDown", "NoPrimary", "ReplicaMissing", "RedisUnreachable", "WorkerGone",
        "RedisWithoutMaster", "RedisWithoutReplica", "SentinelQuorumLost", "InboxOld", "RabbitMQAlarm",
    }
)  # fmt: skip


class Deployment:
    """Parts by name; what is done to them is what happens to machines."""

    def __init__(self, folders: Folders) -> None:
        """The deployment that runs in a data folder.

        Raises:
            StackError: none does.
        """
        if not folders.environment_file.exists() or not supervision.running(folders):
            raise StackError(f"no deployment runs in {folders.data}: start it with make production.")
        told = json.loads(folders.environment_file.read_text("utf-8"))
        places = Places(int(told["PORT"]) - OFFSETS["api-1"])
        self.folders = folders
        self.places = places
        self.ways = Ways(
            [f"https://{places.address(name)}" for name in ("lb-1", "lb-2")],
            folders.data / "certificate" / "certificate.pem",
        )
        self.alerts_file = folders.data / "receiver" / "alerts.jsonl"
        self.lost = ""  # which of two, where a strike must find out
        self._held: dict[str, dict[str, Any]] = {}

    def kill(self, name: str) -> None:
        """kill -9 of a part and its children; its supervisor starts it again at once."""
        leader = supervision.pids(self.folders)[name]
        kill(sorted({*marked(self.folders.data, name), *grouped(leader)}))

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

    def await_whole(self, seconds: float) -> None:
        """Return when every part does its work again, and no alert of what is now is left."""
        eventually(lambda: self._alarms() == [], seconds, 0.5)

    def query(self, sql: str, values: dict[str, Any] | None = None, /) -> list[tuple[Any, ...]]:
        """Rows from the primary, by a superuser's own connection."""
        with self.primary().connect(DATABASE) as connection:
            cursor = connection.execute(sql.encode(), values)
            return cursor.fetchall() if cursor.description else []

    def service_token(self) -> str:
        """A token that may register players: registration is closed in production."""
        words = ("--app", "web", "tokens", "create", "--scope", "users:write", "--name", "drill", "--days", "1")
        return self._python("flask", *words).split()[-1]

    def redis_master(self) -> str:
        """Who is master now."""
        told = load_or_make(self.folders.data / "server-passwords.json")
        passwords = redis.Passwords(told["REDIS_PASSWORD"], told["SERVICE_PASSWORD"], told["SENTINEL_PASSWORD"])
        found = redis.master(self.places, passwords)
        if found is None:
            raise AssertionError("no Sentinel names a master")
        return found

    def primary(self) -> Server:
        """PostgreSQL's primary now."""
        return postgres.primary_of(self._pair())

    def lose_disk(self, name: str) -> None:
        """A PostgreSQL server's data is gone with its machine."""
        self.lose(name)
        shutil.rmtree(self._server(name).data)

    def promote(self) -> None:
        """What an operator types when the primary is gone for good."""
        self._python("deploy.postgres.promote", self.replica().folder, "--pgbouncer", self._pooler(), "--old-is-dead")

    def rejoin(self, name: str) -> None:
        """What an operator types when the old primary's machine is there again, with an empty disk."""
        primary, server = self.primary(), self._server(name)
        self._python("deploy.postgres.rejoin", server.folder, "--primary", primary.folder)
        self.bring_back(name)
        self._python("deploy.postgres.alone", primary.folder, "--end")

    def replica(self) -> Server:
        """PostgreSQL's replica now."""
        return next(server for server in self._pair() if server.follows)

    def go_alone(self) -> None:
        """What an operator types when the replica is gone, and commits wait for it."""
        self._python("deploy.postgres.alone", self.primary().folder)

    def go_together(self, name: str) -> None:
        """The replica's machine is there again, with its disk."""
        self.bring_back(name)
        self._python("deploy.postgres.alone", self.primary().folder, "--end")

    def _pair(self) -> tuple[Server, Server]:
        return postgres.servers(self.folders.data, self.places, self.folders.sockets)

    def _server(self, name: str) -> Server:
        return next(server for server in self._pair() if server.name == name)

    def _pooler(self) -> Path:
        return self.folders.data / pgbouncer.NAME

    def _python(self, module: str, *words: str | Path) -> str:
        done = subprocess.run(
            [sys.executable, "-m", module, *map(str, words)],
            cwd=ROOT,
            env={**os.environ, "DATA_DIR": str(self.folders.data)},
            capture_output=True,
            text=True,
            timeout=120,
            check=False,
        )
        if done.returncode != 0:
            raise AssertionError(f"{module} failed: {done.stdout}{done.stderr}")
        return done.stdout.strip()

    def _alarms(self) -> list[str]:
        """The alerts that fire now, of parts that are gone or not in order."""
        url = f"http://{self.places.address('prometheus')}/api/v1/alerts"
        with urllib.request.urlopen(url, timeout=5) as answer:
            alerts = json.load(answer)["data"]["alerts"]
        names = (alert["labels"]["alertname"] for alert in alerts if alert["state"] == "firing")
        return [name for name in names if name in _ABOUT_NOW]

    def _commands(self) -> dict[str, Any]:
        return dict(json.loads((self.folders.run / "commands.json").read_text("utf-8")))

    def _write(self, commands: dict[str, Any]) -> None:
        (self.folders.run / "commands.json").write_text(json.dumps(commands), "utf-8")
