"""The roles of the database: `python -m deploy.postgres.roles` prints the SQL that makes them.

For a superuser, on the primary: `… roles --passwords passwords.json | psql`. The file is a JSON object of role and
password; what is printed holds SCRAM verifiers and no password. Behind PgBouncer the service's time-outs are settings
of its role, since a session there is nobody's; who has the role already can have them set again at any time.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, Final

import psycopg
from psycopg import pq, sql

from deploy.local.embedded.postgres import OWNER
from models.storage.database import SESSION

SERVICE: Final = OWNER
DATABASE: Final = OWNER
MONITOR: Final = "monitor"
REPLICATION: Final = "replicator"
#: What pg_rewind calls at the server it reads from (PostgreSQL's manual, pg_rewind, "Notes").
_REWIND: Final = (
    "pg_catalog.pg_ls_dir(text, boolean, boolean)",
    "pg_catalog.pg_stat_file(text, boolean)",
    "pg_catalog.pg_read_binary_file(text)",
    "pg_catalog.pg_read_binary_file(text, bigint, bigint, boolean)",
)
_KINDS: Final = {SERVICE: "LOGIN", MONITOR: "LOGIN IN ROLE pg_monitor", REPLICATION: "LOGIN REPLICATION"}


def statements(passwords: Mapping[str, str]) -> Iterator[str]:
    """The SQL, a statement at a time; safe to repeat, and then passwords are changed to those given.

    Raises:
        KeyError: a role has no password.
    """
    for role, kind in _KINDS.items():
        name, verifier = sql.Identifier(role).as_string(None), _verifier(role, passwords[role])
        yield (
            f"DO $$ BEGIN IF NOT EXISTS (SELECT FROM pg_roles WHERE rolname = '{role}') THEN"
            f" CREATE ROLE {name} {kind}; END IF; END $$"
        )
        yield f"ALTER ROLE {name} PASSWORD '{verifier}'"
    yield from session_settings()
    for function in _REWIND:
        yield f"GRANT EXECUTE ON FUNCTION {function} TO {sql.Identifier(REPLICATION).as_string(None)}"


def session_settings() -> Iterator[str]:
    """What the service sets itself when no pooler stands between, as settings of its role."""
    for name, value in SESSION.items():
        yield f"ALTER ROLE {sql.Identifier(SERVICE).as_string(None)} SET {name} = '{value}'"


def ensure(connection: psycopg.Connection[Any], passwords: Mapping[str, str]) -> None:
    """Make the roles and the service's database at a primary; repeatable."""
    for statement in statements(passwords):
        connection.execute(statement.encode())
    if not connection.execute("SELECT 1 FROM pg_database WHERE datname = %s", (DATABASE,)).fetchone():
        names = sql.Identifier(DATABASE), sql.Identifier(SERVICE)
        connection.execute(sql.SQL("CREATE DATABASE {} OWNER {}").format(*names))


def verifiers(connection: psycopg.Connection[Any]) -> dict[str, str]:
    """The SCRAM verifier of each role, for PgBouncer's userlist: with the same ones it can log in for its clients."""
    rows = connection.execute("SELECT rolname, rolpassword FROM pg_authid WHERE rolname = ANY(%s)", (list(_KINDS),))
    return dict(rows.fetchall())


def _verifier(role: str, password: str) -> str:
    """RFC 5803's form of a password, made here so that the password itself goes nowhere."""
    unconnected = pq.PGconn.connect_start(b"")
    try:
        return unconnected.encrypt_password(password.encode(), role.encode(), b"scram-sha-256").decode()
    finally:
        unconnected.finish()


def main() -> int:
    """Print the SQL; gives the exit code."""
    parser = argparse.ArgumentParser(
        "python -m deploy.postgres.roles", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--passwords", type=Path, help="JSON file (mode 600); without it, only the service's settings")
    path = parser.parse_args().passwords
    try:
        made = session_settings() if path is None else statements(json.loads(path.read_text("utf-8")))
        sys.stdout.write("".join(f"{statement};\n" for statement in made))
    except (OSError, ValueError, KeyError) as error:
        sys.stderr.write(f"{path}: {error}\n")
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
