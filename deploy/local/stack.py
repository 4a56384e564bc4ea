"""One stack from its start to its end: stores, migrations, processes, readiness, and the way back."""

import json
import os
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Final

import psycopg

from deploy.local import archive, clusters, environment, procfile, secret_keys, supervision
from deploy.local.embedded import postgres, valkey
from deploy.local.errors import StackError
from deploy.local.folders import Folders
from deploy.local.ports import listening, require_free
from deploy.local.processes import end, marked
from models.errors import SettingsInvalid
from models.private_file import write_private
from models.settings import Settings

STORES_SECONDS_MOST: Final = 40.0  # a crash recovery of 2 GB of WAL takes part of this
READY_SECONDS_MOST: Final = 60.0
LEFTOVERS_SECONDS: Final = 9.0  # what a supervisord that is stopping takes at most
STOP_SECONDS_MOST: Final = 8.8  # so that, with the kill that may follow, all is over within ten
STARTS_OF_A_CRASH: Final = 3
LOG_TAIL_LINES: Final = 25


@dataclass
class Stack:
    """The parts of a stack in the order in which they come up; `say` tells the person what is being done."""

    folders: Folders
    environ: dict[str, str]
    embedded: list[str]
    say: Callable[[str], None]
    supervisord: subprocess.Popen[bytes] | None = field(default=None, init=False)

    @classmethod
    def configured(cls, given: Mapping[str, str], folders: Folders, say: Callable[[str], None]) -> "Stack":
        """A stack for the given environment; nothing runs yet."""
        return cls(folders, environment.build(given, folders), environment.embedded_names(given), say)

    def start(self) -> None:
        """Bring everything up and return when the service is ready.

        Raises:
            StackError: when it cannot be; call `stop` all the same.
        """
        self._clear_leftovers()
        require_free(environment.addresses(self.environ))
        if "postgres" in self.embedded:
            postgres.require_whole(self.folders.postgres)
        self.folders.make()
        if "postgres" in self.embedded:
            clusters.prepare_archive(self.folders)
        self.folders.environment_file.unlink(missing_ok=True)  # of a stack that was killed
        secrets = secret_keys.load_or_make(self.folders.secrets_file)
        self._check_settings()
        commands = self._commands(secrets)
        (self.folders.run / "commands.json").touch(mode=0o600)
        (self.folders.run / "commands.json").write_text(json.dumps(commands), "utf-8")
        supervision.write_configuration(self.folders, list(commands))
        self.supervisord = supervision.start(self.folders, self.environ)
        self._wait("supervisord", lambda: supervision.running(self.folders), STORES_SECONDS_MOST)
        self._start_stores()
        self._migrate()
        write_private(self.folders.environment_file, environment.shared(self.environ))
        self._start_processes()

    def watch(self) -> None:
        """Return only by an exception: StackError when supervisord has ended, or a signal's."""
        if self.supervisord is None:
            return
        code = self.supervisord.wait()
        raise StackError(f"supervisord ended by itself (code {code}); ending what is left.", self._tail("supervisord"))

    def stop(self) -> None:
        """End everything in order, and by force what does not end; afterwards no process is left."""
        if self.supervisord is not None:
            self.supervisord.terminate()
            try:
                self.supervisord.wait(STOP_SECONDS_MOST)
            except subprocess.TimeoutExpired:
                self.supervisord.kill()
                self.supervisord.wait()
        end(marked(self.folders.data), patience_seconds=0.2)
        self.folders.environment_file.unlink(missing_ok=True)
        self.folders.remove_outside()

    def flower_login(self) -> tuple[str, str]:
        """Flower's address, and its user and password as `user:password`."""
        secrets = secret_keys.load_or_make(self.folders.secrets_file)
        login = self.environ.get("FLOWER_BASIC_AUTH") or secrets["FLOWER_BASIC_AUTH"]
        return f"http://127.0.0.1:{self.environ['FLOWER_PORT']}", login

    def _clear_leftovers(self) -> None:
        """A stack whose runner was killed is still ending, or was killed in parts: nobody else has the lock."""
        left = marked(self.folders.data)
        if left:
            self.say(f"ending {len(left)} processes which an earlier stack left in {self.folders.data}")
            end(left, LEFTOVERS_SECONDS)

    def _check_settings(self) -> None:
        try:
            Settings.from_env(self.environ)
        except SettingsInvalid as error:
            raise StackError(f"the settings cannot be used: {'; '.join(error.faults)}.") from error

    def _commands(self, secrets: Mapping[str, str]) -> dict[str, dict[str, Any]]:
        """Name → arguments and what is added to its environment, for every process of the stack."""
        servers = {
            "postgres": lambda: postgres.command(self.folders.run),
            "cache": lambda: valkey.command(self.folders.run, "cache"),
            "broker": lambda: valkey.command(self.folders.run, "broker"),
        }
        commands: dict[str, dict[str, Any]] = {
            name: {"arguments": servers[name](), "environment": {}} for name in self.embedded
        }
        for name, line in procfile.read().items():
            commands[name] = {"arguments": procfile.arguments(line, self.environ), "environment": {}}
        if "flower" in commands and not self.environ.get("FLOWER_BASIC_AUTH"):
            commands["flower"]["environment"] = {"FLOWER_BASIC_AUTH": secrets["FLOWER_BASIC_AUTH"]}
        return commands

    def _start_stores(self) -> None:
        if not self.embedded:
            return
        folders = self.folders
        self.say("starting PostgreSQL and Valkey")
        if "postgres" in self.embedded:
            settings = {**postgres.SETTINGS, **archive.settings(folders.wal)}
            postgres.prepare(folders.postgres, folders.run, folders.sockets, settings)
        for name, kind, data in (("cache", valkey.CACHE, folders.run), ("broker", valkey.BROKER, folders.broker)):
            if name in self.embedded:
                valkey.prepare(folders.run, folders.sockets, name, kind, data)
        supervision.start_group(folders, "stores")
        for name in self.embedded:
            self._wait(name, self._answers(name), STORES_SECONDS_MOST)
        if "postgres" in self.embedded:
            try:
                postgres.ensure_database(folders.sockets)
            except psycopg.Error as error:
                raise StackError(f"the embedded PostgreSQL refuses us: {error}", self._tail("postgres")) from error

    def _answers(self, name: str) -> Callable[[], bool]:
        sockets = self.folders.sockets
        return lambda: postgres.answers(sockets) if name == "postgres" else valkey.answers(sockets, name)

    def _migrate(self) -> None:
        self.say("bringing the database's tables up to date")
        command = [sys.executable, "-m", "migrations", "upgrade"]
        with (self.folders.logs / "migrate.log").open("wb") as log:
            code = subprocess.run(
                command,
                cwd=procfile.ROOT,
                env=self.environ,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                check=False,
            ).returncode
        if code != 0:
            raise StackError(f"the migration failed (code {code}): see its log.", self._tail("migrate"))

    def _start_processes(self) -> None:
        names = list(procfile.read())
        self.say(f"starting {', '.join(names)}")
        for group in supervision.GROUPS:
            if any(supervision.group_of(name) == group for name in names):
                supervision.start_group(self.folders, group)
        url = environment.web_url(self.environ) + "/readyz"
        addresses = environment.addresses(self.environ).values()
        self._wait(
            "the service",
            lambda: all(listening(host, port) for host, port in addresses) and _ready(url),
            READY_SECONDS_MOST,
            names,
        )

    def _wait(
        self, what: str, condition: Callable[[], bool], seconds: float, processes: list[str] | None = None
    ) -> None:
        """Wait for the condition, but not for a process that keeps ending."""
        deadline = time.monotonic() + seconds
        pause_seconds = 0.03
        while not condition():
            for name in processes or [what]:
                if self._starts(name) >= STARTS_OF_A_CRASH:
                    raise StackError(f"{name} cannot start: its log says why.", self._tail(name))
            if self.supervisord is None or self.supervisord.poll() is not None:
                raise StackError("supervisord did not stay up.", self._tail("supervisord"))
            if time.monotonic() > deadline:
                raise StackError(
                    f"{what} did not become ready within {seconds:.0f} s: see {self.folders.logs}.", self._tail(what)
                )
            time.sleep(pause_seconds)
            pause_seconds = min(pause_seconds * 1.1, 0.2)

    def _starts(self, name: str) -> int:
        path = self.folders.run / "starts" / name
        return len(path.read_text("ascii").split()) if path.exists() else 0

    def _tail(self, name: str) -> str:
        candidates = [self.folders.logs / f"{name}{suffix}" for suffix in (".out", ".log")]
        path = next((each for each in candidates if each.exists() and each.stat().st_size), None)
        if path is None:
            return ""
        lines = path.read_text("utf-8", errors="replace").splitlines()[-LOG_TAIL_LINES:]
        return os.linesep.join([f"the end of {path}:", *(f"  {line}" for line in lines)])


def _ready(url: str) -> bool:
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))  # our own machine, never through a proxy
    try:
        with opener.open(url, timeout=2) as answer:
            return bool(answer.status == 200)
    except (OSError, urllib.error.URLError):
        return False
