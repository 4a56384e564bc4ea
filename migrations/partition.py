"""Keeps an installation's scores in so many parts by player, and months of history from the next that is made.

Scores are copied beside what is served: a trigger keeps the copy even with what is applied meanwhile, and then the two
change names. Nobody waits for the copy; who applies updates waits a few times for some milliseconds, for a second at
most. If this process dies on any line, scores are what they were, and the next run takes away what it left.
"""

from __future__ import annotations

import random
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Final

import psycopg
from psycopg import errors as pg
from psycopg import sql
from sqlalchemy.engine import make_url

from migrations.locks import LOCK_KEY, LOCK_SECONDS, pauses
from models.storage.tables import SCHEMA_REVISION

#: Each part is a table with indexes of its own, and statements over all players open every one.
PARTS_MOST: Final = 64
#: Rows a transaction of the copy: some 40 ms.
ROWS_AT_ONCE: Final = 5_000
SAY_EVERY_SECONDS: Final = 2.0

_KEY: Final = sql.SQL("user_id, board, season")

Connection = psycopg.Connection[tuple[Any, ...]]
Say = Callable[[str], None]


class PartitionRefused(Exception):
    """It cannot be done safely here; the message says why, and what to do."""


@dataclass(frozen=True, slots=True)
class Standing:
    """What is there now: parts, rows as PostgreSQL guesses them, bytes, and the empty months that have other parts."""

    parts: int
    rows: int
    bytes: int
    months: tuple[str, ...]


def partition(database_url: str, parts: int, say: Say, *, rehearse: bool = False) -> None:
    """Bring scores and coming months into `parts` parts; 1 is one table again.

    Raises:
        PartitionRefused: nothing was changed.
        psycopg.Error: PostgreSQL is away, or gave up on us; scores are whole, and a second run goes on.
    """
    if not 1 <= parts <= PARTS_MOST:
        raise PartitionRefused(f"--by-user takes 1 to {PARTS_MOST}, not {parts}.")
    with _connected(database_url) as connection:
        now = look(connection, parts)
        _tell_plan(now, parts, say)
        if rehearse:
            return
        _clear(connection)
        if now.parts != parts:
            _refuse_what_is_unknown(connection)
            waited = _change(connection, parts, say)
            say(f"scores are in {_parts(parts)}; applying waited {waited * 1000:.0f} ms in all.")
        for month in look(connection, parts).months:
            _in_turn(connection, lambda month=month: _make_anew(connection, month))  # type: ignore[misc]
            say(f"{month} is made anew in {_parts(parts)}.")
        say("Done.")


def look(connection: Connection, parts: int) -> Standing:
    """What is there, and which months would be made anew.

    Raises:
        PartitionRefused: the database is not at this version's revision.
    """
    if connection.execute("SELECT to_regclass('alembic_version')").fetchone() == (None,):
        raise PartitionRefused("this database has no tables yet: run `python -m migrations upgrade` first.")
    revision = _one(connection, "SELECT version_num FROM alembic_version")
    if revision != SCHEMA_REVISION:
        raise PartitionRefused(f"the database is at revision {revision}, this version needs {SCHEMA_REVISION}.")
    rows = connection.execute(
        "SELECT score_parts(), coalesce(sum(greatest(reltuples, pg_stat_get_live_tuples(oid))), 0)::bigint,"
        " coalesce(sum(pg_total_relation_size(oid)), 0)::bigint FROM pg_class WHERE relkind = 'r' AND (oid ="
        " 'scores'::regclass OR oid IN (SELECT inhrelid FROM pg_inherits WHERE inhparent = 'scores'::regclass))"
    )
    [(now, guess, size)] = rows.fetchall()
    months = connection.execute(
        "SELECT name FROM score_history_months WHERE since > now() AND"
        " (SELECT greatest(count(*), 1) FROM pg_inherits WHERE inhparent = name::regclass) <> %s ORDER BY since",
        (parts,),
    )
    empty = [name for (name,) in months if not _one(connection, _any_row(name))]
    return Standing(now, guess, size, tuple(empty))


def _tell_plan(now: Standing, parts: int, say: Say) -> None:
    if now.parts == parts:
        say(f"scores are in {_parts(parts)} already.")
    else:
        say(
            f"scores go from {_parts(now.parts)} to {_parts(parts)}: about {now.rows:,} rows, {now.bytes / 1e6:,.0f} MB"
            f" (as much is needed on the disk besides, until the end)."
        )
        say(
            "  Nobody waits while rows are copied; applying costs about twice as much until then. Four times a lock is"
            f" taken for milliseconds, and waited for at most {LOCK_SECONDS:.0f} s: who applies or reads scores waits"
            " behind it, accepting does not. Moderation may be refused once and can be tried again."
        )
    if now.months:
        say(f"  Coming months without rows are made anew: {', '.join(now.months)}. Months with rows stay as they are.")


def _change(connection: Connection, parts: int, say: Say) -> float:
    """Copy, compare, change names; returns for how long writers of scores had to wait, in seconds."""
    waited = _in_turn(connection, lambda: _make_copy(connection, parts))
    waited += _in_turn(connection, lambda: _follow(connection))
    _copy(connection, say)
    connection.execute("VACUUM (ANALYZE) scores_copy")
    differing = _one(
        connection,
        "SELECT count(*) FROM scores s FULL JOIN scores_copy c USING (user_id, board, season)"
        " WHERE ROW(s.*) IS DISTINCT FROM ROW(c.*)",
    )
    if differing:
        _clear(connection)
        raise PartitionRefused(f"{differing} rows of the copy differ: somebody changes scores past triggers.")
    waited += _in_turn(connection, lambda: _change_names(connection))
    _in_turn(connection, lambda: connection.execute("DROP TABLE scores_before"))
    return waited


def _make_copy(connection: Connection, parts: int) -> None:
    """An empty table like scores, with its promises and rights."""
    many = parts > 1
    connection.execute(
        "CREATE TABLE scores_copy (LIKE scores INCLUDING DEFAULTS INCLUDING CONSTRAINTS)"
        + (" PARTITION BY HASH (user_id)" if many else " WITH (fillfactor = 80)")
    )
    for part in range(parts if many else 0):
        connection.execute(
            sql.SQL(
                "CREATE TABLE {} PARTITION OF scores_copy FOR VALUES WITH (MODULUS {}, REMAINDER {})"
                " WITH (fillfactor = 80)"
            ).format(sql.Identifier(f"scores_{parts}_{part}"), sql.Literal(parts), sql.Literal(part))
        )
    connection.execute(
        "ALTER TABLE scores_copy ADD CONSTRAINT scores_copy_pkey PRIMARY KEY (user_id, board, season),"
        " ADD CONSTRAINT scores_user_id_fkey FOREIGN KEY (user_id) REFERENCES users (id),"
        " ADD CONSTRAINT scores_board_fkey FOREIGN KEY (board, season) REFERENCES seasons (board, number)"
    )
    connection.execute("CREATE INDEX scores_copy_ranking_idx ON scores_copy (board, season)")
    rights = connection.execute(
        "SELECT CASE grantee WHEN 0 THEN 'PUBLIC' ELSE quote_ident(pg_get_userbyid(grantee)) END, privilege_type,"
        " is_grantable FROM pg_class, aclexplode(relacl) WHERE oid = 'scores'::regclass AND grantee <> relowner"
    ).fetchall()
    for grantee, privilege, grantable in rights:
        connection.execute(
            sql.SQL("GRANT {} ON scores_copy TO {}" + (" WITH GRANT OPTION" if grantable else "")).format(
                sql.SQL(privilege), sql.SQL(grantee)
            )
        )


def _follow(connection: Connection) -> None:
    """From here on the copy is told of every change, in the transaction that makes it; the later version stays."""
    columns = connection.execute(
        "SELECT attname FROM pg_attribute WHERE attrelid = 'scores'::regclass AND attnum > 0 AND NOT attisdropped"
        " AND attname NOT IN ('user_id', 'board', 'season') ORDER BY attnum"
    ).fetchall()
    new = sql.SQL(", ").join(sql.SQL("{0} = excluded.{0}").format(sql.Identifier(name)) for (name,) in columns)
    body = sql.SQL(
        "BEGIN INSERT INTO scores_copy AS c SELECT NEW.* ON CONFLICT ({key}) DO UPDATE SET {new}"
        " WHERE c.version <= excluded.version; RETURN NULL; END"
    ).format(key=_KEY, new=new)
    connection.execute(
        sql.SQL("CREATE FUNCTION scores_follow() RETURNS trigger LANGUAGE plpgsql AS {}").format(
            sql.Literal(body.as_string(connection))
        )
    )
    connection.execute(
        "CREATE TRIGGER scores_follow AFTER INSERT OR UPDATE ON scores FOR EACH ROW EXECUTE FUNCTION scores_follow()"
    )


def _copy(connection: Connection, say: Say) -> None:
    """Copy what was there, in the order of the key, in which those who apply take it too."""
    copied, after = 0, ("00000000-0000-0000-0000-000000000000", "", 0)
    said_at = began = time.monotonic()
    while True:
        try:
            row = connection.execute(
                "WITH portion AS MATERIALIZED (SELECT * FROM scores WHERE (user_id, board, season) > (%s::uuid, %s, %s)"
                "   ORDER BY user_id, board, season LIMIT %s),"
                " put AS (INSERT INTO scores_copy SELECT * FROM portion ORDER BY user_id, board, season"
                "   ON CONFLICT DO NOTHING)"
                " SELECT user_id::text, board, season, (SELECT count(*) FROM portion) FROM portion"
                " ORDER BY user_id DESC, board DESC, season DESC LIMIT 1",
                (*after, ROWS_AT_ONCE),
            ).fetchone()
        except (pg.DeadlockDetected, pg.LockNotAvailable):
            continue  # somebody's transaction came across; the same rows again
        if row is None:
            break
        after, copied = row[:3], copied + row[3]
        if time.monotonic() - said_at > SAY_EVERY_SECONDS:
            said_at = time.monotonic()
            say(f"  {copied:,} rows copied, {copied / (said_at - began):,.0f} a second")
    say(f"  {copied:,} rows copied in {time.monotonic() - began:.1f} s")


def _change_names(connection: Connection) -> None:
    """The copy becomes `scores`; what refers to scores refers to it."""
    connection.execute("LOCK TABLE scores IN ACCESS EXCLUSIVE MODE")
    referring = connection.execute(
        "SELECT conrelid::regclass::text, conname, pg_get_constraintdef(oid) FROM pg_constraint"
        " WHERE confrelid = 'scores'::regclass AND conparentid = 0 ORDER BY 1"
    ).fetchall()
    for table, name, _ in referring:
        connection.execute(sql.SQL("ALTER TABLE {} DROP CONSTRAINT {}").format(sql.SQL(table), sql.Identifier(name)))
    connection.execute("DROP TRIGGER scores_follow ON scores")
    connection.execute("DROP FUNCTION scores_follow()")
    for was, becomes in (("scores", "scores_before"), ("scores_copy", "scores")):
        connection.execute(sql.SQL("ALTER TABLE {} RENAME TO {}").format(sql.Identifier(was), sql.Identifier(becomes)))
        for index in ("pkey", "ranking_idx"):
            connection.execute(
                sql.SQL("ALTER INDEX {} RENAME TO {}").format(
                    sql.Identifier(f"{was}_{index}"), sql.Identifier(f"{becomes}_{index}")
                )
            )
    for table, name, definition in referring:
        connection.execute(
            sql.SQL("ALTER TABLE {} ADD CONSTRAINT {} {}").format(
                sql.SQL(table), sql.Identifier(name), sql.SQL(definition)
            )
        )


def _make_anew(connection: Connection, month: str) -> None:
    """A month nobody has written to yet, in as many parts as scores have."""
    connection.execute("LOCK TABLE scores, score_history IN ACCESS EXCLUSIVE MODE")  # in the order that apply.sql has
    if _one(connection, _any_row(month)):
        return
    since = _one(connection, sql.SQL("SELECT since FROM score_history_months WHERE name = {}").format(month))
    connection.execute(sql.SQL("DROP TABLE {}").format(sql.Identifier(month)))
    connection.execute("SELECT make_history_month(%s)", (since,))


def _clear(connection: Connection) -> None:
    """Take away what a run left that did not come to its end; nobody uses any of it."""
    for left, statement in (
        ("to_regproc('scores_follow')", "DROP FUNCTION scores_follow() CASCADE"),  # and the trigger that calls it
        ("to_regclass('scores_copy')", "DROP TABLE scores_copy"),
        ("to_regclass('scores_before')", "DROP TABLE scores_before"),
    ):
        if _one(connection, sql.SQL("SELECT {}").format(sql.SQL(left))) is not None:
            _in_turn(connection, lambda statement=statement: connection.execute(statement))  # type: ignore[misc]


def _refuse_what_is_unknown(connection: Connection) -> None:
    """What others have hung on scores would stay with the old table, or go with it."""
    found = connection.execute(
        "SELECT 'the trigger ' || tgname FROM pg_trigger WHERE tgrelid = 'scores'::regclass AND NOT tgisinternal"
        " UNION ALL SELECT 'the foreign key ' || conname || ' of ' || conrelid::regclass FROM pg_constraint"
        "   WHERE confrelid = 'scores'::regclass AND conparentid = 0 AND conenforced"
        " UNION ALL SELECT DISTINCT 'the view or rule ' || ev_class::regclass FROM pg_rewrite r JOIN pg_depend d"
        "   ON d.classid = 'pg_rewrite'::regclass AND d.objid = r.oid WHERE d.refobjid = 'scores'::regclass"
        " UNION ALL SELECT 'the policy ' || polname FROM pg_policy WHERE polrelid = 'scores'::regclass"
        " UNION ALL SELECT 'the publication ' || pubname FROM pg_publication_rel JOIN pg_publication p"
        "   ON p.oid = prpubid WHERE prrelid = 'scores'::regclass"
        " UNION ALL SELECT 'the index ' || indexrelid::regclass FROM pg_index WHERE indrelid = 'scores'::regclass"
        "   AND indexrelid::regclass::text NOT IN ('scores_pkey', 'scores_ranking_idx')"
        " UNION ALL SELECT 'rights on the column ' || attname FROM pg_attribute WHERE attrelid = 'scores'::regclass"
        "   AND attacl IS NOT NULL"
    ).fetchall()
    if found:
        raise PartitionRefused(
            f"scores have what this command does not know how to move: {', '.join(name for (name,) in found)}."
            " Take it away, partition, and make it again."
        )


def _in_turn(connection: Connection, work: Callable[[], object]) -> float:
    """Do a step in one short transaction; when a lock is not to be had, let those by who wait behind, and come again.

    Returns:
        for how long, in seconds, the tries held or awaited their locks.
    """
    waited = 0.0
    for pause in pauses():
        began = time.monotonic()
        try:
            with connection.transaction():
                work()
            return waited + time.monotonic() - began
        except (pg.LockNotAvailable, pg.DeadlockDetected):
            waited += time.monotonic() - began
            if pause is None:
                raise
            time.sleep(random.uniform(pause / 2, pause))  # noqa: S311 - no secret
    raise AssertionError("the last pause is None")


@contextmanager
def _connected(database_url: str) -> Iterator[Connection]:
    """A connection of the owner's with our time-outs; one migration or partitioning at a time."""
    libpq = make_url(database_url).set(drivername="postgresql").render_as_string(hide_password=False)
    options = f"-c lock_timeout={int(LOCK_SECONDS * 1000)} -c statement_timeout=0 -c timezone=UTC"
    options += " -c client_min_messages=warning"
    with psycopg.connect(libpq, autocommit=True, connect_timeout=5, options=options) as connection:
        if not _one(connection, sql.SQL("SELECT pg_try_advisory_lock({})").format(LOCK_KEY)):
            raise PartitionRefused("another migration or partitioning is under way.")
        yield connection


def _any_row(table: str) -> sql.Composed:
    return sql.SQL("SELECT EXISTS (SELECT FROM {})").format(sql.Identifier(table))


def _one(connection: Connection, query: str | sql.Composed) -> Any:
    row = connection.execute(query).fetchone()
    return None if row is None else row[0]


def _parts(parts: int) -> str:
    return "one part" if parts == 1 else f"{parts} parts"
