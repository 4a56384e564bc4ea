"""What Alembic runs: opens the database that `Settings` or the caller names, and migrates in one transaction."""

from __future__ import annotations

from alembic import context
from sqlalchemy import create_engine, text

from models.storage.tables import metadata

#: Two migrations at the same moment (two hosts that start) go one after the other.
_LOCK_KEY = 5_049_001


def run() -> None:
    """Migrate, waiting at most 5 s for any lock, so that a migration never queues the service behind itself."""
    url = context.config.attributes["database_url"]
    engine = create_engine(url)
    try:
        with engine.connect() as connection:
            connection.execute(text("SET lock_timeout = '5s'"))
            connection.execute(text("SET statement_timeout = 0"))  # the role may bound the service's statements
            connection.execute(text("SELECT pg_advisory_lock(:key)"), {"key": _LOCK_KEY})
            connection.commit()
            context.configure(connection=connection, target_metadata=metadata, compare_type=True)
            with context.begin_transaction():
                context.run_migrations()
            connection.execute(text("SELECT pg_advisory_unlock(:key)"), {"key": _LOCK_KEY})
            connection.commit()
    finally:
        engine.dispose()


run()
