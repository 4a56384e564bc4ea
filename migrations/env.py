"""What Alembic runs: opens the database that `Settings` or the caller names, and migrates, a transaction a revision."""

from __future__ import annotations

import random
import time

from alembic import context
from alembic.util import CommandError
from psycopg.errors import LockNotAvailable
from sqlalchemy import Connection, create_engine, text
from sqlalchemy.exc import OperationalError

from migrations.locks import LOCK_KEY, LOCK_SECONDS, TURN_SECONDS, pauses
from models.storage.tables import metadata

_TURN_PAUSE_SECONDS = 0.1


def run() -> None:
    """Migrate. A revision that cannot have a lock within LOCK_SECONDS is rolled back, and tried again after a pause."""
    attributes = context.config.attributes
    engine = create_engine(attributes["database_url"])
    if (watch := attributes.get("watch")) is not None:
        watch(engine)
    try:
        with engine.connect() as connection:
            _wait_at_most(connection, LOCK_SECONDS)
            # The role may bound the service's statements.
            connection.execute(text("SELECT set_config('statement_timeout', '0', false)"))
            _take_turn(connection)
            for pause in pauses(attributes["tries"]):
                try:
                    _migrate(connection)
                    break
                except OperationalError as error:
                    connection.rollback()
                    if pause is None or not isinstance(error.orig, LockNotAvailable):
                        raise
                    time.sleep(random.uniform(pause / 2, pause))  # noqa: S311 - no secret
            connection.execute(text("SELECT pg_advisory_unlock(:key)"), {"key": LOCK_KEY})
            connection.commit()
    finally:
        engine.dispose()


def _take_turn(connection: Connection) -> None:
    """Ask again and again: an index that another host makes beside the traffic waits for whoever is in a statement."""
    deadline = time.monotonic() + TURN_SECONDS
    while not connection.execute(text("SELECT pg_try_advisory_lock(:key)"), {"key": LOCK_KEY}).scalar_one():
        connection.commit()
        if time.monotonic() > deadline:
            raise CommandError(f"Somebody else has been migrating for {TURN_SECONDS:.0f} s: run it again later.")
        time.sleep(_TURN_PAUSE_SECONDS)
    connection.commit()


def _migrate(connection: Connection) -> None:
    context.configure(
        connection=connection, target_metadata=metadata, compare_type=True, transaction_per_migration=True
    )
    with context.begin_transaction():
        context.run_migrations()


def _wait_at_most(connection: Connection, seconds: float) -> None:
    """For any lock, in this session."""
    connection.execute(text("SELECT set_config('lock_timeout', :ms, false)"), {"ms": str(int(seconds * 1000))})


run()
