"""What a revision takes away from the version before, which serves meanwhile: that must be marked, and come later."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Final

import psycopg

_COLUMNS: Final = """
SELECT relname, attname, format_type(atttypid, atttypmod), attnotnull, atthasdef OR attidentity <> ''
FROM pg_attribute JOIN pg_class c ON c.oid = attrelid
WHERE relnamespace = 'public'::regnamespace AND relkind IN ('r', 'p', 'v') AND NOT relispartition
    AND relname <> 'alembic_version' AND attnum > 0 AND NOT attisdropped
"""
_PROMISES: Final = """
SELECT c.relname, those.name
FROM pg_class c JOIN (
    SELECT conrelid, conname FROM pg_constraint WHERE contype IN ('c', 'f', 'u', 'x', 'p') AND conenforced
    UNION SELECT indrelid, i.relname FROM pg_index JOIN pg_class i ON i.oid = indexrelid WHERE indisunique
    UNION SELECT tgrelid, tgname FROM pg_trigger WHERE NOT tgisinternal
) AS those (relation, name) ON those.relation = c.oid
WHERE c.relnamespace = 'public'::regnamespace AND NOT c.relispartition AND c.relname <> 'alembic_version'
"""
_FUNCTIONS: Final = "SELECT oid::regprocedure::text FROM pg_proc WHERE pronamespace = 'public'::regnamespace"
_INVALID: Final = "SELECT indexrelid::regclass::text FROM pg_index WHERE NOT indisvalid"

#: A column's type, whether it must be filled, and whether it is by itself.
Column = tuple[str, bool, bool]


@dataclass(frozen=True, slots=True)
class Catalog:
    """Names that a version's statements may use, and promises that its rows must keep."""

    columns: Mapping[tuple[str, str], Column]
    promises: frozenset[tuple[str, str]]
    functions: frozenset[str]
    invalid: frozenset[str]

    @property
    def tables(self) -> set[str]:
        """Tables and views."""
        return {table for table, _ in self.columns}


def read(connection: psycopg.Connection[Any]) -> Catalog:
    """The database as it is now."""
    return Catalog(
        {(table, name): (kind, required, given) for table, name, kind, required, given in connection.execute(_COLUMNS)},
        frozenset((table, name) for table, name in connection.execute(_PROMISES)),
        frozenset(name for (name,) in connection.execute(_FUNCTIONS)),
        frozenset(name for (name,) in connection.execute(_INVALID)),
    )


def taken(before: Catalog, after: Catalog) -> Iterator[str]:
    """What the version before may miss or be refused by, in the words that a revision's `contract` uses."""
    for table in sorted(before.tables - after.tables):
        yield f"table {table}"
    for (table, name), was in sorted(before.columns.items()):
        if table in after.tables:
            yield from _taken_of_column(f"{table}.{name}", was, after.columns.get((table, name)))
    for (table, name), (_, required, given) in sorted(after.columns.items()):
        if table in before.tables and (table, name) not in before.columns and required and not given:
            yield f"rows of {table} without {name}"
    for table, name in sorted(after.promises - before.promises):
        if table in before.tables:
            yield f"rows of {table} against {name}"
    for function in sorted(before.functions - after.functions):
        yield f"function {function}"


def _taken_of_column(name: str, was: Column, now: Column | None) -> Iterator[str]:
    if now is None:
        yield f"column {name}"
        return
    if now[0] != was[0]:
        yield f"type of {name}"
    if now[1] and not was[1]:
        yield f"null in {name}"
    if was[2] and not now[2]:
        yield f"default of {name}"
