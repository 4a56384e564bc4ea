"""Sweeps up what a wake-up or a worker lost on its way: the guarantee behind every hint (I7)."""

from __future__ import annotations

from typing import Final

from sqlalchemy import Engine, text

from models.boards import events, standings
from models.boards.events import BoardChanged
from models.boards.rebuild import Ranking
from models.pipeline import inbox

#: A row that waits this long was not woken for.
OLD_SECONDS: Final = 1.0
#: A batch whose boards were not confirmed in Redis for this long lost its worker.
UNREFRESHED_SECONDS: Final = 2.0
_BATCHES_MOST: Final = 50


def shards_to_wake(engine: Engine) -> list[int]:
    """The shards in which rows wait that somebody should have settled by now."""
    with engine.connect() as connection:
        return inbox.waiting_shards(connection, older_than_seconds=OLD_SECONDS)


def finish_refreshes(engine: Engine, ranking: Ranking, publish: events.Publisher) -> int:
    """Tell Redis of committed batches whose worker died before it could; returns how many were finished.

    Scores are read anew and put in with their versions, so finishing a batch twice, or late, changes nothing (I5).

    Raises:
        NotReady, redis.RedisError: Redis is away; the marks stay.
    """
    with engine.begin() as connection:
        marks = connection.execute(
            text(
                "SELECT id, user_ids FROM refreshes"
                " WHERE created_at < clock_timestamp() - make_interval(secs => :seconds)"
                " ORDER BY id LIMIT :most FOR UPDATE SKIP LOCKED"
            ),
            {"seconds": UNREFRESHED_SECONDS, "most": _BATCHES_MOST},
        ).all()
        if not marks:
            return 0
        user_ids = sorted({str(user_id) for mark in marks for user_id in mark.user_ids})
        for (board, season), changed in standings.of_players(connection, user_ids).items():
            version = ranking.refresh(board, season, changed)
            publish(BoardChanged(board, season, version or 0, events.now(), events.now(), (), ()))
        connection.execute(text("DELETE FROM refreshes WHERE id = ANY(:ids)"), {"ids": [mark.id for mark in marks]})
    return len(marks)
