"""postgres-1 and postgres-2: a primary and its synchronous replica, made at the first start.

Which of them is the primary is what their data folders say: a failover changes it, and a later start keeps it.
"""

from __future__ import annotations

import json
import secrets
import shutil
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Final
from urllib.parse import quote

import psycopg

from deploy.local.embedded.postgres import serving
from deploy.local.errors import StackError
from deploy.postgres import standby
from deploy.postgres.alone import go_alone, go_together
from deploy.postgres.configure import Sizes, configure, initialise
from deploy.postgres.roles import DATABASE, MONITOR, REPLICATION, SERVICE, ensure, verifiers
from deploy.postgres.server import Server, until
from deploy.postgres.standby import Upstream
from deploy.production.part import Part
from deploy.production.places import HOST, Places
from models.private_file import write_private

NAMES: Final = ("postgres-1", "postgres-2")
PASSWORDS: Final = "passwords.json"
VERIFIERS: Final = "verifiers.json"
PASSFILE: Final = "replication.pass"
#: Written last of all that the first start makes.
MADE: Final = "made"
SIZES: Final = Sizes(max_connections=200, shared_buffers="128MB", slot_wal="1GB")


def servers(folder: Path, places: Places, sockets: Path | None = None) -> tuple[Server, Server]:
    """Both servers, as the commands of `deploy.postgres` take them.

    Args:
        folder: holds a folder for each, and the passwords.
        sockets: where their sockets lie if the folder's path is too long for that (some 80 bytes).
    """
    one, two = (
        Server(name, folder / name, folder / name / "data", (sockets or folder) / name, HOST, places.port(name))
        for name in NAMES
    )
    return one, two


def primary_of(pair: tuple[Server, Server]) -> Server:
    """The one that takes writes.

    Raises:
        StackError: none of them does, or both would.
    """
    found = [server for server in pair if server.data.is_dir() and not server.follows]
    if len(found) != 1:
        says = "both would be the primary" if found else "neither would be the primary"
        raise StackError(f"of {' and '.join(NAMES)} {says}: see the runbook in docs/postgres.md.")
    return found[0]


def prepare(folder: Path, places: Places, sockets: Path | None = None) -> tuple[Server, Server]:
    """Write the configuration of both; at the first start make the passwords, the primary, its roles and the replica.

    Raises:
        StackError: something of it failed.
    """
    pair = servers(folder, places, sockets)
    folder.mkdir(parents=True, exist_ok=True)
    told = passwords(folder)
    for server in pair:
        configure(server, listen=HOST, standbys=NAMES, sizes=SIZES)
        standby.write_passfile(server.folder / PASSFILE, told[REPLICATION])
    for server, other in (pair, pair[::-1]):
        if server.follows:
            standby.follow(server, Upstream(HOST, other.port, server.folder / PASSFILE))
    if not (folder / MADE).exists():
        _make(folder, pair, told)
    return pair


def passwords(folder: Path) -> dict[str, str]:
    """The password of each role; made when first asked for."""
    path = folder / PASSWORDS
    if not path.exists():
        write_private(path, {role: secrets.token_urlsafe(32) for role in (SERVICE, MONITOR, REPLICATION)})
    told: dict[str, str] = json.loads(path.read_text("utf-8"))
    return told


def part(server: Server) -> Part:
    """The process of one of them."""
    return Part(
        server.name, server.command, ready=lambda: answers(server), stop_signal="INT", stop_seconds=15.0
    )  # SIGINT: a fast shutdown


def answers(server: Server) -> bool:
    """Whether it takes connections now."""
    try:
        with server.connect() as connection:
            return connection.execute("SELECT 1").fetchone() is not None
    except psycopg.Error:
        return False


def environment(folder: Path, places: Places) -> dict[str, str]:
    """How the service finds its database, by PgBouncer."""
    base = _url(SERVICE, passwords(folder), places.port("pgbouncer"))
    return {
        "DATABASE_URL": f"{base}/{DATABASE}",
        "DATABASE_REPLICA_URL": f"{base}/{DATABASE}_replica",
        "DATABASE_POOLING": "transaction",
    }


def migration_environment(folder: Path, primary: Server) -> dict[str, str]:
    """The same for migrations, which need a session of their own: directly."""
    return {
        "DATABASE_URL": f"{_url(SERVICE, passwords(folder), primary.port)}/{DATABASE}",
        "DATABASE_REPLICA_URL": "",
        "DATABASE_POOLING": "none",
    }


def exporter_url(folder: Path, server: Server) -> str:
    """For prometheus-postgres-exporter (`DATA_SOURCE_NAME`): a server, whichever it is by now."""
    return f"{_url(MONITOR, passwords(folder), server.port)}/{DATABASE}?sslmode=disable"


def _url(role: str, told: Mapping[str, str], port: int) -> str:
    return f"postgresql://{role}:{quote(told[role])}@{HOST}:{port}"


def _make(folder: Path, pair: tuple[Server, Server], told: Mapping[str, str]) -> None:
    """A primary with roles and database, and its replica, from nothing: an interrupted try is begun anew."""
    primary, replica = pair
    for server in pair:
        shutil.rmtree(server.data, ignore_errors=True)
    initialise(primary)
    with running(primary), primary.connect() as connection:
        go_alone(connection)
        ensure(connection, told)
        write_private(folder / VERIFIERS, verifiers(connection))
        standby.keep_slot(connection, replica)
        standby.copy(replica, Upstream(HOST, primary.port, replica.folder / PASSFILE))
        with running(replica):
            go_together(connection, seconds=30)
    (folder / MADE).touch()


@contextmanager
def running(server: Server) -> Iterator[None]:
    """Run a server for as long as the context lasts."""
    with serving(server.folder, server.folder / "first-start.log"):
        until(lambda: answers(server), f"{server.name} answers")
        yield
