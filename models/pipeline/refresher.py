"""Refreshes the boards of a committed batch and publishes it. Where Redis is away, the mark stays for the sweeper."""

from __future__ import annotations

import time
from collections import defaultdict
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Final

import redis
import structlog

from models.boards import events
from models.boards.events import Applied, BoardChanged
from models.boards.rebuild import Ranking
from models.errors import NotReady
from models.pipeline.ledger import AppliedUpdate, Batch, BoardSeason
from models.pipeline.traced import TracedBatch

if TYPE_CHECKING:
    from models.tracing.tracing import Tracing

#: After Redis failed to answer it is left alone for this long; the marks stay and the sweeper finishes them.
REDIS_PAUSE_SECONDS: Final = 1.0

log = structlog.get_logger(__name__)


class Refresher:
    """Of one worker process; calls come one after the other."""

    def __init__(
        self,
        client: redis.Redis,
        ranking: Ranking,
        on_published: Callable[[Sequence[AppliedUpdate]], object],
        tracing: Tracing | None,
    ) -> None:
        """`on_published` hears of updates that were published."""
        self._client = client
        self._ranking = ranking
        self._on_published = on_published
        self._tracing = tracing
        self._redis_rests_until = float("-inf")

    def refresh(self, batch: Batch, shard: int) -> int | None:
        """Refresh the boards and publish; how many, None when Redis is away (the mark stays)."""
        traced = TracedBatch(self._tracing, batch, shard) if self._tracing is not None else None
        if time.monotonic() < self._redis_rests_until:
            return None
        by_board: dict[BoardSeason, list[AppliedUpdate]] = defaultdict(list)
        for update in batch.applied:
            by_board[update.board, update.season].append(update)
        try:
            for (board, season), standings in batch.standings.items():
                begun_ns = time.time_ns() if traced is not None else 0
                version = self._ranking.refresh(board, season, standings)
                event = _board_changed(board, season, version or 0, by_board[board, season])
                if traced is None:
                    events.publish(self._client, event)
                else:
                    event = self._publish_traced(traced, (board, season), event, begun_ns)
                log.info(
                    "published",
                    **{"event.action": "publish", "http.request.id": list(event.request_ids)},
                    board=board,
                    version=version,
                    updates=len(event.applied),
                )
        except (NotReady, redis.RedisError) as error:
            self._redis_rests_until = time.monotonic() + REDIS_PAUSE_SECONDS
            log.warning("the boards cannot be refreshed now", **{"event.action": "refresh"}, error=error)
            return None
        self._on_published(batch.applied)
        return len(batch.standings)

    def _publish_traced(
        self, traced: TracedBatch, board: BoardSeason, event: BoardChanged, begun_ns: int
    ) -> BoardChanged:
        traced.refreshed(board, event.version, begun_ns=begun_ns)
        publishing = traced.publishing(board, event)
        try:
            events.publish(self._client, publishing.event)
        except redis.RedisError as error:
            publishing.done(error)
            raise
        publishing.done()
        return publishing.event


def _board_changed(board: str, season: int, version: int, updates: list[AppliedUpdate]) -> BoardChanged:
    """The event of a batch on one board."""
    return BoardChanged(
        board=board,
        season=season,
        version=version,
        published_at=events.now(),
        oldest_accepted_at=min(update.accepted_at for update in updates),
        request_ids=tuple(dict.fromkeys(update.request_id for update in updates)),
        applied=tuple(
            Applied(u.user_id, u.action_id, u.previous_score, u.score_increment, u.new_score) for u in updates
        ),
    )
