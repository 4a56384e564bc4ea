"""`python -m migrations upgrade|downgrade|current|wait|partition`: changes the database that the settings name."""

from __future__ import annotations

import argparse
import sys

import psycopg
from alembic import command
from alembic.util import CommandError
from sqlalchemy.exc import OperationalError

from migrations import partition, schema
from models.errors import SettingsInvalid
from models.settings import Settings


def main(arguments: list[str] | None = None) -> int:
    """Run one command; returns the exit status."""
    options = _parser().parse_args(arguments)
    try:
        return _run(options, _database_url())
    except SettingsInvalid as error:
        sys.stderr.write(f"{error}\n")
        return 2
    except partition.PartitionRefused as refusal:
        sys.stderr.write(f"Nothing was changed: {refusal}\n")
        return 1
    except OperationalError as error:
        sys.stderr.write(f"The database cannot be reached, or not be changed now: {error.orig}\n")
        return 1
    except CommandError as error:
        sys.stderr.write(f"{error}\n")
        return 1
    except psycopg.Error as error:
        sys.stderr.write(f"PostgreSQL gave up, scores are whole, run it again: {error}\n")
        return 1


def _run(options: argparse.Namespace, database_url: str) -> int:
    if options.action == "upgrade":
        schema.upgrade(database_url, options.revision)
    elif options.action == "downgrade":
        schema.downgrade(database_url, options.revision)
    elif options.action == "wait":
        if not schema.wait(database_url, options.seconds):
            sys.stderr.write(f"The database is not at this version's revision after {options.seconds:.0f} s.\n")
            return 1
    elif options.action == "partition":
        partition.partition(database_url, options.by_user, _say, rehearse=options.rehearse)
    else:
        command.current(schema.config(database_url), verbose=True)
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m migrations", description=__doc__)
    actions = parser.add_subparsers(dest="action", required=True)
    forward = actions.add_parser("upgrade", help="go forward, to the newest revision unless another is named")
    forward.add_argument("revision", nargs="?", default="head")
    back = actions.add_parser("downgrade", help="go back to a revision, or to `base` (empty)")
    back.add_argument("revision")
    actions.add_parser("current", help="show the database's revision")
    patient = actions.add_parser(
        "wait", help="wait until somebody has migrated it to this version's revision, or beyond"
    )
    patient.add_argument("--seconds", type=float, default=300.0, help="for so long at most")
    parts = actions.add_parser(
        "partition",
        help="keep scores, and coming months of history, in parts by player",
        description=partition.__doc__,
    )
    parts.add_argument(
        "--by-user", type=int, required=True, metavar="N", help=f"1 (one table) to {partition.PARTS_MOST}"
    )
    parts.add_argument("--rehearse", action="store_true", help="say what would be done, and change nothing")
    return parser


def _database_url() -> str:
    """The settings' database.

    Raises:
        SettingsInvalid: it is reached by a pooler that knows no sessions, or another setting has a fault.
    """
    settings = Settings.from_env()
    if settings.database_pooling == "transaction":
        raise SettingsInvalid(
            ["migrations need a session: run them with DATABASE_POOLING=none and the primary's own DATABASE_URL"]
        )
    return settings.database_url


def _say(sentence: str) -> None:
    sys.stdout.write(f"{sentence}\n")
    sys.stdout.flush()


if __name__ == "__main__":
    sys.exit(main())
