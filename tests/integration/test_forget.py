"""What no longer matters is forgotten in small batches; what is promised for good is kept."""

from __future__ import annotations

from collections.abc import Callable
from uuid import uuid4

import psycopg
import pytest

from models.errors import ActionIdConflict, NonceReused
from models.pipeline import forget
from models.stores import Stores
from tests.fixtures.api import SignedIn, wish
from tests.fixtures.people import server_update, sign


def let_pass(raw: psycopg.Connection[object], hours: int) -> None:
    """As if all updates had been accepted that much earlier."""
    raw.execute("UPDATE inbox_keys SET accepted_at = accepted_at - make_interval(hours => %s)", (hours,))


def take(stores: Stores, player: object, update: object) -> object:
    return stores.acceptor.accept(player.user_id, update, address=None, request_id="r")


class TestNonces:
    """A nonce is only needed while something signed with it could still be valid."""

    def test_within_the_day_a_nonce_is_refused_and_after_it_only_the_nonce_is_forgotten(
        self, stores, player, raw, query
    ) -> None:
        first = sign(player, "a-1", nonce="00ff00ff00ff00ff")
        take(stores, player, first)
        let_pass(raw, 23)
        assert forget.forget(stores.engine)["nonces"] == 0
        with pytest.raises(NonceReused):
            take(stores, player, sign(player, "a-2", nonce="00ff00ff00ff00ff"))
        let_pass(raw, 2)
        assert forget.forget(stores.engine)["nonces"] == 1
        assert query("SELECT action_id, nonce, action, value FROM inbox_keys") == [("a-1", None, "level_complete", 1)]

    def test_after_it_a_repeat_is_still_a_repeat_and_a_conflict_a_conflict(self, stores, player, raw, query) -> None:
        """I2: for good, with the old nonce and with a new one."""
        take(stores, player, sign(player, "a-1", nonce="00ff00ff00ff00ff"))
        let_pass(raw, 25)
        forget.forget(stores.engine)
        assert take(stores, player, sign(player, "a-1", nonce="00ff00ff00ff00ff")).replayed
        assert take(stores, player, sign(player, "a-1")).replayed
        with pytest.raises(ActionIdConflict):
            take(stores, player, sign(player, "a-1", value=2))
        assert query("SELECT count(*) FROM inbox") == [(1,)]

    def test_a_nonce_is_refused_by_constraint_and_none_at_all_is_no_nonce(self, player, raw) -> None:
        """I2."""
        row = "INSERT INTO inbox_keys (user_id, action_id, nonce, action, value) VALUES (%s, %s, %s, 'a', 1)"
        raw.execute(row, (player.user_id, "a-1", "00"))
        raw.execute(row, (player.user_id, "a-2", None))
        raw.execute(row, (player.user_id, "a-3", None))
        with pytest.raises(psycopg.errors.UniqueViolation, match="inbox_keys_nonce_key"):
            raw.execute(row, (player.user_id, "a-4", "00"))

    def test_what_was_spent_on_signing_in_goes_whole(
        self, client, sign_up: Callable[[], SignedIn], stores, raw, query
    ) -> None:
        body = wish(sign_up().account)
        assert client.post("/api/v1/auth/token", json=body).status_code == 200
        assert client.post("/api/v1/auth/token", json=body).json["code"] == "nonce_reused"
        let_pass(raw, 25)
        assert forget.forget(stores.engine)["nonces"] == 1
        assert query("SELECT count(*) FROM inbox_keys") == [(0,)]

    def test_they_go_oldest_first_in_batches_and_what_is_left_over_waits(
        self, stores, player, submit_batch, raw, query, monkeypatch
    ) -> None:
        monkeypatch.setattr(forget, "BATCH_ROWS", 3)
        raw.execute(
            "INSERT INTO inbox_keys (user_id, action_id, nonce, action, value, accepted_at)"
            " SELECT %s, n, n, 'a', 1, now() - make_interval(hours => 100 - n) FROM generate_series(1, 8) AS n",
            (player.user_id,),
        )
        monkeypatch.setattr(forget, "RUN_SECONDS", 0.0)
        assert forget.forget(stores.engine)["nonces"] == 3
        assert query("SELECT min(CAST(nonce AS integer)) FROM inbox_keys") == [(4,)]
        monkeypatch.setattr(forget, "RUN_SECONDS", 10.0)
        assert forget.forget(stores.engine)["nonces"] == 5
        assert query("SELECT count(*), count(nonce) FROM inbox_keys") == [(8, 0)]

    def test_a_row_that_somebody_holds_is_left_for_the_next_time(self, stores, player, submit, raw, query) -> None:
        """I8: nobody waits for the batch, and it waits for nobody."""
        submit(player, "a-1")
        submit(player, "a-2")
        let_pass(raw, 25)
        with raw.transaction():
            raw.execute("SELECT FROM inbox_keys WHERE action_id = 'a-1' FOR UPDATE")
            assert forget.forget(stores.engine)["nonces"] == 1
        assert forget.forget(stores.engine)["nonces"] == 1

    def test_the_search_reads_what_is_old_and_no_more(self, stores, player, raw) -> None:
        raw.execute(
            "INSERT INTO inbox_keys (user_id, action_id, nonce, action, value)"
            " SELECT %s, n, n, 'a', 1 FROM generate_series(1, 5000) AS n",
            (player.user_id,),
        )
        raw.execute("ANALYZE inbox_keys")
        plan = raw.execute(
            "EXPLAIN SELECT ctid FROM inbox_keys WHERE nonce IS NOT NULL AND accepted_at < now() - interval '1 day'"
            " ORDER BY accepted_at LIMIT 1000 FOR UPDATE SKIP LOCKED"
        ).fetchall()
        assert any("inbox_keys_accepted_at_idx" in line for (line,) in plan), plan


def test_cooldowns_that_ended_go_and_those_that_run_stay(stores, player, raw, query) -> None:
    raw.execute(
        "INSERT INTO cooldowns VALUES (%(user)s, 'ended', now() - interval '2 minutes'),"
        " (%(user)s, 'runs', now() + interval '1 minute')",
        {"user": player.user_id},
    )
    assert forget.forget(stores.engine)["cooldowns"] == 1
    assert query("SELECT action FROM cooldowns") == [("runs",)]


def test_what_is_promised_for_good_stays(stores, player, submit, submit_batch, drain, raw, query, contents) -> None:
    """History, dead letters, and what answers said of ranks."""
    submit(player, "a-1")
    submit_batch([server_update(player, action_id="a-2")])
    drain()
    query("INSERT INTO told_ranks VALUES (:user, 'a-1', '{\"global\": 1}')", user=player.user_id)
    let_pass(raw, 24 * 400)
    before = contents()
    forget.forget(stores.engine)
    after = contents()
    assert {table: rows for table, rows in after.items() if table != "inbox_keys"} == {
        table: rows for table, rows in before.items() if table != "inbox_keys"
    }
    assert len(after["inbox_keys"]) == len(before["inbox_keys"]) == 2


def test_forgetting_beside_accepting_loses_and_refuses_nothing(stores, players, submit_batch, raw, query) -> None:
    people = players(5)
    for n in range(20):
        take(stores, people[n % 5], sign(people[n % 5], f"a-{n}"))
        let_pass(raw, 3)
        forget.forget(stores.engine)
    updates = [server_update(people[n % 5], action_id=f"a-{n}") for n in range(20)]
    assert all(verdict.replayed for verdict in submit_batch(updates))
    assert query("SELECT count(*), count(DISTINCT action_id) FROM inbox") == [(20, 20)]
    assert submit_batch([server_update(people[0], action_id=str(uuid4()))])[0].replayed is False
