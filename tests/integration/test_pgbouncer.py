"""The service behind PgBouncer in transaction mode: nothing it does needs a session of its own."""

from __future__ import annotations

import re
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import psycopg
import pytest
from sqlalchemy.exc import OperationalError

from migrations.__main__ import main as migrate
from models.errors import NonceReused, RateLimited
from models.guard.desk import Why
from models.guard.moderation import Span
from models.pipeline import drain as draining
from models.pipeline import forget, sweep, tidy
from models.pipeline.inbox_writer import Receipt
from models.pipeline.repair import Repair
from models.storage.database import SESSION, open_connection, open_engine
from models.stores import Stores
from tests.fixtures.api import SignedIn
from tests.fixtures.pair import Pair
from tests.fixtures.people import as_json, server_update, sign
from tests.fixtures.service import environment_for
from tests.integration.test_deadly_updates import TRAP

_WHY = Why("ada", "a test")


@pytest.fixture(scope="module")
def migrated(pair: Pair) -> Pair:
    pair.migrate()
    return pair


@pytest.fixture
def environment(migrated: Pair, redis_url: str, tmp_path: Path) -> dict[str, str]:
    """The service of this module's tests is behind PgBouncer."""
    migrated.empty()
    return {**environment_for(migrated.service_url(), redis_url, tmp_path), **migrated.environment()}


@pytest.fixture
def database_url(migrated: Pair) -> str:
    """What fixtures besides the service connect to."""
    return migrated.service_url()


def agrees(stores: Stores) -> bool:
    return Repair(stores.engine, stores.ranking, stores.registry, lambda _: None).compare("global").agrees


def test_an_update_is_accepted_applied_and_shown_and_a_repeat_is_known(player, submit, drain, stores: Stores) -> None:
    assert not submit(player, "a-1").replayed
    assert submit(player, "a-1").replayed
    update = sign(player)
    stores.acceptor.accept(player.user_id, update, address=None, request_id="r")
    with pytest.raises(NonceReused):
        submit(player, nonce=update.nonce)
    submit(player, action="daily_bonus")
    with pytest.raises(RateLimited):
        submit(player, action="daily_bonus")
    assert drain().applied == 3
    assert len(stores.ranking.top("global", 10).entries) == 1
    assert agrees(stores)


def test_many_at_once_share_commits_and_none_is_lost(players, submit, worker, stores: Stores, query) -> None:
    people = players(20)
    with ThreadPoolExecutor(20) as threads:
        receipts = list(threads.map(submit, people * 5))
    assert all(isinstance(receipt, Receipt) and not receipt.replayed for receipt in receipts)
    stores.ranking.top("global", 1)  # it is there from now on
    assert sum(worker.drain(0).applied for _ in range(2)) == 100
    assert query("SELECT count(*) FROM score_history") == [(100,)]
    assert agrees(stores)


def test_a_batch_is_planned_as_it_is_without_a_pooler_and_leaves_nothing_behind(
    migrated: Pair, players, submit_batch, worker, monkeypatch
) -> None:
    """The planner's settings hold for its transaction, and for nobody who is lent the connection later."""
    seen: list[tuple[object, ...]] = []
    apply = draining.ledger.apply

    def watched(connection: psycopg.Connection[object], **options: object) -> object:
        seen.append(connection.execute("SELECT current_setting('enable_nestloop')").fetchone())
        return apply(connection, **options)

    monkeypatch.setattr(draining.ledger, "apply", watched)
    submit_batch([server_update(each) for each in players(3)])
    assert worker.drain(0).applied == 3
    assert set(seen) == {("off",)}
    with migrated.connect() as connection:
        for _ in range(20):
            assert connection.execute("SHOW enable_nestloop").fetchone() == ("on",)
            assert connection.execute("SELECT count(*) FROM pg_prepared_statements").fetchone() == (0,)


def test_an_update_that_ends_the_servers_process_is_parked_and_the_rest_applied(
    migrated: Pair, submit, player, worker, query
) -> None:
    """PgBouncer tells of the death, and the connection to it looks as well as before."""
    for action_id in ("a", "deadly-1", "b"):
        submit(player, action_id)
    with migrated.one.connect("scoreboard") as connection:
        connection.execute(TRAP)
        connection.execute("UPDATE inbox SET accepted_at = accepted_at - interval '1 minute'")
        try:
            drained = worker.drain(0)
        finally:
            connection.execute("DROP FUNCTION trap CASCADE")
    assert (drained.applied, drained.rejected) == (2, 1)
    assert query("SELECT action_id FROM dead_letters") == [("deadly-1",)]


def test_what_operators_and_the_house_do_works(players, submit_batch, drain, stores: Stores, query) -> None:
    people = players(3)
    submit_batch([server_update(each, value=2) for each in people])
    drain()
    assert stores.desk.hide(people[0].username, _WHY, hidden=True)
    stores.desk.void(people[1].username, Span(None, None), _WHY)
    assert stores.ranking.rebuild("global") is not None
    assert stores.ranking.top("global", 10).entries[0].username == people[2].username
    query("UPDATE refreshes SET created_at = now() - interval '1 minute'")
    assert sweep.finish_refreshes(stores.engine, stores.ranking, lambda _: None) >= 1
    tidy.vacuum_inbox(stores.engine)
    forget.forget(stores.engine)
    stores.sealer.seal()
    assert agrees(stores)


def test_the_api_does(client, sign_up, worker) -> None:
    ada: SignedIn = sign_up()
    update = as_json(sign(ada.account, "a-1"))
    for _ in range(2):
        answer = client.post("/api/v1/scores/update", data=update, content_type="application/json", headers=ada.headers)
        assert answer.status_code == 202, answer.text
    worker.drain(0)
    assert client.get("/api/v1/scores/updates/a-1", headers=ada.headers).json["status"] == "applied"
    assert client.get("/api/v1/scores/me", headers=ada.headers).json["score"] > 0
    assert len(client.get("/api/v1/scores/me/history", headers=ada.headers).json["entries"]) >= 1
    assert client.get("/readyz").json["status"] != "unready"


def test_who_would_leave_settings_in_a_session_is_not_let_in(migrated: Pair) -> None:
    with pytest.raises(psycopg.OperationalError, match="options"):
        open_connection(migrated.service_url())


@pytest.mark.parametrize("name", SESSION)
def test_a_role_that_does_not_bound_its_statements_is_found_out(migrated: Pair, name: str) -> None:
    """I8: nobody waits without end because an operator forgot a step."""
    url = migrated.service_url().replace("postgresql://", "postgresql+psycopg://")
    with migrated.one.connect() as connection:
        connection.execute(f"ALTER ROLE scoreboard SET {name} = '{'CET' if name == 'timezone' else 0}'")
        try:
            with migrated.pooler.console() as console:
                console.execute("RECONNECT")
            for attempt in (
                lambda: open_connection(url, pooling="transaction"),
                open_engine(url, "transaction").connect,
            ):
                with pytest.raises((psycopg.OperationalError, OperationalError), match=name):
                    attempt()
        finally:
            connection.execute(f"ALTER ROLE scoreboard SET {name} = '{SESSION[name]}'")
            with migrated.pooler.console() as console:
                console.execute("RECONNECT")


def test_migrations_say_that_they_need_a_session(environment, monkeypatch, capsys) -> None:
    for key, value in environment.items():
        monkeypatch.setenv(key, value)
    assert migrate(["current"]) == 2
    assert re.search("DATABASE_POOLING", capsys.readouterr().err)
