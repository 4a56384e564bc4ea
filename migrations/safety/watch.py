"""Watches each statement of a migration at work: the locks it holds, what it reads, changes and rewrites meanwhile."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, Final

import psycopg
from psycopg.pq import TransactionStatus
from sqlalchemy import Engine, event

from migrations.safety.fill import ROWS

#: Locks beside which nobody can write to the table; the last one lets nobody read either.
_STOPPING: Final = {
    "ShareLock": "stops whoever writes",
    "ShareRowExclusiveLock": "stops whoever writes",
    "ExclusiveLock": "stops whoever writes",
    "AccessExclusiveLock": "stops everybody",
}
#: What env.py and Alembic say besides.
_NOT_THE_REVISIONS: Final = ("alembic_version", "advisory_", "set_config(", "pg_catalog.")
_LOCK_TIMEOUT_MS_MOST: Final = 5_000
#: So many rows are all of a table that was filled.
_ALL: Final = ROWS // 2

_TABLES: Final = """
SELECT c.oid, c.relname, c.relfilenode,
    pg_stat_get_xact_tuples_returned(c.oid) + pg_stat_get_xact_tuples_fetched(c.oid),
    pg_stat_get_xact_tuples_inserted(c.oid) + pg_stat_get_xact_tuples_updated(c.oid)
        + pg_stat_get_xact_tuples_deleted(c.oid)
FROM pg_class c WHERE c.relnamespace = 'public'::regnamespace AND c.relkind IN ('r', 'p', 'm')
    AND c.relname <> 'alembic_version'
"""
_LOCKS: Final = """
SELECT l.relation, l.mode FROM pg_locks l WHERE l.pid = pg_backend_pid() AND l.granted AND l.locktype = 'relation'
"""


@dataclass(frozen=True, slots=True)
class Finding:
    """Why a revision is refused: the rule, what was seen, and the statement that did it where there is one."""

    revision: str
    rule: str
    sentence: str
    statement: str = ""

    def __str__(self) -> str:
        line = f"{self.revision}: {self.rule}: {self.sentence}"
        return f"{line}\n    {self.statement}" if self.statement else line


@dataclass(frozen=True, slots=True)
class _Table:
    name: str
    file: int
    read: int
    changed: int


@dataclass
class Watch:
    """One revision's run; `begin` before it, and as `attributes["watch"]` of Alembic's configuration."""

    revision: str
    findings: list[Finding] = field(default_factory=list)
    #: What it said to PostgreSQL, in order: whether in a transaction, and the statement.
    statements: list[tuple[bool, str]] = field(default_factory=list)
    _tables: dict[int, _Table] = field(default_factory=dict)

    def begin(self, connection: psycopg.Connection[Any]) -> None:
        """Only what was there before matters to others; what this session did before is counted no longer."""
        connection.execute("SELECT pg_stat_force_next_flush()")
        self._tables = _look(connection)

    def __call__(self, engine: Engine) -> None:
        """Watch this engine's statements."""
        event.listen(engine, "after_cursor_execute", self._after)

    def mixed(self) -> list[Finding]:
        """What precedes an autocommit block stays when that fails: a second try would begin with it again."""
        if {inside for inside, _ in self.statements} != {True, False}:
            return []
        first = next(statement for inside, statement in self.statements if not inside)
        sentence = "statements in the transaction and out of it: what was committed stands in the way of a second try"
        return [Finding(self.revision, "mixed", sentence, _shortened(first))]

    def _after(self, connection: Any, _cursor: Any, statement: str, parameters: Any, *_: Any) -> None:
        if any(own in statement for own in _NOT_THE_REVISIONS):
            return
        raw: psycopg.Connection[Any] = connection.connection.dbapi_connection
        inside = raw.info.transaction_status == TransactionStatus.INTRANS
        if not parameters:  # with some it is no DDL, and cannot be read by others
            self.statements.append((inside, statement))
        self._judge(raw, statement, inside=inside)

    def _judge(self, raw: psycopg.Connection[Any], statement: str, *, inside: bool) -> None:
        def find(rule: str, sentence: str) -> None:
            self.findings.append(Finding(self.revision, rule, sentence, _shortened(statement)))

        [(timeout,)] = raw.execute("SELECT setting::int FROM pg_settings WHERE name = 'lock_timeout'").fetchall()
        if not 0 < timeout <= _LOCK_TIMEOUT_MS_MOST:
            find("lock-timeout", f"lock_timeout is {timeout} ms: everybody would queue behind it (env.py sets it)")
        now, before = _look(raw), self._tables
        held = [(before[oid].name, mode) for oid, mode in raw.execute(_LOCKS) if oid in before and mode in _STOPPING]
        for oid, was in before.items():
            table = now.get(oid)
            if table is None:
                continue  # dropped: what that takes away is judged at the end
            if table.file != was.file:
                find("rewrite", f"{was.name} is written anew, under a lock that stops everybody")
            elif inside and held and table.read - was.read >= _ALL:
                name, mode = max(held, key=lambda each: each[1] == "AccessExclusiveLock")
                find(
                    "work-under-lock",
                    f"all rows of {was.name} are read while {mode} on {name} {_STOPPING[mode]}: it takes as long as the"
                    " table is large",
                )
            if inside and table.changed - was.changed >= _ALL:
                find(
                    "one-large-change",
                    f"all rows of {was.name} are changed in one transaction, and nobody else can change them until its"
                    " end: do it in portions, each a transaction",
                )
        self._tables = {oid: now[oid] for oid in before if oid in now}


def _look(connection: psycopg.Connection[Any]) -> dict[int, _Table]:
    return {oid: _Table(*rest) for oid, *rest in connection.execute(_TABLES)}


def _shortened(statement: str) -> str:
    words = " ".join(statement.split())
    return words if len(words) <= 160 else words[:159] + "…"
