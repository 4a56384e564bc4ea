"""Migrates a database and tells its version; used by the command line, by start-up and by tests."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Final

from alembic import command
from alembic.config import Config
from alembic.runtime.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import create_engine
from sqlalchemy.exc import OperationalError
from sqlalchemy.pool import NullPool

from migrations.locks import TRIES

#: Between two looks at a database that somebody else migrates.
LOOK_SECONDS: Final = 1.0
CONNECT_SECONDS: Final = 5


def config(database_url: str, tries: int = TRIES) -> Config:
    """Alembic's configuration for a database (URL with driver `postgresql+psycopg`); `tries` for a revision's locks."""
    alembic = Config()
    alembic.set_main_option("script_location", str(Path(__file__).parent).replace("%", "%%"))
    alembic.attributes["database_url"] = database_url
    alembic.attributes["tries"] = tries
    return alembic


def upgrade(database_url: str, revision: str = "head", *, tries: int = TRIES) -> None:
    """Go forward to a revision."""
    command.upgrade(config(database_url, tries), revision)


def downgrade(database_url: str, revision: str, *, tries: int = TRIES) -> None:
    """Go back to a revision; `base` empties the database."""
    command.downgrade(config(database_url, tries), revision)


def reached(database_url: str) -> bool:
    """Whether a database has the tables of this version: its newest revision, or a later version's, unknown here.

    Raises:
        OperationalError: the database cannot be asked.
    """
    scripts = ScriptDirectory.from_config(config(database_url))
    engine = create_engine(database_url, poolclass=NullPool, connect_args={"connect_timeout": CONNECT_SECONDS})
    with engine.connect() as connection:
        found = MigrationContext.configure(connection).get_current_revision()
    known = {script.revision for script in scripts.walk_revisions()}
    return found is not None and (found == scripts.get_current_head() or found not in known)


def wait(database_url: str, seconds: float) -> bool:
    """Wait until it has, also for the database itself; False when it had not in time."""
    deadline = time.monotonic() + seconds
    while True:
        try:
            if reached(database_url):
                return True
        except OperationalError:
            if time.monotonic() > deadline:
                raise
        if time.monotonic() > deadline:
            return False
        time.sleep(LOOK_SECONDS)


def head() -> str | None:
    """The newest revision in this version's files."""
    return ScriptDirectory.from_config(config("")).get_current_head()
