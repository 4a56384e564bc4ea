"""Migrations go forward and back on real data, and make exactly what tables.py says."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from pathlib import Path

import pytest
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import Column, Identity, create_engine, text
from sqlalchemy.exc import DBAPIError, IntegrityError, OperationalError

from migrations import __main__ as command_line
from migrations import schema
from migrations.locks import LOCK_SECONDS
from models.storage.tables import metadata
from tests.fixtures.servers import in_parts
from tests.fixtures.service import environment_for
from tests.fixtures.threads import background

ROOT = Path(schema.__file__).parents[1]


def tables_of(url: str) -> set[str]:
    engine = create_engine(url)
    with engine.connect() as connection:
        rows = connection.execute(
            text(
                "SELECT relname FROM pg_class WHERE relnamespace = 'public'::regnamespace AND relkind IN ('r', 'p')"
                " AND NOT relispartition"
            )
        )
        found = {row[0] for row in rows}
    engine.dispose()
    return found


def test_there_is_one_head_and_every_revision_leads_to_it() -> None:
    scripts = ScriptDirectory.from_config(schema.config(""))
    assert len(scripts.get_heads()) == 1
    assert len(list(scripts.walk_revisions())) == len(list(Path(scripts.versions).glob("0*.py")))


def test_the_migrated_schema_is_what_tables_py_says(database_url) -> None:
    engine = create_engine(database_url)
    with engine.connect() as connection:
        opts = {"compare_type": True, "include_name": lambda name, kind, _: kind != "table" or name in metadata.tables}
        context = MigrationContext.configure(connection, opts=opts)
        differences = compare_metadata(context, metadata)
        constraints = {
            row[0]
            for row in connection.execute(
                text(
                    "SELECT conname FROM pg_constraint"
                    " WHERE contype IN ('p', 'u') AND connamespace = 'public'::regnamespace"
                    " AND conrelid NOT IN (SELECT inhrelid FROM pg_inherits)"
                )
            )
        }
    engine.dispose()
    # What the metadata cannot say, and is kept by the migration alone: see the comment there.
    known = {"score_history_score_fkey", "score_history_user_fkey"}
    assert [d for d in differences if not (d[0] == "remove_fk" and d[1].name in known)] == []
    named = {
        str(constraint.name)
        for table in metadata.tables.values()
        for constraint in table.constraints
        if constraint.name
        and constraint.columns
        and type(constraint).__name__ in ("PrimaryKeyConstraint", "UniqueConstraint")
    }
    assert constraints == named | {"alembic_version_pkc"}


def test_defaults_are_those_of_tables_py(database_url) -> None:
    engine = create_engine(database_url)
    with engine.connect() as connection:
        rows = connection.execute(
            text(
                "SELECT table_name, column_name, column_default FROM information_schema.columns"
                " WHERE table_schema = 'public' AND table_name <> 'alembic_version'"
                " AND table_name NOT IN (SELECT inhrelid::regclass::text FROM pg_inherits)"
                " AND table_name NOT IN (SELECT viewname FROM pg_views)"
            )
        ).all()
    engine.dispose()
    found = {(table, column): default and default.partition("::")[0].strip("'") for table, column, default in rows}
    declared = {
        (table.name, column.name): str(column.server_default.arg) if _says_default(column) else None
        for table in metadata.tables.values()
        for column in table.columns
    }
    assert found == declared


def _says_default(column: Column[object]) -> bool:
    return column.server_default is not None and not isinstance(column.server_default, Identity)


@in_parts
def test_forward_back_and_forward_again_on_real_data(database_url, submit, player, drain, stores) -> None:
    submit(player, action="boss_defeated")
    submit(player)
    drain()
    submit(player)
    stores.engine.dispose()
    assert tables_of(database_url) == {*metadata.tables, "alembic_version"}
    schema.downgrade(database_url, "base")
    assert tables_of(database_url) == {"alembic_version"}
    schema.upgrade(database_url)
    assert tables_of(database_url) == {*metadata.tables, "alembic_version"}


def test_going_forward_once_more_keeps_all_data(database_url, submit, player, drain, contents) -> None:
    submit(player)
    drain()
    before = contents()
    schema.upgrade(database_url)
    assert contents() == before


def test_two_hosts_that_migrate_at_once_do_so_one_after_the_other(empty_database_url, tmp_path) -> None:
    environ = {**os.environ, **environment_for(empty_database_url, "redis://nobody", tmp_path)}
    command = [sys.executable, "-m", "migrations", "upgrade"]
    hosts = [subprocess.Popen(command, env=environ, cwd=ROOT, stderr=subprocess.PIPE) for _ in range(2)]
    told = [host.communicate(timeout=30)[1].decode() for host in hosts]
    assert [host.returncode for host in hosts] == [0, 0], told
    assert tables_of(empty_database_url) == {*metadata.tables, "alembic_version"}


def test_the_command_migrates_and_tells_where_it_stands(empty_database_url, tmp_path) -> None:
    environ = {**os.environ, **environment_for(empty_database_url, "redis://nobody", tmp_path)}

    def run(*arguments: str) -> str:
        command = [sys.executable, "-m", "migrations", *arguments]
        return subprocess.run(command, env=environ, cwd=ROOT, check=True, capture_output=True, text=True).stdout

    run("upgrade")
    assert tables_of(empty_database_url) >= set(metadata.tables)
    assert str(schema.head()) in run("current")
    run("downgrade", "base")
    assert tables_of(empty_database_url) == {"alembic_version"}


def test_a_process_waits_for_its_own_revision_or_a_later_one(empty_database_url) -> None:
    assert not schema.wait(empty_database_url, 0)
    schema.upgrade(empty_database_url, "0001")
    assert not schema.reached(empty_database_url)
    schema.upgrade(empty_database_url)
    assert schema.wait(empty_database_url, 0)
    engine = create_engine(empty_database_url)
    with engine.begin() as connection:
        connection.execute(text("UPDATE alembic_version SET version_num = 'later'"))
    engine.dispose()
    assert schema.reached(empty_database_url), "an old process starts beside a new version's tables"
    with pytest.raises(OperationalError):
        schema.wait("postgresql+psycopg://nobody@127.0.0.1:1/nothing", 0)


def test_a_database_that_is_away_is_one_sentence(tmp_path, monkeypatch, capsys) -> None:
    url = "postgresql+psycopg://nobody@/nothing?host=/nobody-is-here"
    for name, value in environment_for(url, "redis://nobody", tmp_path).items():
        monkeypatch.setenv(name, value)
    assert command_line.main(["upgrade"]) == 1
    told = capsys.readouterr().err
    assert "cannot be reached" in told
    assert "Traceback" not in told


def test_missing_settings_are_told_by_name(tmp_path, monkeypatch, capsys) -> None:
    for name in environment_for("", "", tmp_path):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("DATA_DIR", str(tmp_path))
    assert command_line.main(["upgrade"]) == 2
    assert "DATABASE_URL" in capsys.readouterr().err


def test_history_by_month_goes_back_and_forward_with_all_its_rows(
    database_url, submit, player, drain, stores, query, contents
) -> None:
    """The same rows in one table and in months; what recent nonces are refused by is kept, and so is every promise."""
    submit(player, "old", action="boss_defeated")
    submit(player, "poison")
    drain()
    submit(player, "waits")
    another = "INSERT INTO score_history SELECT (jsonb_populate_record(h, :changes)).* FROM score_history h LIMIT 1"
    query(another, changes='{"version": 7, "action_id": "later", "created_at": "2100-01-01T00:00:00Z"}')
    stores.engine.dispose()
    schema.downgrade(database_url, "0002")
    before, keys = contents(), "SELECT action_id, nonce, accepted_at FROM inbox_keys ORDER BY action_id"
    accepted = query(keys)
    stores.engine.dispose()
    schema.downgrade(database_url, "0001")
    whole = contents()
    for table in before.keys() - {"inbox_keys"}:
        assert whole[table] == before[table], table
    with pytest.raises(IntegrityError, match="score_history_action_key"):
        query(another, changes='{"version": 99}')
    with pytest.raises(DBAPIError, match="append-only"):
        query("DELETE FROM score_history")
    stores.engine.dispose()
    schema.upgrade(database_url, "0002")
    again = contents()
    for table in before.keys() - {"inbox_keys"}:
        assert again[table] == before[table], table
    for was, now in zip(accepted, query(keys), strict=True):
        assert was[:2] == now[:2]
        assert abs((was[2] - now[2]).total_seconds()) < 1, was[0]
    [(partitions,)] = query("SELECT count(DISTINCT tableoid) FROM score_history")
    assert partitions == 1, "the table that was there is the first partition, the row of 2100 in it"
    assert query("SELECT until > '2100-01-15' FROM score_history_months WHERE since IS NULL") == [(True,)]
    with pytest.raises(DBAPIError, match="append-only"):
        query("DELETE FROM score_history_first")
    stores.engine.dispose()
    schema.upgrade(database_url)
    drain()
    assert query("SELECT count(*) FROM score_history WHERE action_id = 'waits'") == [(1,)]


#: On the way back, the first revision that changes score_history.
FIRST_ON_HISTORY = ("0004",)


def test_a_migration_that_waits_for_a_lock_gives_up_and_changes_nothing(database_url, raw, query, stores) -> None:
    """The service is not to queue behind it."""
    raw.execute("BEGIN")
    raw.execute("SELECT count(*) FROM score_history")
    with pytest.raises(OperationalError, match="lock timeout"):
        schema.downgrade(database_url, "0001", tries=2)
    raw.execute("ROLLBACK")
    assert query("SELECT version_num FROM alembic_version") == [FIRST_ON_HISTORY], "whole revisions"


def test_a_migration_that_met_a_lock_comes_again_and_goes_through(database_url, raw, query, stores) -> None:
    raw.execute("BEGIN")
    raw.execute("SELECT count(*) FROM score_history")
    going = background(lambda: schema.downgrade(database_url, "0003"))
    time.sleep(LOCK_SECONDS + 0.2)
    assert query("SELECT version_num FROM alembic_version") == [FIRST_ON_HISTORY]
    raw.execute("ROLLBACK")
    going.join(20)
    assert query("SELECT version_num FROM alembic_version") == [("0003",)]


@pytest.mark.parametrize("table", ["scores", "inbox_keys", "told_ranks", "cooldowns", "dead_letters"])
def test_what_grows_with_players_has_the_player_first_in_its_key(table) -> None:
    """So that it can be distributed by user."""
    assert metadata.tables[table].primary_key.columns.keys()[0] == "user_id"
