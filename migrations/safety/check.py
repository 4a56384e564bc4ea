"""Tries each revision on a scratch database with rows in it, and says why one must not run while the service does.

The first three are history: they ran with the service stopped or before there was one, so they are where it begins.
"""

from __future__ import annotations

import secrets
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any, Final

import psycopg
from alembic import command
from alembic.script import Script, ScriptDirectory
from psycopg import sql
from sqlalchemy.engine import make_url
from sqlalchemy.exc import DBAPIError

from migrations import schema
from migrations.safety import contract
from migrations.safety.fill import fill
from migrations.safety.opinion import second_opinion
from migrations.safety.watch import Finding, Watch

#: The last revision that is not looked at.
HISTORY: Final = "0003"


def check(server_url: str, *, scripts: str | None = None) -> list[Finding]:
    """Judge all revisions after HISTORY, each on the rows that the ones before left.

    Args:
        server_url: a PostgreSQL whose role may make databases; one is made, and dropped at the end.
        scripts: another folder of revisions than this one's.

    Raises:
        psycopg.Error, OperationalError: the server is away.
    """
    findings: list[Finding] = []
    watched: list[Watch] = []
    with _scratch(server_url) as url, _connected(url) as connection:
        config = schema.config(url, tries=1)
        if scripts is not None:
            config.set_main_option("script_location", scripts.replace("%", "%%"))
        directory = ScriptDirectory.from_config(config)
        revisions = {script.revision: script for script in reversed(list(directory.walk_revisions()))}
        command.upgrade(config, HISTORY)
        for number in list(revisions)[list(revisions).index(HISTORY) + 1 :]:
            fill(connection)
            before = contract.read(connection)
            watch = Watch(number)
            watch.begin(connection)
            config.attributes["watch"] = watch
            try:
                command.upgrade(config, number)
            except DBAPIError as error:  # those after it cannot be tried
                findings.append(Finding(number, "fails", str(error.orig), str(error.statement)))
                break
            findings += watch.findings
            findings += watch.mixed()
            watched.append(watch)
            findings += _judge_contract(revisions, number, before, contract.read(connection))
    return findings + second_opinion(watched)


def _judge_contract(
    revisions: Mapping[str, Script], number: str, before: contract.Catalog, after: contract.Catalog
) -> Iterator[Finding]:
    """What was taken away must be marked with a revision of an earlier release, since which no code used it."""
    module = revisions[number].module
    release = getattr(module, "release", None)
    if release is None:
        yield Finding(number, "release", 'it does not say which version brings it: `release = "1.2.0"`')
        return
    marks: dict[str, str] = dict(getattr(module, "contract", {}))
    for thing in contract.taken(before, after):
        since = marks.pop(thing, None)
        if since is None:
            sentence = f"{thing}: the version before may still use it; see `contract` in migrations/README.md"
            yield Finding(number, "contract", sentence)
        elif since not in revisions or since >= number:
            yield Finding(number, "contract", f"{thing}: {since} is no revision before this one")
        elif _version(getattr(revisions[since].module, "release", "1.0.0")) >= _version(release):
            yield Finding(
                number,
                "contract",
                f"{thing}: {since} comes with the same release {release}, so the version before it still uses it",
            )
    for thing in marks:
        yield Finding(number, "contract", f"{thing} is marked, and nothing of the kind happens")
    for index in sorted(after.invalid - before.invalid):
        yield Finding(number, "index", f"{index} is left invalid")


def _version(text: str) -> tuple[int, ...]:
    return tuple(int(part) for part in text.split("."))


@contextmanager
def _scratch(server_url: str) -> Iterator[str]:
    """A database of our own on that server, gone at the end."""
    name = f"scoreboard_check_{secrets.token_hex(6)}"
    with _connected(server_url) as connection:
        connection.execute(sql.SQL("CREATE DATABASE {}").format(sql.Identifier(name)))
        try:
            yield make_url(server_url).set(database=name).render_as_string(hide_password=False)
        finally:
            connection.execute(sql.SQL("DROP DATABASE {} WITH (FORCE)").format(sql.Identifier(name)))


@contextmanager
def _connected(url: str) -> Iterator[psycopg.Connection[Any]]:
    libpq = make_url(url).set(drivername="postgresql").render_as_string(hide_password=False)
    with psycopg.connect(libpq, autocommit=True, connect_timeout=5) as connection:
        yield connection
