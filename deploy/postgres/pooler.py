"""PgBouncer from outside: which server its names lead to, and its console."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, Self

import psycopg

from deploy.local.errors import StackError
from deploy.postgres.roles import DATABASE
from deploy.templates import FOLDER, fill

DESCRIPTION: Final = "pgbouncer.json"
ADMIN: Final = "pgbouncer_admin"
Address = tuple[str, int]


@dataclass(frozen=True, slots=True)
class Pooler:
    """One PgBouncer.

    Attributes:
        folder: its configuration.
        host, port: where its console is: a folder of sockets, or an address.
        passfile: a libpq password file with the console's password.
        pool_size, replica_pool_size: connections it may have to the primary, and to the replica.
    """

    folder: Path
    host: str
    port: int
    passfile: Path
    pool_size: int
    replica_pool_size: int

    @classmethod
    def of(cls, folder: Path) -> Self:
        """The PgBouncer whose configuration a folder holds.

        Raises:
            StackError: it holds none.
        """
        try:
            told = json.loads((folder / DESCRIPTION).read_text("utf-8"))
            return cls(
                folder.absolute(),
                told["host"],
                int(told["port"]),
                Path(told["passfile"]),
                int(told["pool_size"]),
                int(told["replica_pool_size"]),
            )
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise StackError(f"{folder / DESCRIPTION} describes no PgBouncer: {error!r}") from error

    def describe(self) -> None:
        """Write what `of` reads."""
        description = {
            "host": self.host,
            "port": self.port,
            "passfile": str(self.passfile),
            "pool_size": self.pool_size,
            "replica_pool_size": self.replica_pool_size,
        }
        (self.folder / DESCRIPTION).write_text(json.dumps(description, indent=1) + "\n", "utf-8")

    def write_databases(self, primary: Address, replica: Address) -> None:
        """Have the names lead there from its next start, or RELOAD, on."""
        values = {
            "DATABASE": DATABASE,
            "PRIMARY_HOST": primary[0],
            "PRIMARY_PORT": primary[1],
            "REPLICA_HOST": replica[0],
            "REPLICA_PORT": replica[1],
            "POOL_SIZE": self.pool_size,
            "REPLICA_POOL_SIZE": self.replica_pool_size,
        }
        draft = self.folder / "databases.ini.new"
        draft.write_text(fill(FOLDER / "pgbouncer" / "databases.ini.template", values), "utf-8")
        draft.replace(self.folder / "databases.ini")

    def point(self, primary: Address, replica: Address) -> None:
        """Send the next transaction of everybody there; who is connected stays so and notices nothing.

        Raises:
            psycopg.OperationalError: the console does not answer; its next start or RELOAD has it all the same.
        """
        self.write_databases(primary, replica)
        with self.console() as console:
            console.execute("RELOAD")
            console.execute("RECONNECT")

    def console(self) -> psycopg.Connection[tuple[Any, ...]]:
        """A connection to its console, which takes `SHOW POOLS` and the like.

        Raises:
            psycopg.OperationalError: it takes none now.
        """
        return psycopg.connect(
            host=self.host,
            port=self.port,
            user=ADMIN,
            dbname="pgbouncer",
            passfile=str(self.passfile),
            autocommit=True,
            prepare_threshold=None,
            connect_timeout=2,
        )
