"""One stack from its start to its end: stores, migrations, processes, readiness, and the way back."""

import sys
import urllib.error
import urllib.request
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Final

import psycopg

from deploy.local import archive, clusters, environment, procfile, secret_keys, supervision
from deploy.local.embedded import postgres, valkey
from deploy.local.errors import StackError
from deploy.local.folders import Folders
from deploy.local.ports import listening, require_free
from deploy.local.runner import Runner
from models.errors import SettingsInvalid
from models.private_file import write_private
from models.settings import Settings

STORES_SECONDS_MOST: Final = 40.0  # a crash recovery of 2 GB of WAL takes part of this
READY_SECONDS_MOST: Final = 60.0
STOP_SECONDS_MOST: Final = 8.8  # so that, with the kill that may follow, all is over within ten
# Started in this order and stopped in the reverse, each group as one: first nobody new comes in, then what was taken
# in is worked off, then the stores close.
GROUPS: Final[Mapping[str, tuple[str, ...]]] = {
    "stores": ("postgres", "cache", "broker"),
    "work": ("worker", "beat", "flower"),
    "edge": ("web", "sockets"),
}
# Before supervisord kills; measured when idle: 1.1, 2.3 (a Celery worker's warm shutdown) and 0.1. Should all of them
# need all of it, the runner's own deadline comes first: what is committed is safe, and PostgreSQL recovers.
STOP_SECONDS: Final[Mapping[str, int]] = {"edge": 3, "work": 4, "stores": 4}
STOP_SIGNALS: Final[Mapping[str, str]] = {"postgres": "INT"}  # SIGTERM would wait for clients to leave


@dataclass
class Stack:
    """The parts of a stack in the order in which they come up."""

    runner: Runner
    embedded: list[str]

    @classmethod
    def configured(cls, given: Mapping[str, str], folders: Folders, say: Callable[[str], None]) -> "Stack":
        """A stack for the given environment; nothing runs yet."""
        return cls(Runner(folders, environment.build(given, folders), say), environment.embedded_names(given))

    @property
    def folders(self) -> Folders:
        """Where everything of this stack lies."""
        return self.runner.folders

    @property
    def environ(self) -> dict[str, str]:
        """The environment of its processes."""
        return self.runner.environ

    def start(self) -> None:
        """Bring everything up and return when the service is ready.

        Raises:
            StackError: when it cannot be; call `stop` all the same.
        """
        self.runner.clear_leftovers()
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
        self.runner.supervise(commands, [_program(name) for name in commands], list(GROUPS))
        self._start_stores()
        self._migrate()
        write_private(self.folders.environment_file, environment.shared(self.environ))
        self._start_processes()

    def watch(self) -> None:
        """Return only by an exception: StackError when supervisord has ended, or a signal's."""
        self.runner.watch()

    def stop(self) -> None:
        """End everything in order, and by force what does not end; afterwards no process is left."""
        self.runner.stop(STOP_SECONDS_MOST)

    def flower_login(self) -> tuple[str, str]:
        """Flower's address, and its user and password as `user:password`."""
        secrets = secret_keys.load_or_make(self.folders.secrets_file)
        login = self.environ.get("FLOWER_BASIC_AUTH") or secrets["FLOWER_BASIC_AUTH"]
        return f"http://127.0.0.1:{self.environ['FLOWER_PORT']}", login

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
        self.runner.say("starting PostgreSQL and Valkey")
        if "postgres" in self.embedded:
            settings = {**postgres.SETTINGS, **archive.settings(folders.wal)}
            postgres.prepare(folders.postgres, folders.run, folders.sockets, settings)
        for name, kind, data in (("cache", valkey.CACHE, folders.run), ("broker", valkey.BROKER, folders.broker)):
            if name in self.embedded:
                valkey.prepare(folders.run, folders.sockets, name, kind, data)
        supervision.start_group(folders, "stores")
        for name in self.embedded:
            self.runner.wait(name, self._answers(name), STORES_SECONDS_MOST)
        if "postgres" in self.embedded:
            try:
                postgres.ensure_database(folders.sockets)
            except psycopg.Error as error:
                raise StackError(
                    f"the embedded PostgreSQL refuses us: {error}", self.runner.tail("postgres")
                ) from error

    def _answers(self, name: str) -> Callable[[], bool]:
        sockets = self.folders.sockets
        return lambda: postgres.answers(sockets) if name == "postgres" else valkey.answers(sockets, name)

    def _migrate(self) -> None:
        self.runner.say("bringing the database's tables up to date")
        self.runner.run("migrate", [sys.executable, "-m", "migrations", "upgrade"])

    def _start_processes(self) -> None:
        names = list(procfile.read())
        self.runner.say(f"starting {', '.join(names)}")
        for group, members in GROUPS.items():
            if set(members) & set(names):
                supervision.start_group(self.folders, group)
        url = environment.web_url(self.environ) + "/readyz"
        addresses = environment.addresses(self.environ).values()
        self.runner.wait(
            "the service",
            lambda: all(listening(host, port) for host, port in addresses) and _ready(url),
            READY_SECONDS_MOST,
            names,
        )


def _program(name: str) -> supervision.Program:
    """How the supervisor treats a process; one that no group names works in the middle."""
    group = next((group for group, names in GROUPS.items() if name in names), "work")
    return supervision.Program(name, group, STOP_SIGNALS.get(name, "TERM"), STOP_SECONDS[group])


def _ready(url: str) -> bool:
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))  # our own machine, never through a proxy
    try:
        with opener.open(url, timeout=2) as answer:
            return bool(answer.status == 200)
    except (OSError, urllib.error.URLError):
        return False
