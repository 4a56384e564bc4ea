"""Migrates a database and tells its version; used by the command line, by start-up and by tests."""

from __future__ import annotations

from pathlib import Path

from alembic import command
from alembic.config import Config
from alembic.script import ScriptDirectory

from migrations.locks import TRIES


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


def head() -> str | None:
    """The newest revision in this version's files."""
    return ScriptDirectory.from_config(config("")).get_current_head()
