"""Finds the players whom a board in Redis and Postgres do not hold alike; what is on its way is no difference."""

from __future__ import annotations

import random
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Final
from uuid import uuid4

from sqlalchemy import Engine

from models.boards import standings
from models.boards.agreement import Cause, disagreement
from models.boards.places import Held, Standing
from models.boards.rebuild import Ranking
from models.boards.registry import BoardRegistry
from models.pipeline import ledger

#: Only what still differs after this counts.
SETTLE_SECONDS: Final = 1.0
#: Players a look: about 1 ms of Redis' time and 5 of Postgres'.
CHUNK: Final = 500
#: Players of a sample: the top, which is seen most, and two stretches that chance picks, one as each store has them.
SAMPLE_TOP: Final = 400
SAMPLE_STRETCH: Final = 300
_FIRST_USER: Final = "00000000-0000-0000-0000-000000000000"


@dataclass(frozen=True, slots=True)
class Difference:
    """A player who differs, with the standing that Postgres has, None for a player it does not know there."""

    cause: Cause
    standing: Standing | None


@dataclass(frozen=True, slots=True)
class Picked:
    """A sample of a board: players to compare, and how many members of the ranking nothing of ours puts there."""

    user_ids: list[str]
    strays: int


class Comparer:
    """Holds one board against Postgres.

    Every method raises BoardMissing when the board is not in Redis as a whole, NotReady when Redis is away.
    """

    def __init__(self, engine: Engine, ranking: Ranking, registry: BoardRegistry, board: str) -> None:
        self._engine = engine
        self._ranking = ranking
        self._board = board
        self._season = registry.keys(board).season

    def differing(self, user_ids: Sequence[str]) -> dict[str, Difference]:
        """Those of the players who differ, looked at twice."""
        suspects = self._look(user_ids)
        if not suspects:
            return {}
        time.sleep(SETTLE_SECONDS)
        return self._look(list(suspects))

    def pick(self) -> Picked:
        """Whom to sample."""
        top = self._ranking.look_along(self._board, 0, SAMPLE_TOP)
        start = random.randrange(max(1, top.total - SAMPLE_STRETCH + 1))  # noqa: S311 - a sample
        along = self._ranking.look_along(self._board, start, SAMPLE_STRETCH)
        known = self._after(str(uuid4()), SAMPLE_STRETCH)
        if len(known) < SAMPLE_STRETCH:  # the end was near, or the board is small: then all are in it
            known += self._after(_FIRST_USER, SAMPLE_STRETCH - len(known))
        astray = {held.user_id for held in (*top.held, *along.held) if held.is_astray}
        user_ids = dict.fromkeys([*(held.user_id for held in (*top.held, *along.held)), *known])
        return Picked(list(user_ids), len(astray) + max(top.malformed, along.malformed))

    def is_of_the_past(self) -> bool:
        """Whether Redis holds an older build than the last, looked at twice."""
        if not self._ranking.is_of_the_past(self._board):
            return False
        time.sleep(SETTLE_SECONDS)
        return self._ranking.is_of_the_past(self._board)

    def surplus(self) -> int:
        """How many more players Redis has than Postgres. Scores are never deleted: the later count is no smaller."""
        total = self._ranking.look(self._board, []).total
        with self._engine.connect() as connection:
            return max(0, total - standings.count(connection, self._board, self._season))

    def chunks(self, after: str | None) -> Iterator[list[str]]:
        """All players whom Postgres knows after one (from the first for None), a chunk at a time."""
        after = after or _FIRST_USER
        while user_ids := self._after(after, CHUNK):
            yield user_ids
            after = user_ids[-1]

    def _after(self, after: str, most: int) -> list[str]:
        with self._engine.connect() as connection:
            return standings.players_after(connection, self._board, self._season, after, most)

    def _look(self, user_ids: Sequence[str]) -> dict[str, Difference]:
        ids = list(user_ids)
        found: dict[str, Difference] = {}
        for at in range(0, len(ids), CHUNK):
            found |= self._look_at(ids[at : at + CHUNK])
        return found

    def _look_at(self, ids: list[str]) -> dict[str, Difference]:
        before = self._held(ids)
        with self._engine.connect().execution_options(isolation_level="REPEATABLE READ") as connection:
            known = {s.user_id: s for s in standings.of_players_on_board(connection, self._board, self._season, ids)}
            under_way = ledger.unrefreshed(connection, ids)  # of the same moment: a mark goes after Redis was told
        after = self._held(ids)
        found: dict[str, Difference] = {}
        for user_id in ids:
            standing = known.get(user_id)
            cause = disagreement(before[user_id], standing, after[user_id], under_way=user_id in under_way)
            if cause is not None:
                found[user_id] = Difference(cause, standing)
        return found

    def _held(self, ids: list[str]) -> dict[str, Held]:
        return {held.user_id: held for held in self._ranking.look(self._board, ids).held}
