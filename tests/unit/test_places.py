"""A place sorts exactly as the contract says: score, then who came first, then the lower user id."""

from __future__ import annotations

from uuid import UUID

from hypothesis import given
from hypothesis import strategies as st

from models.boards.places import PLACE_BYTES, Standing, place_of, read_member, refresh_arguments

LEAST, MOST = -(2**63), 2**63 - 1
EDGES = [LEAST, LEAST + 1, -(2**53) - 1, -(2**53), -1, 0, 1, 2**53, 2**53 + 1, MOST - 1, MOST]

scores = st.sampled_from(EDGES) | st.integers(LEAST, MOST) | st.integers(2**62, 2**62 + 3)
times = st.sampled_from([0, 1, 2**53 + 1, 2**63 - 1]) | st.integers(0, 2**63 - 1)
users = st.integers(0, 3).map(lambda n: str(UUID(int=n))) | st.uuids().map(str)
standings = st.builds(
    Standing, user_id=users, username=st.just("n"), score=scores, reached_at=times, version=st.just(1)
)


def as_the_contract_sorts(standing: Standing) -> tuple[int, int, int]:
    return -standing.score, standing.reached_at, UUID(standing.user_id).int


def as_redis_sorts(standing: Standing) -> tuple[float, bytes]:
    """By the double, then by the member's bytes."""
    user, place, double, *_ = refresh_arguments(standing)
    return float(double), place + user


@given(st.lists(standings, max_size=12))
def test_redis_sorts_as_the_contract_does(board: list[Standing]) -> None:
    assert sorted(board, key=as_redis_sorts) == sorted(board, key=as_the_contract_sorts)


@given(standings, standings)
def test_any_two_are_in_the_right_order_and_equal_only_when_the_same(one: Standing, other: Standing) -> None:
    left, right = as_the_contract_sorts(one), as_the_contract_sorts(other)
    assert (as_redis_sorts(one) < as_redis_sorts(other)) == (left < right)
    assert (as_redis_sorts(one) == as_redis_sorts(other)) == (left == right)


@given(scores, scores)
def test_rounding_to_a_double_never_swaps_two_scores(one: int, other: int) -> None:
    if one < other:
        assert float(one) <= float(other)


@given(standings)
def test_what_was_written_is_read_back_exactly(standing: Standing) -> None:
    user, place, double, version, name = refresh_arguments(standing)
    assert len(place) == PLACE_BYTES == 16
    assert read_member(place + user) == (standing.score, standing.reached_at, standing.user_id)
    assert float(double) == -float(standing.score)
    assert (int.from_bytes(version, "big"), name) == (1, "n")


@given(scores, scores, times, times)
def test_bytes_alone_sort_higher_scores_first_then_earlier_times(a: int, b: int, s: int, t: int) -> None:
    assert (place_of(a, s) < place_of(b, t)) == ((-a, s) < (-b, t))


@given(st.integers(0, 2**63 - 1), st.integers(0, 2**63 - 1))
def test_versions_compare_as_bytes_like_numbers(one: int, other: int) -> None:
    def packed(version: int) -> bytes:
        return refresh_arguments(Standing(str(UUID(int=1)), "n", 0, 0, version))[3]

    assert (packed(one) < packed(other)) == (one < other)
