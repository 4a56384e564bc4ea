"""Reads players' history at the replica if that has all that the player can have been told of, else at the primary."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from sqlalchemy import Connection, Engine
from sqlalchemy.exc import SQLAlchemyError

from models import deadlines
from models.pipeline import ledger
from models.pipeline.ledger import HistoryCursor, HistoryEntry
from models.storage.replica import ANSWER_SECONDS, Replica


class HistoryReader:
    """Pages of history, never older than what their player was told before (read-your-writes).

    What a player was told of, by an answer, a socket or a board, the primary had committed by then. So the primary says
    how often the player's scores have changed, by one look into an index; a replica that knows as many changes has the
    same rows, since what it has is always the primary's history up to some point.
    """

    def __init__(self, engine: Engine, replica: Replica) -> None:
        self._engine = engine
        self._replica = replica

    def page(
        self, user_id: str, seasons: Sequence[tuple[str, int]], *, before: HistoryCursor | None, limit: int
    ) -> list[HistoryEntry]:
        """As `ledger.history`."""

        def read(connection: Connection) -> list[HistoryEntry]:
            return ledger.history(connection, user_id, seasons, before=before, limit=limit)

        found = self._at_replica(user_id, read)
        if found is not None:
            return found
        with self._engine.connect() as connection:
            return read(connection)

    def _at_replica(self, user_id: str, read: Callable[[Connection], list[HistoryEntry]]) -> list[HistoryEntry] | None:
        if not self._replica.is_near():
            return None
        with self._engine.connect() as connection:
            changes = ledger.changes(connection, user_id)
        found = None
        try:
            with deadlines.within(min(ANSWER_SECONDS, deadlines.remaining())), self._replica.connect() as connection:
                if ledger.changes(connection, user_id) >= changes:
                    found = read(connection)
        except SQLAlchemyError as error:
            self._replica.distrust(error)
        self._replica.on_read(found is not None)
        return found
