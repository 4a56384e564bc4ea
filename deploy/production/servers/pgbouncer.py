"""pgbouncer: the one way of the service to its database, whichever server is the primary."""

from __future__ import annotations

import json
import secrets
from pathlib import Path
from typing import Final

import psycopg

from deploy.local.embedded.postgres import as_unprivileged, hand_over
from deploy.postgres.pooler import ADMIN, Pooler
from deploy.postgres.roles import MONITOR
from deploy.postgres.server import Server
from deploy.production.part import Part
from deploy.production.places import HOST, Places
from deploy.production.programs import require
from deploy.production.servers.postgres import VERIFIERS
from deploy.templates import FOLDER, fill

NAME: Final = "pgbouncer"
#: See docs/postgres.md, "Connections".
POOL_SIZE: Final = 50
REPLICA_POOL_SIZE: Final = 20
MAX_CLIENTS: Final = 600


def prepare(
    folder: Path,
    places: Places,
    *,
    primary: Server,
    replica: Server,
    sockets: Path | None = None,
) -> Pooler:
    """Write its configuration.

    Args:
        folder: holds a folder for it, and the roles' verifiers (`servers.postgres.prepare`).
        sockets: where its socket's folder lies, if not there.
    """
    own = folder / NAME
    own.mkdir(parents=True, exist_ok=True)
    socket_folder = (sockets or folder) / NAME
    socket_folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    hand_over(socket_folder)
    port = places.port(NAME)
    pooler = Pooler(own, str(socket_folder), port, own / "console.pass", POOL_SIZE, REPLICA_POOL_SIZE)
    password = secrets.token_urlsafe(32)
    _write_private(pooler.passfile, f"*:*:*:{ADMIN}:{password}\n")
    verifiers: dict[str, str] = json.loads((folder / VERIFIERS).read_text("utf-8"))
    known = {**verifiers, ADMIN: password}
    userlist = own / "userlist.txt"
    _write_private(userlist, "".join(f'"{role}" "{secret}"\n' for role, secret in known.items()))
    hand_over(userlist)
    values = {
        "CONFIGURATION": own,
        "SOCKETS": socket_folder,
        "LISTEN": HOST,
        "PORT": port,
        "ADMIN": ADMIN,
        "MONITOR": MONITOR,
        "MAX_CLIENTS": MAX_CLIENTS,
    }
    (own / "pgbouncer.ini").write_text(fill(FOLDER / "pgbouncer" / "pgbouncer.ini.template", values), "utf-8")
    pooler.write_databases((primary.host, primary.port), (replica.host, replica.port))
    pooler.describe()
    return pooler


def part(pooler: Pooler) -> Part:
    """Its process; INT lets transactions end first."""
    command = [*as_unprivileged(), str(require("pgbouncer")), str(pooler.folder / "pgbouncer.ini")]
    return Part(NAME, command, ready=lambda: answers(pooler), stop_signal="INT", stop_seconds=5.0)


def answers(pooler: Pooler) -> bool:
    """Whether its console does."""
    try:
        with pooler.console() as console:
            console.execute("SHOW VERSION")
            return True
    except psycopg.Error:
        return False


def _write_private(path: Path, text: str) -> None:
    path.unlink(missing_ok=True)
    path.touch(mode=0o600)
    path.write_text(text, "utf-8")
