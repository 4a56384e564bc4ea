"""What an update that did not go into the inbox is told."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from models.errors import ActionIdConflict, NonceReused, QueueUnavailable, RateLimited
from models.pipeline.inbox import Arrival, KnownKey
from models.pipeline.inbox_writer import Receipt, judge

ARRIVAL = Arrival("ada", "a-1", "jump", 5, "ff00", b"", None, "r-1", shard=3, vouch=b"", cooldown_seconds=0)
SAME = KnownKey("ada", "a-1", "jump", 5, "ff00")


def test_the_same_update_again_is_a_repeat() -> None:
    assert judge(ARRIVAL, [SAME], {}) == Receipt("a-1", replayed=True, shard=3)


def test_signed_afresh_with_a_new_nonce_it_is_still_a_repeat() -> None:
    assert judge(ARRIVAL, [replace(SAME, nonce="aa11")], {}) == Receipt("a-1", replayed=True, shard=3)


@pytest.mark.parametrize("other", [replace(SAME, action="hop"), replace(SAME, value=6)])
def test_the_same_id_for_something_else_is_a_conflict(other: KnownKey) -> None:
    assert isinstance(judge(ARRIVAL, [other], {}), ActionIdConflict)


def test_a_nonce_of_another_action_is_reused() -> None:
    assert isinstance(judge(ARRIVAL, [replace(SAME, action_id="a-0")], {}), NonceReused)


def test_a_repeat_with_another_actions_nonce_is_refused() -> None:
    known = [replace(SAME, nonce="aa11"), replace(SAME, action_id="a-0")]
    assert isinstance(judge(ARRIVAL, known, {}), NonceReused)


def test_a_conflict_is_told_before_a_reused_nonce() -> None:
    known = [replace(SAME, action_id="a-0"), replace(SAME, value=6)]
    assert isinstance(judge(ARRIVAL, known, {}), ActionIdConflict)


@pytest.mark.parametrize("other", [replace(SAME, user_id="bob"), replace(SAME, user_id="bob", value=9)])
def test_another_players_ids_and_nonces_do_not_matter(other: KnownKey) -> None:
    assert judge(ARRIVAL, [SAME, other], {}) == Receipt("a-1", replayed=True, shard=3)


def test_updates_without_a_nonce_do_not_share_it() -> None:
    arrival = ARRIVAL._replace(nonce=None)
    known = [replace(SAME, nonce=None), replace(SAME, action_id="a-0", nonce=None)]
    assert judge(arrival, known, {}) == Receipt("a-1", replayed=True, shard=3)


@pytest.mark.parametrize(("left", "told"), [(0.001, 1), (0.9, 1), (1.0, 1), (1.1, 2), (3599.5, 3600)])
def test_a_running_cool_down_says_how_long_to_wait_in_whole_seconds(left: float, told: int) -> None:
    verdict = judge(ARRIVAL, [], {ARRIVAL.key: left})
    assert isinstance(verdict, RateLimited)
    assert verdict.retry_after_seconds == told


def test_a_repeat_is_answered_as_one_although_the_cool_down_runs() -> None:
    assert judge(ARRIVAL, [SAME], {ARRIVAL.key: 10.0}) == Receipt("a-1", replayed=True, shard=3)


def test_what_nothing_explains_is_not_called_accepted() -> None:
    assert isinstance(judge(ARRIVAL, [], {}), QueueUnavailable)


keys = st.builds(
    KnownKey,
    st.sampled_from(["ada", "bob"]),
    st.sampled_from(["a-0", "a-1"]),
    st.sampled_from(["jump", "hop"]),
    st.sampled_from([5, 6]),
    st.sampled_from([None, "ff00", "aa11"]),
)


@given(st.lists(keys, max_size=5))
def test_a_receipt_is_given_only_for_the_very_same_action(known: list[KnownKey]) -> None:
    verdict = judge(ARRIVAL, known, {})
    if isinstance(verdict, Receipt):
        mine = [other for other in known if (other.user_id, other.action_id) == ARRIVAL.key]
        assert mine
        assert {(other.action, other.value) for other in mine} == {("jump", 5)}
