"""The difference between two states of a board's top, as small as it can be; pure."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Sequence
from typing import NamedTuple


class Line(NamedTuple):
    """One player on a board. The rank is not in it: it is the place in the list, counted from 1."""

    user_id: str
    username: str
    score: int
    reached_at: int  # Unix microseconds


class Delta(NamedTuple):
    """What leads from one list to another, as clients carry it out (see `apply`)."""

    removals: tuple[str, ...]
    upserts: tuple[tuple[int, Line], ...]  # (rank, line), lowest rank first


def delta(old: Sequence[Line], new: Sequence[Line]) -> Delta:
    """The smallest delta for which `apply(old, delta(old, new)) == new`.

    Upserts are the lines that are new or changed, and of those that only moved the fewest that explain the moves:
    all but a longest run that stayed in order. A player who rises by 50 ranks is one upsert, not fifty.
    """
    start, old_end, new_end = _differing(old, new)
    if start == old_end == new_end:
        return Delta((), ())
    places = {old[place].user_id: place for place in range(start, old_end)}
    arrived = {new[place].user_id for place in range(start, new_end)}
    unchanged = [
        (was, place)
        for place in range(start, new_end)
        if (was := places.get(new[place].user_id)) is not None and old[was] == new[place]
    ]
    kept = {unchanged[index][1] for index in _longest_increasing([was for was, _ in unchanged])}
    return Delta(
        removals=tuple(user_id for user_id in places if user_id not in arrived),
        upserts=tuple((place + 1, new[place]) for place in range(start, new_end) if place not in kept),
    )


def apply(lines: Sequence[Line], change: Delta) -> list[Line]:
    """What a client does: take out the removals and the upserts' users, then put each upsert in at its rank."""
    leaving = {*change.removals, *(line.user_id for _, line in change.upserts)}
    result = [line for line in lines if line.user_id not in leaving]
    for rank, line in change.upserts:
        result.insert(rank - 1, line)
    return result


def _differing(old: Sequence[Line], new: Sequence[Line]) -> tuple[int, int, int]:
    """Where the lists begin to differ and where, in each, they are alike again up to the end."""
    shorter = min(len(old), len(new))
    start = 0
    while start < shorter and old[start] == new[start]:
        start += 1
    alike = 0
    while alike < shorter - start and old[-1 - alike] == new[-1 - alike]:
        alike += 1
    return start, len(old) - alike, len(new) - alike


def _longest_increasing(numbers: Sequence[int]) -> list[int]:
    """Indices of a longest increasing subsequence of distinct numbers, in O(n log n)."""
    tails: list[int] = []  # tails[k]: the smallest number that ends a run of k + 1
    ends: list[int] = []  # ends[k]: its index
    before: list[int] = []  # before[i]: the index that precedes i in its run, or -1
    for index, number in enumerate(numbers):
        length = bisect_left(tails, number)
        before.append(ends[length - 1] if length else -1)
        tails[length : length + 1] = [number]
        ends[length : length + 1] = [index]
    run = []
    index = ends[-1] if ends else -1
    while index >= 0:
        run.append(index)
        index = before[index]
    return run[::-1]
