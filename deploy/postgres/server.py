"""One server of the pair, as the commands see it: its folders, its programs, and a superuser's way in."""

from __future__ import annotations

import json
import subprocess
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final, Self

import psycopg

from deploy.local.embedded.postgres import as_unprivileged, binaries
from deploy.local.errors import StackError
from deploy.local.processes import alive

SUPERUSER: Final = "postgres"
DESCRIPTION: Final = "server.json"
#: What one step of a command may take; a base backup has its own bound.
STEP_SECONDS: Final = 30.0
_POLL_SECONDS: Final = 0.05


@dataclass(frozen=True, slots=True)
class Server:
    """A server that is set up on this machine.

    Attributes:
        name: how it introduces itself as a standby; one of those that `synchronous_standby_names` lists.
        folder: its configuration: postgresql.conf, pg_hba.conf, and replica.conf once it follows another.
        data: its data folder.
        sockets: the folder of its socket, by which the superuser comes.
        host, port: where the other server and PgBouncer find it.
        programs: the folder with PostgreSQL's own commands.
    """

    name: str
    folder: Path
    data: Path
    sockets: Path
    host: str
    port: int
    programs: Path = field(default_factory=binaries)

    @classmethod
    def of(cls, folder: Path) -> Self:
        """The server whose configuration a folder holds (`configure.py` writes server.json there).

        Raises:
            StackError: it holds none.
        """
        try:
            told = json.loads((folder / DESCRIPTION).read_text("utf-8"))
            return cls(
                name=told["name"],
                folder=folder.absolute(),
                data=Path(told["data"]),
                sockets=Path(told["sockets"]),
                host=told["host"],
                port=int(told["port"]),
                programs=Path(told["programs"]),
            )
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise StackError(f"{folder / DESCRIPTION} describes no server: {error!r}") from error

    @property
    def slot(self) -> str:
        """The name of its replication slot at the other server."""
        return self.name.replace("-", "_").replace(".", "_").lower()

    @property
    def follows(self) -> bool:
        """Whether it is to start as a standby."""
        return (self.data / "standby.signal").exists()

    @property
    def command(self) -> list[str]:
        """Its command line; SIGINT stops it in good order."""
        return [*as_unprivileged(), str(self.programs / "postgres"), f"--config-file={self.folder / 'postgresql.conf'}"]

    def connect(self, database: str = SUPERUSER) -> psycopg.Connection[tuple[Any, ...]]:
        """A superuser's connection with autocommit, over the socket.

        Raises:
            psycopg.OperationalError: it takes none now.
        """
        return psycopg.connect(
            host=str(self.sockets),
            port=self.port,
            user=SUPERUSER,
            dbname=database,
            autocommit=True,
            connect_timeout=2,
            options="-c statement_timeout=30s -c synchronous_commit=local",  # no act of ours waits for a standby
        )

    def running(self) -> int | None:
        """The id of its process; None when it does not run (here: another host's is not seen)."""
        try:
            pid = int((self.data / "postmaster.pid").read_text("ascii").split()[0])
        except (OSError, ValueError, IndexError):
            return None
        return pid if alive(pid) else None

    def run(self, program: str, *arguments: str, seconds: float = STEP_SECONDS) -> str:
        """Run one of PostgreSQL's commands to its end; returns what it said.

        Raises:
            StackError: it failed or took too long, with what it said.
        """
        command = [*as_unprivileged(), str(self.programs / program), *arguments]
        try:
            done = subprocess.run(
                command, stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=seconds, check=False, cwd="/"
            )
        except subprocess.TimeoutExpired as error:
            raise StackError(f"{program} for {self.name} did not end within {seconds:.0f} s.") from error
        said = done.stdout + done.stderr
        if done.returncode != 0:
            raise StackError(f"{program} for {self.name} failed.", said)
        return said


def until(true: Callable[[], bool], what: str, seconds: float = STEP_SECONDS) -> None:
    """Wait for something.

    Raises:
        StackError: it did not come to pass in time.
    """
    deadline = time.monotonic() + seconds
    while not true():
        if time.monotonic() > deadline:
            raise StackError(f"{what}: not within {seconds:.0f} s.")
        time.sleep(_POLL_SECONDS)
