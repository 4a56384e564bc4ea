"""Makes the replica the primary: `python -m deploy.postgres.promote FOLDER --pgbouncer FOLDER …`.

Run it on the replica's machine when the primary is gone, or is to go. In this order:

  1. fences the old primary, so that it can take no write: `--old FOLDER` if its folders are on this machine (it is
     ended, and starts as a standby from now on), `--fence COMMAND` for any other way (an order to its machine or its
     switch; it must succeed), `--old-is-dead` if you vouch for it;
  2. lets the replica replay all it has received;
  3. promotes it, to commit without a standby until one follows (`rejoin`, then `alone --end`);
  4. points each PgBouncer at it. Clients stay connected, and go on.

It may be run again at any point.
"""

from __future__ import annotations

import argparse
import os
import shlex
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Final

import psycopg

from deploy.local.errors import StackError
from deploy.local.processes import alive
from deploy.postgres.alone import go_alone
from deploy.postgres.pooler import Address, Pooler
from deploy.postgres.server import Server, until
from deploy.postgres.standby import Upstream, follow

_FENCE_SECONDS: Final = 30.0


def fence(old: Server, upstream: Upstream) -> None:
    """End a primary on this machine at once, and see to it that whoever starts it again starts a standby.

    Raises:
        StackError: it does not end.
    """
    follow(old, upstream)  # first: a supervisor may be quicker than we are
    pid = old.running()
    if pid is not None:
        os.kill(pid, signal.SIGQUIT)  # an immediate shutdown; every commit it told of is in the WAL
        until(lambda: not alive(pid), f"{old.name} ends", _FENCE_SECONDS)


def fence_by(command: str) -> None:
    """Fence it in a way of the caller's.

    Raises:
        StackError: the command failed: it may still take writes.
    """
    try:
        subprocess.run(shlex.split(command), check=True, timeout=_FENCE_SECONDS, stdin=subprocess.DEVNULL)
    except (OSError, subprocess.SubprocessError) as error:
        raise StackError(f"the old primary could not be fenced, so nothing was promoted: {error}") from error


def promote(replica: Server, poolers: Sequence[Pooler] = (), *, other: Address | None = None) -> float:
    """Make a fenced primary's replica the primary, and send PgBouncer's clients to it; returns the seconds it took.

    Args:
        other: where reads of the replica go from now on; None: to the new primary as well, until there is one.

    Raises:
        StackError: a step did not come to pass; run it again.
        psycopg.OperationalError: the replica, or a PgBouncer's console, cannot be reached.
    """
    started = time.monotonic()
    with replica.connect() as connection:
        if _scalar(connection, "SELECT pg_is_in_recovery()"):
            until(
                lambda: bool(
                    _scalar(
                        connection,
                        "SELECT coalesce(pg_last_wal_replay_lsn() >= pg_last_wal_receive_lsn(), true)",
                    )
                ),
                f"{replica.name} replays what it has received",
            )
            go_alone(connection)  # before: its first commit must not wait for a standby it has not got
            if not _scalar(connection, "SELECT pg_promote(true, 25)"):
                raise StackError(f"{replica.name} did not become a primary in time: see its log, and run this again.")
    here = replica.host, replica.port
    for pooler in poolers:
        pooler.point(here, other or here)
    return time.monotonic() - started


def _scalar(connection: psycopg.Connection[tuple[object, ...]], statement: str) -> object:
    row = connection.execute(statement.encode()).fetchone()
    return row[0] if row is not None else None


def main() -> int:
    """Promote; gives the exit code."""
    parser = argparse.ArgumentParser(
        "python -m deploy.postgres.promote",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("folder", type=Path, help="the replica's configuration, with server.json")
    parser.add_argument("--pgbouncer", type=Path, action="append", default=[], help="a PgBouncer's; may be repeated")
    how = parser.add_mutually_exclusive_group(required=True)
    how.add_argument("--old", type=Path, help="the old primary's configuration, if it is on this machine")
    how.add_argument("--fence", metavar="COMMAND", help="what keeps the old primary from taking writes")
    how.add_argument("--old-is-dead", action="store_true", help="you vouch that it takes none, and never will as it is")
    given = parser.parse_args()
    try:
        replica = Server.of(given.folder)
        poolers = [Pooler.of(folder) for folder in given.pgbouncer]
        if given.old is not None:
            old = Server.of(given.old)
            fence(old, Upstream(replica.host, replica.port, old.folder / "replication.pass"))
        elif given.fence is not None:
            fence_by(given.fence)
        seconds = promote(replica, poolers)
    except (StackError, psycopg.Error, OSError) as error:
        sys.stderr.write(f"{error}\n")
        return 1
    sys.stdout.write(
        f"{replica.name} is the primary ({seconds:.1f} s), and commits without a standby until the other follows it"
        " (`python -m deploy.postgres.rejoin`) and `python -m deploy.postgres.alone … --end` was run.\n"
    )
    return 0


if __name__ == "__main__":
    sys.exit(main())
