"""Fills the empty tables of a scratch database, so that whoever reads or rewrites one is seen to."""

from __future__ import annotations

from typing import Any, Final

import psycopg
from psycopg import sql

#: Many enough that no statement reads so many by chance, few enough to be there at once.
ROWS: Final = 1_000

#: What stands in the nth row of a column, by its type. Players are the same in every table.
_BY_TYPE: Final = {
    "uuid": "md5(n::text)::uuid",
    "text": "'x' || n",
    "bytea": "decode('00', 'hex')",
    "bigint": "n",
    "integer": "n",
    "smallint": "1",
    "double precision": "n",
    "boolean": "true",
    "inet": "'192.0.2.1'::inet",
    "jsonb": "'{}'::jsonb",
    "uuid[]": "ARRAY[md5(n::text)::uuid]",
    "timestamp with time zone": "now()",
    "interval": "'1 second'::interval",
}
#: Where a promise of the table asks for something else; by column, or by table and column.
_BY_NAME: Final = {
    "board": "'b'",
    "boards.name": "CASE n WHEN 1 THEN 'b' ELSE 'x' || n END",
    "seasons.board": "'b'",
    "season": "1",
    "value": "1",
    "subject_kind": "'user'",
    "restrictions.kind": "'block'",
    "restrictions.throttle_to": "NULL",
    "score_increment": "1",
    "previous_score": "n",
    "new_score": "n + 1",
}


def fill(connection: psycopg.Connection[Any]) -> list[str]:
    """Put ROWS rows into each table that is empty; returns the names of all tables that have so many.

    Raises:
        psycopg.Error: a table promises what no row here keeps: say in `_BY_NAME` what one looks like.
    """
    waiting = [
        name
        for (name,) in connection.execute(
            "SELECT relname FROM pg_class WHERE relnamespace = 'public'::regnamespace AND relkind IN ('r', 'p')"
            " AND NOT relispartition AND relname <> 'alembic_version' ORDER BY relname"
        )
    ]
    full = list(waiting)
    while waiting:
        later = [name for name in waiting if not _filled(connection, name)]
        if later == waiting:
            _fill_one(connection, waiting[0])  # says why
        waiting = later
    return full


def _filled(connection: psycopg.Connection[Any], table: str) -> bool:
    """False when the table refers to one that has no rows yet."""
    try:
        with connection.transaction():
            if connection.execute(sql.SQL("SELECT FROM {} LIMIT 1").format(sql.Identifier(table))).fetchone() is None:
                _fill_one(connection, table)
    except psycopg.errors.ForeignKeyViolation:
        return False
    return True


def _fill_one(connection: psycopg.Connection[Any], table: str) -> None:
    columns = connection.execute(
        "SELECT attname, format_type(atttypid, NULL) FROM pg_attribute WHERE attrelid = %s::regclass AND attnum > 0"
        " AND NOT attisdropped AND attidentity = '' AND attgenerated = '' ORDER BY attnum",
        (table,),
    ).fetchall()
    values = [_BY_NAME.get(f"{table}.{name}", _BY_NAME.get(name, _BY_TYPE.get(kind))) for name, kind in columns]
    if unknown := [name for (name, _), value in zip(columns, values, strict=True) if value is None]:
        raise psycopg.DataError(f"no value is known for {table}.{unknown[0]}: say one in migrations/safety/fill.py")
    connection.execute(
        sql.SQL("INSERT INTO {} ({}) SELECT {} FROM generate_series(1, {}) AS n").format(
            sql.Identifier(table),
            sql.SQL(", ").join(sql.Identifier(name) for name, _ in columns),
            sql.SQL(", ").join(sql.SQL(value or "NULL") for value in values),
            sql.Literal(ROWS),
        )
    )
