"""Migrations go forward and back on real data, and make exactly what tables.py says."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import Column, Identity, create_engine, text

from migrations import __main__ as command_line
from migrations import schema
from models.storage.tables import metadata
from tests.fixtures.service import environment_for

ROOT = Path(schema.__file__).parents[1]


def tables_of(url: str) -> set[str]:
    engine = create_engine(url)
    with engine.connect() as connection:
        rows = connection.execute(text("SELECT tablename FROM pg_tables WHERE schemaname = 'public'"))
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
        context = MigrationContext.configure(connection, opts={"compare_type": True})
        differences = compare_metadata(context, metadata)
        constraints = {
            row[0]
            for row in connection.execute(
                text(
                    "SELECT conname FROM pg_constraint"
                    " WHERE contype IN ('p', 'u') AND connamespace = 'public'::regnamespace"
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
        if constraint.name and type(constraint).__name__ in ("PrimaryKeyConstraint", "UniqueConstraint")
    }
    assert constraints == named | {"alembic_version_pkc"}


def test_defaults_are_those_of_tables_py(database_url) -> None:
    engine = create_engine(database_url)
    with engine.connect() as connection:
        rows = connection.execute(
            text(
                "SELECT table_name, column_name, column_default FROM information_schema.columns"
                " WHERE table_schema = 'public' AND table_name <> 'alembic_version'"
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


@pytest.mark.parametrize("table", ["scores", "score_history", "inbox_keys", "told_ranks", "cooldowns", "dead_letters"])
def test_what_grows_with_players_has_the_player_first_in_its_key(table) -> None:
    """So that it can be distributed by user."""
    assert metadata.tables[table].primary_key.columns.keys()[0] == "user_id"
