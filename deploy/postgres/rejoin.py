"""Has a server follow the primary: `python -m deploy.postgres.rejoin FOLDER --primary FOLDER` (or `--host`, `--port`).

For a former primary that comes back, for one whose disk was replaced, and for a new replica. The server must not run,
nor may a supervisor start it meanwhile.
Data that it has is turned back to where its history and the primary's parted (pg_rewind); where that cannot be, or
there is none, all is copied anew (pg_basebackup). Then start it, and when it has caught up, have commits wait for it
again with `python -m deploy.postgres.alone … --end`.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from typing import Any, Literal

import psycopg

from deploy.local.errors import StackError
from deploy.postgres.server import SUPERUSER, Server
from deploy.postgres.standby import Upstream, copy, keep_slot, turn_back

Way = Literal["rewound", "copied"]


def rejoin(server: Server, primary: psycopg.Connection[Any], upstream: Upstream) -> Way:
    """Make a server that does not run ready to follow the primary; returns how that was done.

    Args:
        primary: a connection that may make replication slots; `upstream`: the way there for the server itself.

    Raises:
        StackError: it runs, or its data can neither be turned back nor copied.
    """
    if (pid := server.running()) is not None:
        raise StackError(f"{server.name} runs (process {pid}): stop it first.")
    keep_slot(primary, server)
    if not (server.data / "global" / "pg_control").is_file():
        copy(server, upstream)
        return "copied"
    try:
        turn_back(server, upstream)
    except StackError:
        copy(server, upstream)
        return "copied"
    return "rewound"


def main() -> int:
    """Rejoin; gives the exit code."""
    parser = argparse.ArgumentParser(
        "python -m deploy.postgres.rejoin",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("folder", type=Path, help="the configuration of the server that is to follow, with server.json")
    where = parser.add_mutually_exclusive_group(required=True)
    where.add_argument("--primary", type=Path, help="the primary's configuration, if it is on this machine")
    where.add_argument("--host", help="the primary's address")
    parser.add_argument("--port", type=int, default=5432)
    parser.add_argument("--passfile", type=Path, help="replication's password file (as shipped: in the folder)")
    given = parser.parse_args()
    try:
        server = Server.of(given.folder)
        passfile = given.passfile or server.folder / "replication.pass"
        if given.primary is not None:
            primary = Server.of(given.primary)
            upstream = Upstream(primary.host, primary.port, passfile)
            connection = primary.connect()
        else:
            upstream = Upstream(given.host, given.port, passfile)
            connection = psycopg.connect(upstream.conninfo(SUPERUSER), autocommit=True, connect_timeout=2)
        with connection:
            way = rejoin(server, connection, upstream)
    except (StackError, psycopg.Error, OSError) as error:
        sys.stderr.write(f"{error}\n{getattr(error, 'log_tail', '')}")
        return 1
    sys.stdout.write(f"{server.name} was {way}: start it, then `python -m deploy.postgres.alone … --end`.\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
