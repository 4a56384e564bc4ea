"""The last states of a board's top, so that one who lags or comes back gets a delta and not a snapshot."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Final, Protocol

from models.boards.deltas import Line

#: At 40 ticks a second these reach 1.6 s back, more than a healthy reader ever lags; beyond it a snapshot is due,
#: which of a top of 100 is 15 KB. The lines are shared between states, so a state weighs 8 bytes a line.
RECENT_MOST: Final = 64


class Ranked(Protocol):
    """One entry of a page, in rank order."""

    @property
    def user_id(self) -> str: ...
    @property
    def username(self) -> str: ...
    @property
    def score(self) -> int: ...
    @property
    def reached_at(self) -> int: ...


@dataclass(frozen=True, slots=True)
class State:
    """The top of a board at a version; `asked` is how many lines were asked for."""

    season: int
    version: int
    total: int
    asked: int
    lines: tuple[Line, ...]

    def covers(self, top: int) -> bool:
        """Whether the first `top` lines of the board can be told from this."""
        return top <= self.asked or len(self.lines) < self.asked


class Recent:
    """States of one board, oldest first, no two of one version, never going back."""

    def __init__(self) -> None:
        self._states: OrderedDict[int, State] = OrderedDict()

    @property
    def current(self) -> State | None:
        """The latest state, if any was read."""
        return next(reversed(self._states.values()), None)

    def at(self, version: int | None, top: int) -> State | None:
        """The state at that version, if it is still here and reaches down to `top`."""
        state = None if version is None else self._states.get(version)
        return state if state is not None and state.covers(top) else None

    def add(self, *, season: int, version: int, total: int, asked: int, entries: Iterable[Ranked]) -> State:
        """Take in what was read; returns the state that is current then.

        A read that is older than what we have is left out (I6). A longer read of the current version takes the
        place of the shorter. A new season begins afresh: nobody's list can be led into it by a delta.
        """
        current = self.current
        if current is not None and season == current.season:
            longer = version == current.version and asked > current.asked
            if version < current.version or (version == current.version and not longer):
                return current
        elif current is not None:
            self._states.clear()
        state = State(season, version, total, asked, self._shared(entries, current))
        self._states[version] = state
        while len(self._states) > RECENT_MOST:
            self._states.popitem(last=False)
        return state

    @staticmethod
    def _shared(entries: Iterable[Ranked], current: State | None) -> tuple[Line, ...]:
        """The entries as lines; a line that did not change is the same object as before."""
        known = {line.user_id: line for line in current.lines} if current is not None else {}
        lines = []
        for entry in entries:
            line = Line(entry.user_id, entry.username, entry.score, entry.reached_at)
            before = known.get(line.user_id)
            lines.append(before if before == line else line)
        return tuple(lines)
