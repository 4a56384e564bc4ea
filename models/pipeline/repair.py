"""Compares the boards in Redis with Postgres, and mends what differs by a rebuild (I5)."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Final

from sqlalchemy import Engine, text

from models.boards import standings
from models.boards.places import Standing
from models.boards.ranking import Entry
from models.boards.rebuild import Ranking
from models.boards.registry import BoardRegistry
from models.observers import nobody

#: A player whose update is on its way differs for a moment; only what still differs after this counts.
SETTLE_SECONDS: Final = 1.0
_CHUNK: Final = 500


@dataclass(frozen=True, slots=True)
class Comparison:
    """How a board in Redis agrees with Postgres."""

    board: str
    players: int
    missing: tuple[str, ...]  # user ids with a score in Postgres and none in Redis
    differing: tuple[str, ...]  # with another score or time
    surplus: int  # players in Redis whom Postgres does not know there

    @property
    def agrees(self) -> bool:
        """Whether Redis holds exactly what Postgres says."""
        return not self.missing and not self.differing and self.surplus == 0


def compare(
    engine: Engine,
    ranking: Ranking,
    registry: BoardRegistry,
    board: str,
    on_compared: Callable[[int], object] = nobody,
) -> Comparison:
    """Compare every player of a board; what differs is looked at twice.

    Raises:
        NotReady: Redis is away.
    """
    season = registry.seasons()[board]
    players, missing, differing = 0, [], []
    for chunk in _chunks(engine, board, season):
        players += len(chunk)
        absent, other = _disagreeing(ranking, board, chunk)
        if absent or other:
            time.sleep(SETTLE_SECONDS)
            with engine.connect() as connection:
                again = standings.of_players_on_board(connection, board, season, [*absent, *other])
            absent, other = _disagreeing(ranking, board, again)
        missing += absent
        differing += other
        on_compared(players)
    total = ranking.top(board, 1).total
    with engine.connect() as connection:
        known = connection.execute(
            text("SELECT count(*) FROM scores WHERE board = :board AND season = :season"),
            {"board": board, "season": season},
        ).scalar_one()
    return Comparison(board, players, tuple(missing), tuple(differing), max(0, total - known))


def repair(engine: Engine, ranking: Ranking, registry: BoardRegistry, board: str) -> Comparison:
    """Compare a board and rebuild it if it differs; returns what was found."""
    found = compare(engine, ranking, registry, board)
    if not found.agrees:
        ranking.rebuild(board)
    return found


def _disagreeing(ranking: Ranking, board: str, expected: list[Standing]) -> tuple[list[str], list[str]]:
    held: dict[str, Entry] = {
        entry.user_id: entry for entry in ranking.ranks(board, [standing.user_id for standing in expected]).entries
    }
    absent, other = [], []
    for standing in expected:
        entry = held.get(standing.user_id)
        if entry is None:
            absent.append(standing.user_id)
        elif (entry.score, entry.reached_at) != (standing.score, standing.reached_at):
            other.append(standing.user_id)
    return absent, other


def _chunks(engine: Engine, board: str, season: int) -> Iterator[list[Standing]]:
    last = "00000000-0000-0000-0000-000000000000"
    while True:
        with engine.connect() as connection:
            rows = connection.execute(
                text(
                    "SELECT user_id FROM scores WHERE board = :board AND season = :season AND user_id > :last"
                    " ORDER BY user_id LIMIT :most"
                ),
                {"board": board, "season": season, "last": last, "most": _CHUNK},
            )
            user_ids = [str(user_id) for user_id in rows.scalars()]
            if not user_ids:
                return
            yield standings.of_players_on_board(connection, board, season, user_ids)
        last = user_ids[-1]
