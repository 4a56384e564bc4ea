"""What was wrong can be undone, as rows of history; boards follow at once, and the undoing can be undone."""

from __future__ import annotations

from itertools import pairwise
from typing import Any

import pytest

from models.boards import standings
from models.errors import NotFound
from models.guard.desk import Why
from models.guard.moderation import Span
from models.pipeline.repair import Repair
from models.stores import Stores
from tests.fixtures.people import server_update
from tests.fixtures.servers import in_parts

WHY = Why("ada", "a test")


@pytest.fixture
def played(stores: Stores, players, submit_batch, drain) -> list[Any]:
    """Three players with 30, 20 and 10 points in two updates each."""
    people = players(3)
    for half in range(2):
        submit_batch([server_update(p, value=3 - at, action_id=f"u-{half}") for at, p in enumerate(people)])
        drain()
    return people


def names(stores: Stores) -> list[str]:
    return [entry.username for entry in stores.ranking.top("global", 10).entries]


def score_of(stores: Stores, player: Any) -> int:
    [entry] = stores.ranking.ranks("global", [player.user_id]).entries
    return entry.score


def agrees(stores: Stores) -> bool:
    return Repair(stores.engine, stores.ranking, stores.registry, lambda _: None).compare("global").agrees


def chain(query, player: Any) -> list[tuple[object, ...]]:
    return query(
        "SELECT version, previous_score, score_increment, new_score, action FROM score_history"
        " WHERE user_id = :id ORDER BY version",
        id=player.user_id,
    )


@in_parts
def test_a_hidden_player_leaves_the_board_and_comes_back(stores: Stores, played, query, submit_batch, drain) -> None:
    first, second, third = played
    before = stores.ranking.top("global", 10).version
    assert stores.desk.hide(first.username, WHY, hidden=True)
    assert names(stores) == [second.username, third.username]
    assert stores.ranking.top("global", 10).total == 2
    assert stores.ranking.version("global") > before
    assert not stores.desk.hide(first.username, WHY, hidden=True)
    submit_batch([server_update(first, value=9)])  # goes on counting, unseen
    drain()
    assert names(stores) == [second.username, third.username]
    assert agrees(stores)
    stores.ranking.rebuild("global")
    assert names(stores) == [second.username, third.username]
    assert agrees(stores)
    assert stores.desk.hide(first.username, WHY, hidden=False)
    assert names(stores) == [first.username, second.username, third.username]
    assert score_of(stores, first) == 150
    assert agrees(stores)
    assert [row[4] for row in chain(query, first)] == [
        "level_complete",
        "level_complete",
        "moderation.hide",
        "level_complete",
        "moderation.show",
    ]


def test_an_older_refresh_does_not_bring_a_hidden_player_back(stores: Stores, played) -> None:
    first = played[0]
    with stores.engine.connect() as connection:
        older = standings.of_players(connection, [first.user_id])[("global", 1)]
    stores.desk.hide(first.username, WHY, hidden=True)
    stores.ranking.refresh("global", 1, older)  # of a worker that was slow
    assert first.username not in names(stores)


@in_parts
def test_an_update_is_voided_and_restored(stores: Stores, played, query) -> None:
    first, second, _ = played
    [voided] = stores.desk.void(first.username, Span(action_ids=["u-0"]), WHY)
    assert (voided.action_id, voided.increment) == ("u-0", 30)
    assert score_of(stores, first) == 30
    with pytest.raises(NotFound):  # it does not count twice
        stores.desk.void(first.username, Span(action_ids=["u-0"]), WHY)
    assert score_of(stores, second) == 40
    [restored] = stores.desk.restore(first.username, Span(action_ids=["u-0"]), WHY)
    assert restored.action_id == "u-0"
    assert score_of(stores, first) == 60
    with pytest.raises(NotFound):
        stores.desk.restore(first.username, Span(action_ids=["u-0"]), WHY)
    rows = chain(query, first)
    assert [row[0] for row in rows] == [1, 2, 3, 4]
    assert all(after[1] == before[3] for before, after in pairwise(rows))
    assert agrees(stores)


@in_parts
def test_all_of_a_span_is_voided(stores: Stores, played, query) -> None:
    first = played[0]
    [(moment,)] = query(
        "SELECT max(created_at) FROM score_history WHERE user_id = :id AND action_id = 'u-1'", id=first.user_id
    )
    assert [c.action_id for c in stores.desk.void(first.username, Span(until=moment), WHY)] == ["u-0"]
    assert [c.action_id for c in stores.desk.void(first.username, Span(since=moment), WHY)] == ["u-1"]
    assert score_of(stores, first) == 0
    assert {c.action_id for c in stores.desk.restore(first.username, Span(), WHY)} == {"u-0", "u-1"}
    assert score_of(stores, first) == 60


def test_every_act_is_kept_with_its_reason(stores: Stores, played, query) -> None:
    first = played[0]
    stores.desk.hide(first.username, WHY, hidden=True)
    stores.desk.void(first.username, Span(action_ids=["u-0"]), WHY)
    acts = query("SELECT operator, act, reason FROM acts WHERE subject = :id ORDER BY id", id=first.user_id)
    assert acts == [("ada", "hide", "a test"), ("ada", "void", "a test")]


def test_an_erased_player_is_nobody_and_the_score_stays(stores: Stores, played, query) -> None:
    first = played[0]
    stores.desk.erase(first.username, WHY)
    assert stores.users.find(first.username) is None
    assert names(stores)[0] == "~" + first.user_id[:8]
    assert query(
        "SELECT count(*) FROM score_history WHERE user_id = :id AND ip_address IS NOT NULL", id=first.user_id
    ) == [(0,)]
    [(kept,)] = query("SELECT u::text FROM users u WHERE id = :id", id=first.user_id)
    assert first.username not in kept
    assert "example.org" not in kept
    assert agrees(stores)
    with pytest.raises(NotFound):
        stores.desk.erase("~" + first.user_id[:8], WHY)
