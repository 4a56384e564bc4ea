"""Lets the primary commit without its standby: `python -m deploy.postgres.alone FOLDER`; and back with `--end`.

A standby that is gone holds up every commit of the primary: the service answers 503, and nothing is lost. This lets
those commits end, and all that follow, as soon as they are on the primary's own disk. Until `--end`, losing that disk
loses what the standby has not got. `--end` waits until the standby has caught up, so that no commit has to wait for it.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from typing import Any, Final

import psycopg

from deploy.local.errors import StackError
from deploy.postgres.server import Server, until

#: A standby this little behind makes the first commit after `--end` wait for some ms.
_BEHIND_BYTES: Final = 1_000_000
_CATCH_UP_SECONDS: Final = 600.0


def go_alone(connection: psycopg.Connection[Any]) -> None:
    """Have commits wait for nobody: those that wait now are let go. Holds over restarts.

    Raises:
        StackError: the server did not take it.
    """
    connection.execute("ALTER SYSTEM SET synchronous_standby_names = ''")
    _reload(connection, lambda names: names == "")


def go_together(primary: psycopg.Connection[Any], seconds: float = _CATCH_UP_SECONDS) -> None:
    """Have commits wait for the standby again, as the configuration says, once it has caught up.

    Raises:
        StackError: no standby follows, or it is still behind after that time: nothing was changed.
    """
    until(lambda: bool(primary.execute(_CAUGHT_UP, (_BEHIND_BYTES,)).fetchone()), "a standby has caught up", seconds)
    primary.execute("ALTER SYSTEM RESET synchronous_standby_names")
    _reload(primary, lambda names: names != "")


_CAUGHT_UP: Final = (
    "SELECT 1 FROM pg_stat_replication WHERE state = 'streaming'"
    " AND pg_wal_lsn_diff(pg_current_wal_flush_lsn(), replay_lsn) < %s"
)


def _reload(connection: psycopg.Connection[Any], wanted: Any) -> None:
    connection.execute("SELECT pg_reload_conf()")

    def taken() -> bool:
        row = connection.execute("SELECT current_setting('synchronous_standby_names')").fetchone()
        return row is not None and bool(wanted(row[0]))

    until(taken, "the server reads its configuration")


def main() -> int:
    """Do it; gives the exit code."""
    parser = argparse.ArgumentParser(
        "python -m deploy.postgres.alone",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("folder", type=Path, help="the primary's configuration, with server.json")
    parser.add_argument("--end", action="store_true", help="commit with the standby again")
    given = parser.parse_args()
    try:
        server = Server.of(given.folder)
        with server.connect() as connection:
            if given.end:
                go_together(connection)
            else:
                go_alone(connection)
    except (StackError, psycopg.Error) as error:
        sys.stderr.write(f"{error}\n")
        return 1
    sys.stdout.write(
        f"{server.name} commits with its standby again.\n"
        if given.end
        else f"{server.name} commits without a standby.\n"
    )
    return 0


if __name__ == "__main__":
    sys.exit(main())
