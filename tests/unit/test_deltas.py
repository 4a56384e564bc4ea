"""Deltas lead from any list to any other, and never say more than they must."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from models.boards.deltas import Delta, Line, apply, delta

INT64_LEAST, INT64_MOST = -(2**63), 2**63 - 1

scores = st.sampled_from([INT64_LEAST, -1, 0, 1, 7, INT64_MOST]) | st.integers(INT64_LEAST, INT64_MOST)


@st.composite
def boards(draw: st.DrawFn) -> list[Line]:
    """A board in its order: highest score first, then who reached it first, then the lower id."""
    users = draw(st.sets(st.integers(0, 30), max_size=20))
    lines = [Line(f"u{n:02}", f"name-{n}", draw(scores), draw(st.integers(0, 3))) for n in users]
    return sorted(lines, key=lambda line: (-line.score, line.reached_at, line.user_id))


def moved(old: list[Line], new: list[Line]) -> int:
    """How many lines must be told, found by the textbook's O(n²) longest increasing subsequence."""
    places = {line: place for place, line in enumerate(old)}
    stayed = [places[line] for line in new if line in places]
    best: list[int] = []
    for index, place in enumerate(stayed):
        best.append(1 + max((best[i] for i in range(index) if stayed[i] < place), default=0))
    return len(new) - max(best, default=0)


@given(boards(), boards(), st.integers(1, 25))
def test_a_client_that_applies_the_delta_has_the_new_top(old: list[Line], new: list[Line], top: int) -> None:
    assert apply(old[:top], delta(old[:top], new[:top])) == new[:top]


@given(boards(), boards())
def test_no_delta_tells_more_than_what_is_new_changed_or_moved(old: list[Line], new: list[Line]) -> None:
    change = delta(old, new)
    assert len(change.upserts) == moved(old, new)
    assert set(change.removals) == {line.user_id for line in old} - {line.user_id for line in new}
    assert [rank for rank, _ in change.upserts] == sorted(rank for rank, _ in change.upserts)


@given(st.permutations(range(12)))
def test_any_shuffle_of_players_is_explained(order: list[int]) -> None:
    old = [Line(str(n), str(n), 0, 0) for n in range(12)]
    new = [old[n] for n in order]
    assert apply(old, delta(old, new)) == new
    assert len(delta(old, new).upserts) == moved(old, new)


def test_a_player_who_rises_by_fifty_ranks_is_one_upsert() -> None:
    old = [Line(f"{n:03}", f"{n}", 1000 - n, n) for n in range(100)]
    risen = old[70]._replace(score=985, reached_at=500)
    new = [*old[:15], old[15], risen, *old[16:70], *old[71:]]
    assert delta(old, new) == Delta(removals=(), upserts=((17, risen),))


def test_who_is_pushed_out_of_the_top_is_a_removal() -> None:
    old = [Line("a", "a", 3, 0), Line("b", "b", 2, 0)]
    new = [Line("c", "c", 4, 0), *old][:2]
    assert delta(old, new) == Delta(removals=("b",), upserts=((1, new[0]),))


def test_equal_lists_make_an_empty_delta() -> None:
    lines = [Line("a", "a", INT64_MOST, 0)]
    assert delta(lines, list(lines)) == Delta((), ()) == delta([], [])
