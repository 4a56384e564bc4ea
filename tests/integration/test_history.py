"""A player's history: every row once, newest first, page by page; and nobody changes it (I4)."""

from __future__ import annotations

import psycopg
import pytest
from hypothesis import given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st
from sqlalchemy import text

from models.pipeline import ledger
from models.pipeline.ledger import HistoryCursor, HistoryEntry, Window, Worth
from models.pipeline.shard_lock import LOCK_SPACE
from models.settings import Settings
from models.storage.database import open_connection
from models.stores import Stores, open_stores
from tests.fixtures.people import register, server_update
from tests.fixtures.servers import in_parts
from tests.fixtures.service import environment_for
from tests.fixtures.threads import background

BOTH = [("global", 1), ("skill", 1)]


def pages(stores: Stores, user_id: str, boards: list[tuple[str, int]], limit: int) -> list[list[HistoryEntry]]:
    """All pages to the end, each begun where the one before ended."""
    found: list[list[HistoryEntry]] = []
    before = None
    while True:
        with stores.engine.connect() as connection:
            page = ledger.history(connection, user_id, boards, before=before, limit=limit)
        if not page:
            return found
        found.append(page)
        before = HistoryCursor(page[-1].created_at, page[-1].board, page[-1].version)


def rows_of(stores: Stores, user_id: str) -> set[tuple[str, int]]:
    with stores.engine.connect() as connection:
        rows = connection.execute(
            text("SELECT board, version FROM score_history WHERE user_id = :user_id"), {"user_id": user_id}
        )
        return {(row[0], row[1]) for row in rows}


def assert_whole(stores: Stores, user_id: str, limit: int) -> None:
    found = [entry for page in pages(stores, user_id, BOTH, limit) for entry in page]
    assert {(entry.board, entry.version) for entry in found} == rows_of(stores, user_id)
    assert len(found) == len(rows_of(stores, user_id)), "no row twice"
    order = [(entry.created_at, entry.board, entry.version) for entry in found]
    assert order == sorted(order, reverse=True)
    for board in ("global", "skill"):
        versions = [entry.version for entry in found if entry.board == board]
        assert versions == sorted(versions, reverse=True)


@pytest.fixture(scope="module")
def shared(module_database_url, valkey_server, tmp_path_factory):
    folder = tmp_path_factory.mktemp("history")
    settings = Settings.from_env(environment_for(module_database_url, valkey_server.replace("db=0", "db=2"), folder))
    with open_stores(settings) as stores:
        worker = stores.drain()
        yield stores, worker
        worker.close()


batches = st.lists(st.lists(st.sampled_from(["level_complete", "boss_defeated", "penalty"]), max_size=5), max_size=4)


@hypothesis_settings(max_examples=20)
@given(batches, st.integers(1, 7))
def test_the_pages_hold_every_row_once_newest_first(shared, played: list[list[str]], limit: int) -> None:
    stores, worker = shared
    [player] = register(stores, 1)
    for actions in played:
        updates = [server_update(player, action) for action in actions]
        stores.acceptor.accept_batch(updates, address=None, request_id="b")
        worker.drain(0)
    assert_whole(stores, player.user_id, limit)


def test_one_board_is_shown_without_the_others_and_a_player_without_the_others(stores, players, submit, drain) -> None:
    ada, bob = players(2)
    for person in (ada, bob):
        submit(person, action="boss_defeated")
        submit(person)
    drain()
    with stores.engine.connect() as connection:
        entries = ledger.history(connection, ada.user_id, [("skill", 1)], before=None, limit=10)
        assert [(entry.board, entry.action, entry.new_score) for entry in entries] == [("skill", "boss_defeated", 500)]
        assert ledger.history(connection, ada.user_id, [("skill", 2)], before=None, limit=10) == []


def test_pages_are_whole_when_one_drain_began_before_another_and_wrote_after_it(
    stores, player, submit, raw, worker, database_url, eventually
) -> None:
    """A wake-up that waits for the shard's lock has begun its transaction already."""
    stores.registry.seasons()
    submit(player, "first")
    submit(player, "second")
    raw.execute("SELECT pg_advisory_lock(%s, 0)", (LOCK_SPACE,))
    waiting = background(lambda: worker.drain(0))
    eventually(lambda: raw.execute("SELECT 1 FROM pg_locks WHERE locktype = 'advisory' AND NOT granted").fetchone())
    with open_connection(database_url) as connection, connection.transaction():
        worths = [Worth("level_complete", "global", 1, 10)]
        ledger.apply(connection, shard=0, window=Window(1), worths=worths, refreshed=[])
    raw.execute("SELECT pg_advisory_unlock(%s, 0)", (LOCK_SPACE,))
    waiting.join(10)
    assert rows_of(stores, player.user_id) == {("global", 1), ("global", 2)}
    for limit in (1, 2, 50):
        assert_whole(stores, player.user_id, limit)


@in_parts
@pytest.mark.parametrize(
    "change",
    [
        "UPDATE score_history SET new_score = new_score + 1",
        "UPDATE score_history SET action_id = action_id WHERE false",
        "DELETE FROM score_history",
        "DELETE FROM score_history WHERE false",
        "TRUNCATE score_history",
        "TRUNCATE score_history, users CASCADE",
        "MERGE INTO score_history h USING users u ON u.id = h.user_id WHEN MATCHED THEN DELETE",
        "UPDATE score_history_first SET new_score = new_score + 1",
        "DELETE FROM score_history_default WHERE false",
        "TRUNCATE score_history_first",
        (
            "INSERT INTO score_history_first SELECT * FROM score_history_first"
            " ON CONFLICT (user_id, board, season, version) DO UPDATE SET new_score = 0"
        ),
    ],
)
def test_history_is_append_only_for_the_service_and_for_the_superuser(
    submit, player, drain, raw, admin, query, database_url, change
) -> None:
    """I4, enforced by the database."""
    submit(player)
    drain()
    before = query("SELECT h::text FROM score_history h")
    for connection in (raw, superuser(admin, database_url)):
        with pytest.raises(psycopg.errors.RestrictViolation, match="append-only"):
            connection.execute(change)
        if connection is not raw:
            connection.close()
    assert query("SELECT h::text FROM score_history h") == before


def test_a_row_whose_sum_is_wrong_cannot_be_written(submit, player, drain, raw) -> None:
    submit(player)
    drain()
    with pytest.raises(psycopg.errors.CheckViolation):
        raw.execute(
            "INSERT INTO score_history (user_id, board, season, version, action_id, action, value, score_increment,"
            " previous_score, new_score, request_id, accepted_at)"
            " VALUES (%s, 'global', 1, 2, 'x', 'x', 1, 10, 10, 21, 'r', now())",
            (player.user_id,),
        )


@in_parts
@pytest.mark.parametrize(
    ("version", "action_id", "constraint"),
    [(1, "other", "score_history_first(_.)?_pkey"), (2, "a-1", "score_history_first(_.)?_action_key")],
)
def test_no_second_row_for_a_version_or_an_action(submit, player, drain, raw, version, action_id, constraint) -> None:
    """I2, I4: by constraint."""
    submit(player, "a-1")
    drain()
    with pytest.raises(psycopg.errors.UniqueViolation, match=constraint):
        raw.execute(
            "INSERT INTO score_history (user_id, board, season, version, action_id, action, value, score_increment,"
            " previous_score, new_score, request_id, accepted_at)"
            " VALUES (%s, 'global', 1, %s, %s, 'x', 1, 10, 10, 20, 'r', now())",
            (player.user_id, version, action_id),
        )


def superuser(admin: psycopg.Connection[object], database_url: str) -> psycopg.Connection[object]:
    database = database_url.partition("?")[0].rpartition("/")[2]
    return psycopg.connect(
        host=admin.info.host, port=admin.info.port, user=admin.info.user, dbname=database, autocommit=True
    )
