"""Dead letters are retried under their own id and count once, however often and by how many; or dropped, and kept."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
from sqlalchemy import Connection, text

from models.accounts.users import Registered
from models.errors import NotFound
from models.guard import letters
from models.guard.desk import Why
from models.guard.letters import Key
from models.pipeline import ledger
from models.stores import Stores
from tests.fixtures.people import server_update

WHY = Why("ada", "the action is back")


@pytest.fixture
def dead(submit, submit_batch, players, drain, query) -> Callable[..., Key]:
    """`dead()` is an update that waits as a dead letter; its action was lost by the catalogue and is there again."""

    def make(player: Registered | None = None, action_id: str = "lost") -> Key:
        player = player or players(1)[0]
        submit(player, action_id)
        query("UPDATE inbox SET action = 'fly' WHERE action_id = :id", id=action_id)
        assert drain().rejected == 1
        query("UPDATE dead_letters SET action = 'level_complete' WHERE action_id = :id", id=action_id)
        return Key(player.user_id, action_id)

    return make


def outcome(stores: Stores, key: Key) -> str:
    with stores.engine.connect() as connection:
        found = ledger.outcome(connection, *key)
    assert found is not None
    return found.status


def waiting(stores: Stores, **which: Any) -> list[str]:
    with stores.engine.connect() as connection:
        return [letter.action_id for letter in letters.listed(connection, **which)]


def test_a_letter_that_is_retried_counts_under_its_own_id(stores: Stores, dead, drain, query) -> None:
    """I2, I3: the history has the row that it would have had, and the keys are as they were."""
    key = dead()
    keys = query("SELECT * FROM inbox_keys")
    [(vouch,)] = query("SELECT vouch FROM dead_letters")
    assert outcome(stores, key) == "rejected"
    assert stores.desk.retry([key], WHY) == ([key], {0})
    assert outcome(stores, key) == "queued"
    assert drain().applied == 1
    assert outcome(stores, key) == "applied"
    assert waiting(stores) == []
    assert query("SELECT action_id, score_increment, request_id, signature IS NOT NULL FROM score_history") == [
        ("lost", 10, "r-test", True)
    ]
    assert query("SELECT * FROM inbox_keys") == keys
    assert query("SELECT count(*) FROM inbox") == query("SELECT count(*) FROM dead_letters") == [(0,)]
    assert query("SELECT vouch FROM score_history") == [(vouch,)]  # the code over the update went with it
    list(stores.sealer.seal())
    assert stores.audit_check.check().faults == []


def test_of_many_who_retry_one_letter_one_does(stores: Stores, dead, drain, query) -> None:
    key = dead()

    def attempt(_: int) -> int:
        try:
            return len(stores.desk.retry([key], WHY)[0])
        except NotFound:
            return 0

    with ThreadPoolExecutor(8) as pool:
        assert sum(pool.map(attempt, range(24))) == 1
    assert drain().applied == 1
    assert query("SELECT score FROM scores") == [(10,)]
    with pytest.raises(NotFound):
        stores.desk.retry([key], WHY)
    assert drain().applied == 0


def test_a_retry_that_is_cut_off_has_changed_nothing(stores: Stores, dead, contents, monkeypatch) -> None:
    key = dead()
    before = contents()

    def cut(connection: Connection, **_: object) -> None:
        connection.execute(text("SELECT pg_terminate_backend(pg_backend_pid())"))

    monkeypatch.setattr("models.guard.acts.append", cut)
    with pytest.raises(Exception, match=r"terminat|closed"):
        stores.desk.retry([key], WHY)
    assert contents() == before


def test_a_repeat_by_the_player_is_told_what_is_so_now(stores: Stores, dead, submit, drain, players, query) -> None:
    [player] = players(1)
    key = dead(player)
    assert submit(player, "lost").replayed
    stores.desk.retry([key], WHY)
    assert submit(player, "lost").replayed
    drain()
    assert submit(player, "lost").replayed
    assert drain().applied == 0
    assert query("SELECT count(*) FROM score_history") == [(1,)]


def test_what_cannot_be_applied_then_either_is_parked_anew(stores: Stores, dead, drain, query) -> None:
    key = dead()
    query("UPDATE dead_letters SET action = 'fly'")
    stores.desk.retry([key], WHY)
    assert drain().rejected == 1
    assert outcome(stores, key) == "rejected"
    assert waiting(stores) == ["lost"]


def test_an_update_that_was_applied_is_never_put_back(stores: Stores, submit, player, drain, query) -> None:
    """I2, should a letter ever stand beside its row of history."""
    submit(player, "done")
    drain()
    query(
        "INSERT INTO dead_letters (user_id, action_id, code, detail, attempts, shard, action, value, request_id,"
        " accepted_at) SELECT user_id, action_id, 'x', 'x', 1, 0, action, value, request_id, accepted_at"
        " FROM score_history"
    )
    with pytest.raises(NotFound):
        stores.desk.retry([Key(player.user_id, "done")], WHY)
    assert query("SELECT count(*) FROM inbox") == [(0,)]


def test_a_letter_goes_into_the_shard_that_is_its_players_now(stores: Stores, dead, query) -> None:
    key = dead()
    query("UPDATE dead_letters SET shard = 7")
    stores.desk.retry([key], WHY)
    assert query("SELECT shard FROM inbox") == [(0,)]


def test_an_old_letter_is_young_in_the_inbox_and_leaves_its_address_behind(stores: Stores, dead, query) -> None:
    """Else thousands that are retried would have everybody refused as overloaded; addresses are kept for so long."""
    key = dead()
    query("UPDATE dead_letters SET accepted_at = now() - interval '80 days'")
    stores.desk.retry([key], WHY)
    assert query("SELECT ip_address, clock_timestamp() - accepted_at < interval '1 minute' FROM inbox") == [
        (None, True)
    ]


def test_a_dropped_letter_waits_for_nobody_and_can_be_kept_or_retried(stores: Stores, dead, drain, query) -> None:
    key = dead()
    assert stores.desk.drop([key], Why("ada", "a robot")) == [key]
    assert (waiting(stores), waiting(stores, state="dropped")) == ([], ["lost"])
    assert query("SELECT dropped_by, dropped_reason FROM dead_letters") == [("ada", "a robot")]
    assert outcome(stores, key) == "rejected"
    with pytest.raises(NotFound):
        stores.desk.drop([key], WHY)
    assert stores.desk.keep([key], WHY) == [key]
    assert waiting(stores) == ["lost"]
    with pytest.raises(NotFound):
        stores.desk.keep([key], WHY)
    stores.desk.drop([key], WHY)
    stores.desk.retry([key], WHY)
    assert drain().applied == 1


def test_each_act_is_kept_with_what_was_said_of_the_letters(stores: Stores, dead, query, players) -> None:
    one, other = players(2)
    keys = [dead(one, "a"), dead(one, "b"), dead(other, "c")]
    stores.desk.drop(keys[:1], WHY)
    stores.desk.retry(keys, WHY)
    acts = query("SELECT act, subject, operator, reason, details FROM acts ORDER BY id")
    assert [(act[0], act[1]) for act in acts] == [
        ("drop dead letters", one.user_id),
        ("retry dead letters", one.user_id),
        ("retry dead letters", other.user_id),
    ]
    assert {act[2:4] for act in acts} == {("ada", "the action is back")}
    assert acts[0][4] == {"action_ids": ["a"]}
    assert [(u["action_id"], u["code"], u["attempts"]) for u in acts[1][4]["updates"]] == [
        ("a", "action_unknown", 1),
        ("b", "action_unknown", 1),
    ]


def test_what_quarantine_rejected_waits_for_nobody_and_can_be_retried(stores: Stores, submit, player, drain) -> None:
    """The way back from a rejection."""
    stores.desk.restrict("user", player.username, "quarantine", WHY)
    submit(player, "held")
    drain()
    assert stores.desk.reject(player.username, Why("ada", "a robot")) == 1
    key = Key(player.user_id, "held")
    assert (waiting(stores), waiting(stores, state="dropped")) == ([], ["held"])
    stores.desk.lift("user", player.username, "quarantine", WHY)
    stores.desk.retry([key], WHY)
    assert drain().applied == 1
    assert outcome(stores, key) == "applied"


def test_what_is_held_for_days_is_still_queued(stores: Stores, submit, player, drain, query) -> None:
    stores.desk.restrict("user", player.username, "quarantine", WHY)
    submit(player, "held")
    drain()
    query("UPDATE inbox_keys SET accepted_at = now() - interval '3 days'")
    assert outcome(stores, Key(player.user_id, "held")) == "queued"


def test_letters_are_listed_by_cause_player_and_page(stores: Stores, dead, players, query) -> None:
    one, other = players(2)
    for at in range(3):
        dead(one, f"a-{at}")
    dead(other, "b-0")
    query("UPDATE dead_letters SET code = 'apply_failed' WHERE action_id = 'a-0'")
    assert waiting(stores) == ["b-0", "a-2", "a-1", "a-0"]
    assert waiting(stores, user_id=one.user_id) == ["a-2", "a-1", "a-0"]
    assert waiting(stores, code="apply_failed") == ["a-0"]
    with stores.engine.connect() as connection:
        first = letters.listed(connection, limit=2)
        place = letters.Place(first[-1].parked_at, first[-1].user_id, first[-1].action_id)
        assert [x.action_id for x in letters.listed(connection, before=place)] == ["a-1", "a-0"]
        assert [(c.code, c.updates) for c in letters.causes(connection)] == [("action_unknown", 3), ("apply_failed", 1)]
        assert letters.waiting(connection) == 4


def test_an_update_of_nobody_is_listed_too(stores: Stores, player, submit_batch, drain, query) -> None:
    submit_batch([server_update(player, action_id="orphan")])
    query("UPDATE inbox SET user_id = gen_random_uuid()")
    drain()
    with stores.engine.connect() as connection:
        [letter] = letters.listed(connection)
    assert (letter.action_id, letter.username, letter.code) == ("orphan", None, "apply_failed")
