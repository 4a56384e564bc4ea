"""Sweeps up what a wake-up or a worker lost on its way: the guarantee behind every hint (I7)."""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import Final

from sqlalchemy import Connection, Engine, text

from models.boards import events, standings
from models.boards.events import BoardChanged
from models.boards.rebuild import Ranking
from models.pipeline import inbox

#: A row that waits this long was not woken for.
OLD_SECONDS: Final = 1.0
#: A batch whose boards were not confirmed in Redis for this long lost its worker.
UNREFRESHED_SECONDS: Final = 2.0
#: Marks a transaction finishes; many name the same players, who are then refreshed once.
_MARKS_MOST: Final = 500
#: Players a call of Redis', about 5 ms of its time.
_PLAYERS_MOST: Final = 500
#: How long one sweep goes on; the next comes a second after this one began.
SWEEP_SECONDS: Final = 2.0


def shards_to_wake(engine: Engine) -> list[int]:
    """The shards in which rows wait that somebody should have settled by now."""
    with engine.connect() as connection:
        return inbox.waiting_shards(connection, older_than_seconds=OLD_SECONDS)


def finish_refreshes(engine: Engine, ranking: Ranking, publish: events.Publisher) -> int:
    """Tell Redis of committed batches whose worker died, or that Redis was away for; returns how many were finished.

    Scores are read anew and put in with their versions, so finishing a batch twice, or late, changes nothing (I5).
    Goes on until none is left or SWEEP_SECONDS are over: a minute without Redis leaves thousands.

    Raises:
        NotReady, redis.RedisError: Redis is away; the marks stay.
    """
    finished = 0
    deadline = time.monotonic() + SWEEP_SECONDS
    while time.monotonic() < deadline:
        some = _finish_some(engine, ranking, publish)
        finished += some
        if some < _MARKS_MOST:
            break
    return finished


def _finish_some(engine: Engine, ranking: Ranking, publish: events.Publisher) -> int:
    with engine.begin() as connection:
        marks = connection.execute(
            text(
                "SELECT id, user_ids FROM refreshes"
                " WHERE created_at < clock_timestamp() - make_interval(secs => :seconds)"
                " ORDER BY id LIMIT :most FOR UPDATE SKIP LOCKED"
            ),
            {"seconds": UNREFRESHED_SECONDS, "most": _MARKS_MOST},
        ).all()
        user_ids = sorted({str(user_id) for mark in marks for user_id in mark.user_ids})
        for start in range(0, len(user_ids), _PLAYERS_MOST):
            _tell(connection, ranking, publish, user_ids[start : start + _PLAYERS_MOST])
        connection.execute(text("DELETE FROM refreshes WHERE id = ANY(:ids)"), {"ids": [mark.id for mark in marks]})
    return len(marks)


def tell_of(engine: Engine, ranking: Ranking, publish: events.Publisher, user_ids: Sequence[str]) -> None:
    """Tell Redis and the sockets of these players' committed scores now; their mark stays for who comes by later.

    Raises:
        NotReady, redis.RedisError: Redis is away; the sweeper does it.
    """
    with engine.connect() as connection:
        _tell(connection, ranking, publish, user_ids)


def _tell(connection: Connection, ranking: Ranking, publish: events.Publisher, user_ids: Sequence[str]) -> None:
    for (board, season), changed in standings.of_players(connection, user_ids).items():
        version = ranking.refresh(board, season, changed)
        publish(BoardChanged(board, season, version or 0, events.now(), events.now(), (), ()))
