"""When Redis and Postgres agree on a player, whatever happens between the looks (I5)."""

from __future__ import annotations

from uuid import uuid4

import pytest
from hypothesis import given
from hypothesis import strategies as st

from models.boards.agreement import Cause, disagreement
from models.boards.places import Held, Standing, place_of, refresh_arguments

USER = str(uuid4())


def standing(version: int, name: str = "ada") -> Standing:
    return Standing(USER, name, 10 * version, 1_000 + version, version)


def held(version: int | None, name: str = "ada") -> Held:
    """What a refresh leaves; nothing for None."""
    if version is None:
        return Held(USER, None, None, None)
    _, place, double, packed, username = refresh_arguments(standing(version, name))
    return Held(USER, place + packed + username.encode(), place, float(double))


versions = st.integers(1, 5)


@given(committed=st.lists(versions, min_size=3, max_size=3), told=st.lists(st.integers(0, 5), min_size=2, max_size=2))
def test_no_order_of_commits_and_refreshes_that_keeps_the_promise_is_a_difference(committed, told) -> None:
    """Versions only grow, Redis never has one that was not committed, and what is not told yet is marked."""
    before_at, read_at, after_at = sorted(committed)
    before = min(told[0], before_at)
    after = max(before, min(told[1], after_at))
    under_way = after < read_at
    found = disagreement(held(before or None), standing(read_at), held(after or None), under_way=under_way)
    assert found is None


@pytest.mark.parametrize(
    ("before", "read", "after", "cause"),
    [
        (held(None), standing(2), held(None), Cause.MISSING),
        (held(1), standing(2), held(1), Cause.BEHIND),
        (held(3), standing(2), held(3), Cause.AHEAD),
        (held(2, "eve"), standing(2), held(2, "eve"), Cause.DIFFERING),
        (held(2), None, held(2), Cause.SURPLUS),
        (held(2), standing(2), Held(USER, held(2).value, None, None), Cause.DIFFERING),
        (held(2), standing(2), Held(USER, held(2).value, held(2).place, 1.0), Cause.DIFFERING),
        (held(2), standing(2), Held(USER, b"short", None, None), Cause.DIFFERING),
    ],
)
def test_each_cause(before: Held, read: Standing | None, after: Held, cause: Cause) -> None:
    assert disagreement(before, read, after, under_way=False) is cause


def test_a_member_at_another_place_than_the_players_value_is_astray() -> None:
    assert not held(2).is_astray
    assert not held(None).is_astray
    assert Held(USER, held(2).value, place_of(1, 1), -1.0).is_astray
    assert Held(USER, None, place_of(1, 1), -1.0).is_astray
