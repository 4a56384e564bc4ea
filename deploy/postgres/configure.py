"""Writes a server's configuration from the templates: `python -m deploy.postgres.configure FOLDER --name postgres-1 …`.

The same for both servers of the pair. A server that has no data yet gets it by initdb (`--first`: the primary of a new
pair) or by `python -m deploy.postgres.rejoin`.
"""

from __future__ import annotations

import argparse
import json
import os
import pwd
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from deploy.local.embedded.postgres import hand_over
from deploy.local.errors import StackError
from deploy.postgres.roles import DATABASE, MONITOR, REPLICATION, SERVICE
from deploy.postgres.server import DESCRIPTION, SUPERUSER, Server
from deploy.templates import FOLDER, fill

_FILES: Final = {
    "postgresql.conf": "primary.conf.template",
    "pg_hba.conf": "pg_hba.conf.template",
    "pg_ident.conf": "pg_ident.conf.template",
}


@dataclass(frozen=True, slots=True)
class Sizes:
    """What depends on the machine."""

    max_connections: int
    shared_buffers: str
    slot_wal: str


SMALL: Final = Sizes(max_connections=100, shared_buffers="256MB", slot_wal="4GB")


def configure(
    server: Server,
    *,
    listen: str,
    standbys: Sequence[str],
    clients: str = "127.0.0.1/32",
    servers: str = "127.0.0.1/32",
    sizes: Sizes = SMALL,
) -> None:
    """Write the configuration and the server's description into its folder.

    Args:
        standbys: the names of both servers.
        clients: the network of PgBouncer, migrations and the exporter; `servers`: that of the pair.
    """
    values = {
        "DATA": server.data,
        "CONFIGURATION": server.folder,
        "SOCKETS": server.sockets,
        "LISTEN": listen,
        "PORT": server.port,
        "STANDBYS": ", ".join(f'"{name}"' for name in standbys),
        "MAX_CONNECTIONS": sizes.max_connections,
        "SHARED_BUFFERS": sizes.shared_buffers,
        "SLOT_WAL": sizes.slot_wal,
        "DATABASE": DATABASE,
        "SERVICE": SERVICE,
        "MONITOR": MONITOR,
        "REPLICATION": REPLICATION,
        "CLIENTS": clients,
        "SERVERS": servers,
        "ACCOUNT": pwd.getpwuid(os.geteuid()).pw_name,
    }
    server.folder.mkdir(parents=True, exist_ok=True)
    server.sockets.mkdir(mode=0o700, parents=True, exist_ok=True)
    hand_over(server.sockets)
    for name, template in _FILES.items():
        (server.folder / name).write_text(fill(FOLDER / "postgres" / template, values), "utf-8")
    description = {
        "name": server.name,
        "data": str(server.data),
        "sockets": str(server.sockets),
        "host": server.host,
        "port": server.port,
        "programs": str(server.programs),
    }
    (server.folder / DESCRIPTION).write_text(json.dumps(description, indent=1) + "\n", "utf-8")


def initialise(server: Server) -> None:
    """Make the data folder of the first primary.

    Raises:
        StackError: initdb failed.
    """
    server.data.mkdir(mode=0o700, parents=True)
    hand_over(server.data)
    server.run(
        "initdb",
        f"--pgdata={server.data}",
        f"--username={SUPERUSER}",
        "--data-checksums",  # a page that the disk gave back wrong is noticed; and pg_rewind needs them
        "--encoding=UTF8",
        "--locale-provider=builtin",
        "--locale=C.UTF-8",
        "--auth=reject",  # pg_hba.conf is ours
        "--no-instructions",
    )


def main() -> int:
    """Configure one server; gives the exit code."""
    parser = argparse.ArgumentParser(
        "python -m deploy.postgres.configure",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("folder", type=Path, help="where its configuration goes")
    parser.add_argument("--name", required=True, help="such as postgres-1")
    parser.add_argument("--data", type=Path, required=True, help="its data folder")
    parser.add_argument("--sockets", type=Path, required=True, help="the folder of its socket; a short path")
    parser.add_argument("--host", required=True, help="the address by which the others find it")
    parser.add_argument("--port", type=int, default=5432)
    parser.add_argument("--programs", type=Path, required=True, help="such as /usr/lib/postgresql/18/bin")
    parser.add_argument("--standbys", required=True, help="the names of both servers, separated by a comma")
    parser.add_argument("--clients", required=True, help="the network of PgBouncer, migrations and the exporter")
    parser.add_argument("--servers", required=True, help="the network of the two servers")
    parser.add_argument("--max-connections", type=int, default=SMALL.max_connections)
    parser.add_argument("--shared-buffers", default=SMALL.shared_buffers)
    parser.add_argument("--slot-wal", default=SMALL.slot_wal, help="WAL kept for an absent standby")
    parser.add_argument("--first", action="store_true", help="make the data folder of a new pair's primary")
    given = parser.parse_args()
    server = Server(
        given.name, given.folder.absolute(), given.data, given.sockets, given.host, given.port, given.programs
    )
    try:
        configure(
            server,
            listen=given.host,
            standbys=[name.strip() for name in given.standbys.split(",")],
            clients=given.clients,
            servers=given.servers,
            sizes=Sizes(given.max_connections, given.shared_buffers, given.slot_wal),
        )
        if given.first:
            initialise(server)
    except (StackError, OSError) as error:
        sys.stderr.write(f"{error}\n{getattr(error, 'log_tail', '')}")
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
