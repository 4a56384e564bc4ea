"""Making a server follow another: as a copy, turned back to where their histories parted, or only fenced off."""

from __future__ import annotations

import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import psycopg

from deploy.local.embedded.postgres import hand_over
from deploy.postgres.roles import REPLICATION
from deploy.postgres.server import SUPERUSER, Server
from deploy.templates import FOLDER, fill

#: A copy of 100 GB over a good network.
COPY_SECONDS: Final = 3_600.0


@dataclass(frozen=True, slots=True)
class Upstream:
    """Whom to follow, as the one who follows sees it; `passfile` is a libpq password file, which it must own."""

    host: str
    port: int
    passfile: Path

    def conninfo(self, database: str | None = None) -> str:
        """libpq's description of the way there."""
        values = {
            "host": self.host,
            "port": self.port,
            "user": REPLICATION,
            "passfile": self.passfile,
            "dbname": database,
        }
        return " ".join(f"{name}={_quoted(str(value))}" for name, value in values.items() if value is not None)


def follow(server: Server, upstream: Upstream) -> None:
    """Have a server start as a standby from now on: it takes no write until it is promoted. This is the fence, too.

    A server without data gets its configuration only.
    """
    (server.folder / "replica.conf").write_text(
        fill(
            FOLDER / "postgres" / "replica.conf.template",
            {
                "PRIMARY_HOST": upstream.host,
                "PRIMARY_PORT": upstream.port,
                "PASSFILE": upstream.passfile,
                "ROLE": REPLICATION,
                "NAME": server.name,
                "SLOT": server.slot,
            },
        ),
        "utf-8",
    )
    if server.data.is_dir():
        _mark(server.data)


def keep_slot(primary: psycopg.Connection[Any], server: Server) -> None:
    """Have the primary keep from now on what this standby has not received."""
    row = primary.execute("SELECT wal_status FROM pg_replication_slots WHERE slot_name = %s", (server.slot,)).fetchone()
    if row is not None and row[0] == "lost":
        primary.execute("SELECT pg_drop_replication_slot(%s)", (server.slot,))
        row = None
    if row is None:
        primary.execute("SELECT pg_create_physical_replication_slot(%s, true)", (server.slot,))


def copy(server: Server, upstream: Upstream) -> None:
    """Replace a server's data, if it has any, by a copy of the primary's; its slot must be there.

    The copy is made beside it and takes its place in one step.

    Raises:
        StackError: it failed; what there was is as it was.
    """
    draft = server.data.with_name(server.data.name + ".new")
    shutil.rmtree(draft, ignore_errors=True)
    draft.mkdir(mode=0o700, parents=True)
    hand_over(draft)
    server.run(
        "pg_basebackup",
        f"--dbname={upstream.conninfo()}",
        f"--pgdata={draft}",
        f"--slot={server.slot}",
        "--wal-method=stream",
        "--checkpoint=fast",
        "--no-password",
        seconds=COPY_SECONDS,
    )
    _mark(draft)  # before it is where a supervisor may start it
    follow(server, upstream)
    shutil.rmtree(server.data, ignore_errors=True)
    draft.rename(server.data)


def turn_back(server: Server, upstream: Upstream) -> None:
    """Turn a former primary back to where its history and the primary's parted (pg_rewind), to follow from there.

    What it had committed after that, and nobody else has, is gone with it.

    Raises:
        StackError: that cannot be done: `copy` can.
    """
    (server.data / "standby.signal").unlink(missing_ok=True)  # it must first end as the primary it was
    try:
        server.run(
            "pg_rewind",
            f"--target-pgdata={server.data}",
            f"--source-server={upstream.conninfo(SUPERUSER)}",
            f"--config-file={server.folder / 'postgresql.conf'}",
            seconds=COPY_SECONDS,
        )
    finally:
        follow(server, upstream)


def write_passfile(path: Path, password: str) -> None:
    """A libpq password file for replication, which the server's account alone may read."""
    escaped = password.replace("\\", "\\\\").replace(":", "\\:")
    path.unlink(missing_ok=True)
    path.touch(mode=0o600)
    path.write_text(f"*:*:*:{REPLICATION}:{escaped}\n", "utf-8")
    hand_over(path)


def _mark(data: Path) -> None:
    signal = data / "standby.signal"
    signal.touch(mode=0o600)
    hand_over(signal)


def _quoted(value: str) -> str:
    escaped = value.replace("\\", "\\\\").replace("'", "\\'")
    return f"'{escaped}'"
