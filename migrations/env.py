"""What Alembic runs: opens the database that `Settings` or the caller names, and migrates in one transaction."""

from __future__ import annotations

import time

from alembic import context
from alembic.util import CommandError
from sqlalchemy import Connection, create_engine, text

from models.storage.tables import metadata

#: Two migrations at the same moment (two hosts that start) go one after the other.
_LOCK_KEY = 5_049_001
_PAUSE_SECONDS = 0.1
#: An index over many millions of rows takes minutes.
_TURN_SECONDS_MOST = 900.0


def run() -> None:
    """Migrate, waiting at most 5 s for any lock, so that a migration never queues the service behind itself."""
    url = context.config.attributes["database_url"]
    engine = create_engine(url)
    try:
        with engine.connect() as connection:
            connection.execute(text("SET lock_timeout = '5s'"))
            connection.execute(text("SET statement_timeout = 0"))  # the role may bound the service's statements
            _take_turn(connection)
            context.configure(connection=connection, target_metadata=metadata, compare_type=True)
            with context.begin_transaction():
                context.run_migrations()
            connection.execute(text("SELECT pg_advisory_unlock(:key)"), {"key": _LOCK_KEY})
            connection.commit()
    finally:
        engine.dispose()


def _take_turn(connection: Connection) -> None:
    """Ask again and again: an index that another host makes beside the traffic waits for whoever is in a statement."""
    deadline = time.monotonic() + _TURN_SECONDS_MOST
    while not connection.execute(text("SELECT pg_try_advisory_lock(:key)"), {"key": _LOCK_KEY}).scalar_one():
        connection.commit()
        if time.monotonic() > deadline:
            raise CommandError(f"Somebody else has been migrating for {_TURN_SECONDS_MOST / 60:.0f} minutes.")
        time.sleep(_PAUSE_SECONDS)
    connection.commit()


run()
