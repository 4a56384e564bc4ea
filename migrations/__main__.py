"""`python -m migrations upgrade|downgrade|current|wait`: migrate the database that the settings name."""

from __future__ import annotations

import argparse
import sys

from alembic import command
from alembic.util import CommandError
from sqlalchemy.exc import OperationalError

from migrations import schema
from models.errors import SettingsInvalid
from models.settings import Settings


def main(arguments: list[str] | None = None) -> int:
    """Run one command; returns the exit status."""
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
    options = parser.parse_args(arguments)
    try:
        settings = Settings.from_env()
        if settings.database_pooling == "transaction":
            raise SettingsInvalid(
                ["migrations need a session: run them with DATABASE_POOLING=none and the primary's own DATABASE_URL"]
            )
        database_url = settings.database_url
        if options.action == "upgrade":
            schema.upgrade(database_url, options.revision)
        elif options.action == "downgrade":
            schema.downgrade(database_url, options.revision)
        elif options.action == "wait":
            if not schema.wait(database_url, options.seconds):
                sys.stderr.write(f"The database is not at this version's revision after {options.seconds:.0f} s.\n")
                return 1
        else:
            command.current(schema.config(database_url), verbose=True)
    except SettingsInvalid as error:
        sys.stderr.write(f"{error}\n")
        return 2
    except OperationalError as error:
        sys.stderr.write(f"The database cannot be reached: {error.orig}\n")
        return 1
    except CommandError as error:
        sys.stderr.write(f"{error}\n")
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
