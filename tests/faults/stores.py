"""The stores under attack: a PostgreSQL and two Valkeys of the laboratory's own, each behind a proxy."""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import subprocess
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final

import psutil
import psycopg
import redis

from deploy.local.embedded import postgres, valkey
from tests.faults.proxy import Proxy
from tests.faults.tether import tether
from tests.fixtures.waiting import eventually

START_SECONDS_MOST: Final = 30.0


class Server:
    """A store's process: started, killed, frozen, and put back."""

    def __init__(self, command: list[str], log: Path, answers: Callable[[], bool]) -> None:
        self._command = command
        self._log = log
        self._answers = answers
        self._process: subprocess.Popen[bytes] | None = None
        self._frozen: list[psutil.Process] = []

    def start(self) -> None:
        """Start it, as often as it takes, and return when it answers: what a supervisor does."""

        def up() -> bool:
            if self._process is None or self._process.poll() is not None:
                with self._log.open("ab") as log:
                    self._process = subprocess.Popen(
                        self._command,
                        stdout=log,
                        stderr=log,
                        start_new_session=True,
                        preexec_fn=tether(signal.SIGINT),  # noqa: PLW1509 - see there
                    )
                time.sleep(0.1)
            return self._answers()

        eventually(up, START_SECONDS_MOST, 0.05)

    def processes(self) -> list[psutil.Process]:
        """The server and its children."""
        if self._process is None or self._process.poll() is not None:
            return []
        try:
            server = psutil.Process(self._process.pid)
            return [server, *server.children(recursive=True)]
        except psutil.NoSuchProcess:
            return []

    def kill(self) -> None:
        """kill -9 of all of it; it stays dead until `start`."""
        for process in self.processes():
            _send(process, signal.SIGKILL)
        if self._process is not None:
            self._process.wait(10)

    def stop(self, number: signal.Signals, seconds: float = 20.0) -> None:
        """A shutdown by this signal; it stays down until `start`."""
        if self._process is not None and self._process.poll() is None:
            self._process.send_signal(number)
            try:
                self._process.wait(seconds)
            except subprocess.TimeoutExpired:
                self.kill()

    def freeze(self) -> None:
        """It still takes connections, or seems to, and answers nothing."""
        self._frozen = self.processes()
        for process in self._frozen:
            _send(process, signal.SIGSTOP)

    def thaw(self) -> None:
        """It goes on where it stood."""
        for process in reversed(self._frozen):
            _send(process, signal.SIGCONT)
        self._frozen = []


class Postgres(Server):
    """The truth; on a small disk of its own when that can be had, so that it can be filled."""

    def __init__(self, folder: Path, settings: dict[str, str]) -> None:
        folder.mkdir(mode=0o700)
        self._folder = folder
        self.disk = _small_disk(folder / "disk")
        cluster = (folder / "disk" if self.disk else folder) / "cluster"
        postgres.prepare(cluster, folder, folder, {**postgres.SETTINGS, **settings})
        super().__init__(postgres.command(folder), folder / "postgres.log", lambda: postgres.answers(folder))
        self.start()
        postgres.ensure_database(folder)
        self.proxy = Proxy(str(folder / "postgres" / ".s.PGSQL.5432"), seed=1)

    @property
    def url(self) -> str:
        """What the service is given: through the proxy."""
        return (
            f"postgresql+psycopg://{postgres.OWNER}@127.0.0.1:{self.proxy.port}/{postgres.OWNER}"
            "?sslmode=disable&gssencmode=disable"
        )

    def query(self, sql: str, values: tuple[Any, ...] | dict[str, Any] = ()) -> list[tuple[Any, ...]]:
        """Rows, by a superuser's connection past the proxy."""
        with self.connect() as connection:
            cursor = connection.execute(sql, values or None)  # type: ignore[call-overload]
            return cursor.fetchall() if cursor.description else []

    def connect(self) -> psycopg.Connection[tuple[Any, ...]]:
        """A superuser's connection to the service's database, past the proxy."""
        host = str(self._folder / "postgres")
        return psycopg.connect(
            host=host, port=5432, user=postgres.SUPERUSER, dbname=postgres.OWNER, autocommit=True, connect_timeout=5
        )

    def kill_backend(self) -> None:
        """kill -9 of one of the processes that serve us: the server ends all others and recovers."""
        for (pid,) in self.query(
            "SELECT pid FROM pg_stat_activity WHERE application_name = 'scoreboard' ORDER BY random() LIMIT 1"
        ):
            os.kill(pid, signal.SIGKILL)

    def fill_disk(self) -> None:
        """Take all that is left of the disk."""
        with (self._folder / "disk" / "ballast").open("ab", buffering=0) as ballast, contextlib.suppress(OSError):
            while ballast.write(b"\0" * 65_536):
                pass

    def clear_disk(self) -> None:
        """Give it back."""
        (self._folder / "disk" / "ballast").unlink(missing_ok=True)

    def close(self) -> None:
        """End the server, the proxy and the disk."""
        self.thaw()
        self.stop(signal.SIGINT)
        self.proxy.close()
        if self.disk:
            subprocess.run(["umount", "--lazy", str(self._folder / "disk")], check=False)


class Valkey(Server):
    """The cache, or the broker."""

    def __init__(self, folder: Path, name: str, kind: dict[str, str]) -> None:
        folder.mkdir(mode=0o700)
        self._folder = folder
        self._name = name
        valkey.prepare(folder, folder, name, kind, folder)
        command = valkey.command(folder, name)
        super().__init__(command, folder / f"{name}.log", lambda: valkey.answers(folder, name))
        self.start()
        self.proxy = Proxy(str(valkey.socket_path(folder, name)), seed=2)

    @property
    def url(self) -> str:
        """What the service is given: through the proxy."""
        return f"redis://127.0.0.1:{self.proxy.port}/0"

    def client(self) -> redis.Redis:
        """A client past the proxy."""
        return redis.Redis(unix_socket_path=str(valkey.socket_path(self._folder, self._name)), socket_timeout=5)

    def close(self) -> None:
        """End the server and the proxy."""
        self.thaw()
        self.stop(signal.SIGTERM)
        self.proxy.close()


def _small_disk(folder: Path) -> bool:
    """Mount a file system of 1 GB there, of which all faults together fill a half; False where we may not."""
    if os.geteuid() != 0 or shutil.which("mount") is None:
        return False
    folder.mkdir(mode=0o711)
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=1g,mode=0777", "scoreboard-faults", str(folder)],
        capture_output=True,
        check=False,
    )
    return mounted.returncode == 0


def _send(process: psutil.Process, number: signal.Signals) -> None:
    try:
        os.kill(process.pid, number)
    except ProcessLookupError:
        return
