"""Which boards there are in Postgres and the season each counts in."""

from __future__ import annotations

import threading
from types import MappingProxyType

from sqlalchemy import Connection, Engine, text

from models.boards.catalogue import Catalogue
from models.boards.ranking import Keys


class BoardRegistry:
    """The catalogue's boards with their current seasons; read once, at first use."""

    def __init__(self, engine: Engine, catalogue: Catalogue) -> None:
        self._engine = engine
        self._catalogue = catalogue
        self._seasons: MappingProxyType[str, int] | None = None
        self._lock = threading.Lock()

    def keys(self, board: str) -> Keys:
        """Where the board's current season lies in Redis.

        Raises:
            BoardUnknown: the catalogue has no such board.
        """
        self._catalogue.board(board)
        return Keys(board, self.seasons()[board])

    def known_seasons(self) -> MappingProxyType[str, int] | None:
        """The same without waiting for Postgres; None before they were read."""
        return self._seasons

    def seasons(self) -> MappingProxyType[str, int]:
        """The current season of every board."""
        if self._seasons is None:
            with self._lock:
                if self._seasons is None:
                    with self._engine.begin() as connection:
                        self._seasons = MappingProxyType(_synchronise(connection, self._catalogue))
        return self._seasons


def _synchronise(connection: Connection, catalogue: Catalogue) -> dict[str, int]:
    """Give each board of the catalogue its row and a first season; repeatable, safe at the same time."""
    for board in sorted(catalogue.boards.values(), key=lambda board: board.name):
        parameters = {"name": board.name, "title": board.title}
        connection.execute(
            text(
                "INSERT INTO boards (name, title) VALUES (:name, :title) ON CONFLICT (name) DO UPDATE"
                " SET title = excluded.title, updated_at = now() WHERE boards.title <> excluded.title"
            ),
            parameters,
        )
        connection.execute(
            text("INSERT INTO seasons (board, number) VALUES (:name, 1) ON CONFLICT (board, number) DO NOTHING"),
            parameters,
        )
    rows = connection.execute(text("SELECT name, season FROM boards"))
    return {row.name: row.season for row in rows if row.name in catalogue.boards}
