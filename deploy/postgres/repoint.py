"""Tells PgBouncer which server is which: `python -m deploy.postgres.repoint PGBOUNCER --primary … --replica …`.

`promote` sends everybody to the new primary. Once the other follows again, this gives the reads of the replica back to
it. Servers may be given as `host:port` where their configuration is on another machine. Clients stay connected.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

import psycopg

from deploy.local.errors import StackError
from deploy.postgres.pooler import Address, Pooler
from deploy.postgres.server import Server


def address_of(text: str) -> Address:
    """The address of a server: of the configuration folder that is named, or `host:port` itself.

    Raises:
        StackError: it is neither.
    """
    if Path(text).is_dir():
        server = Server.of(Path(text))
        return server.host, server.port
    host, _, port = text.rpartition(":")
    if not host or not port.isdecimal():
        raise StackError(f"{text} is neither a configuration's folder nor host:port.")
    return host, int(port)


def main() -> int:
    """Do it; gives the exit code."""
    parser = argparse.ArgumentParser(
        "python -m deploy.postgres.repoint",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("pgbouncer", type=Path, nargs="+", help="PgBouncer's configuration, with pgbouncer.json")
    parser.add_argument("--primary", required=True, help="a server's configuration folder, or host:port")
    parser.add_argument("--replica", required=True, help="the same")
    given = parser.parse_args()
    try:
        primary, replica = address_of(given.primary), address_of(given.replica)
        for folder in given.pgbouncer:
            Pooler.of(folder).point(primary, replica)
    except (StackError, psycopg.Error, OSError) as error:
        sys.stderr.write(f"{error}\n")
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
