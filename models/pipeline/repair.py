"""Repairs the boards in Redis: compares them with Postgres, often a sample and now and then all, and mends them (I5).

A player who is missing or behind is refreshed, guarded by version as ever. Where the guard would refuse, or Redis holds
what Postgres does not, the board is rebuilt beside what is served. Neither takes a board's version back (I6).
"""

from __future__ import annotations

import math
import time
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import partial
from typing import Final

import redis
import structlog
from sqlalchemy import Engine

from models.boards import events
from models.boards.agreement import REFRESHABLE, Cause
from models.boards.events import BoardChanged
from models.boards.ranking import BoardMissing
from models.boards.rebuild import Ranking
from models.boards.registry import BoardRegistry
from models.observers import nobody
from models.pipeline.compare import Comparer, Difference

#: More players than this who are missing or behind are no lost refreshes but a board of another time: it is rebuilt.
REFRESH_MOST: Final = 100
#: A comparison of all rests after each chunk for as long as that took, and at least this long.
REST_SECONDS_LEAST: Final = 0.005

log = structlog.get_logger(__name__)


@dataclass(slots=True)
class Comparison:
    """How a board in Redis agreed with Postgres, and what was done about it."""

    board: str
    players: int = 0  # compared
    causes: Counter[Cause] = field(default_factory=Counter)  # players who differed
    is_missing: bool = False  # not in Redis, or not with all of its keys
    is_of_the_past: bool = False  # of an older build than the last
    refreshed: int = 0  # players
    rebuilt: bool = False

    @property
    def agrees(self) -> bool:
        """Whether Redis held what Postgres says."""
        return not (self.causes or self.is_missing or self.is_of_the_past)


class Repair:
    """Compares boards and mends them; `publish` tells the sockets of what was mended.

    Every method raises BoardUnknown, and NotReady when Redis is away.
    """

    def __init__(self, engine: Engine, ranking: Ranking, registry: BoardRegistry, publish: events.Publisher) -> None:
        self._engine = engine
        self._ranking = ranking
        self._registry = registry
        self._publish = publish

    def sample(self, board: str) -> Comparison:
        """Compare about a thousand players, whatever the board's size, and mend what differs."""
        found, comparer = self._begin(board)
        try:
            found.is_of_the_past = comparer.is_of_the_past()
            picked = comparer.pick()
            differing = comparer.differing(picked.user_ids)
        except BoardMissing:
            return self._build_missing(found)
        found.players = len(picked.user_ids)
        if picked.strays:
            found.causes[Cause.SURPLUS] += picked.strays
        if picked.strays or found.is_of_the_past:
            found.causes.update(difference.cause for difference in differing.values())
            self._rebuild(found)
        else:
            self._mend(found, differing)
        return found

    def compare(self, board: str, on_compared: Callable[[int], object] = nobody, *, mend: bool = False) -> Comparison:
        """Compare every player of a board; `on_compared` hears how many so far. Without `mend` nothing is changed."""
        return self._go_through(board, None, on_compared, mend=mend)

    def repair(self, board: str, seconds: float) -> Comparison:
        """Compare every player of a board and mend what differs, going on where the last call's time was up."""
        return self._go_through(
            board,
            self._ranking.compared_upto(board),
            mend=True,
            seconds=seconds,
            on_upto=partial(self._ranking.set_compared_upto, board),
        )

    def _go_through(
        self,
        board: str,
        after: str | None,
        on_compared: Callable[[int], object] = nobody,
        *,
        mend: bool,
        seconds: float = math.inf,
        on_upto: Callable[[str | None], object] = nobody,
    ) -> Comparison:
        deadline = time.monotonic() + seconds
        found, comparer = self._begin(board)
        try:
            found.is_of_the_past = comparer.is_of_the_past()
            if mend and found.is_of_the_past:
                return self._rebuild(found)
            for user_ids in comparer.chunks(after):
                started = time.monotonic()
                differing = comparer.differing(user_ids)
                found.players += len(user_ids)
                on_compared(found.players)
                if not mend:
                    found.causes.update(difference.cause for difference in differing.values())
                elif self._mend(found, differing):
                    on_upto(None)  # all of it is new
                    return found
                on_upto(user_ids[-1])
                if time.monotonic() > deadline:
                    return found
                time.sleep(max(REST_SECONDS_LEAST, time.monotonic() - started))
            on_upto(None)
            if surplus := comparer.surplus():
                found.causes[Cause.SURPLUS] += surplus
        except BoardMissing:
            return self._build_missing(found) if mend else _without_a_board(found)
        return self._rebuild(found) if mend and surplus else found

    def _begin(self, board: str) -> tuple[Comparison, Comparer]:
        return Comparison(board), Comparer(self._engine, self._ranking, self._registry, board)

    def _mend(self, found: Comparison, differing: Mapping[str, Difference]) -> bool:
        """Refresh those who differ, or rebuild the board where that would not mend them; True when it was to be."""
        found.causes.update(difference.cause for difference in differing.values())
        behind = [each.standing for each in differing.values() if each.cause in REFRESHABLE and each.standing]
        if len(behind) < len(differing) or len(behind) > REFRESH_MOST:
            self._rebuild(found)
            return True
        if behind:
            version = self._ranking.refresh(found.board, self._registry.keys(found.board).season, behind)
            found.refreshed += len(behind)
            self._tell(found.board, version)
        return False

    def _rebuild(self, found: Comparison, *, only_if_missing: bool = False) -> Comparison:
        version = self._ranking.rebuild(found.board, only_if_missing=only_if_missing)
        found.rebuilt = version is not None  # else somebody else does it now
        self._tell(found.board, version)
        return found

    def _build_missing(self, found: Comparison) -> Comparison:
        return self._rebuild(_without_a_board(found), only_if_missing=True)

    def _tell(self, board: str, version: int | None) -> None:
        """Publish, as a hint: listeners poll the version as well (I6)."""
        now = events.now()
        try:
            self._publish(BoardChanged(board, self._registry.keys(board).season, version or 0, now, now, (), ()))
        except redis.RedisError as error:
            log.warning("a repair is not published", **{"event.action": "repair"}, board=board, error=error)


def _without_a_board(found: Comparison) -> Comparison:
    found.is_missing = True
    return found
