"""The steps of a batch's traced updates: apply, refresh and publish, each in the trace of its own request."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Final

import msgspec
import structlog

from models.boards import events
from models.boards.events import BoardChanged
from models.pipeline.ledger import AppliedUpdate, Batch, BoardSeason
from models.tracing import riding

if TYPE_CHECKING:
    from models.tracing.tracing import Step, Tracing

#: Traces a batch is told in; a game server's updates of one request are one.
TRACES_MOST: Final = 100

log = structlog.get_logger(__name__)


class TracedBatch:
    """What was done for one batch, told in the traces that ride along with its updates."""

    def __init__(self, tracing: Tracing, batch: Batch, shard: int) -> None:
        self._tracing = tracing
        begun_ns, ended_ns = batch.ran_ns or (None, None)
        self._applied: list[tuple[Step, list[AppliedUpdate]]] = []
        riders: dict[str, list[AppliedUpdate]] = {}
        for update in batch.applied:
            if riding.rides(update.request_id):
                riders.setdefault(update.request_id, []).append(update)
        for carried, updates in list(riders.items())[:TRACES_MOST]:
            step = tracing.follow(carried, "apply", "client", begun_ns=begun_ns)
            if step is not None:
                step.end(
                    {
                        "db.system.name": "postgresql",
                        "db.operation.name": "apply",
                        "db.operation.batch.size": batch.claimed,
                        "scoreboard.shard": shard,
                        "scoreboard.action.id": updates[0].action_id,
                        "scoreboard.updates": len({update.action_id for update in updates}),
                    },
                    at_ns=ended_ns,
                )
                self._applied.append((step, updates))

    def refreshed(self, board: BoardSeason, version: int | None, *, begun_ns: int) -> None:
        """The board has their scores."""
        for carried in self._of(board):
            step = self._tracing.follow(carried, "refresh", "client", begun_ns=begun_ns)
            if step is not None:
                told = {"db.system.name": "redis", "db.operation.name": "refresh", "scoreboard.board": board[0]}
                step.end({**told, "scoreboard.version": version or 0})

    def publishing(self, board: BoardSeason, event: BoardChanged) -> Publishing:
        """Their event is about to go out."""
        steps = [self._tracing.follow(carried, "publish", "producer") for carried in self._of(board)]
        return Publishing([step for step in steps if step is not None], event)

    def _of(self, board: BoardSeason) -> list[str]:
        return [step.carried for step, updates in self._applied if any(_place(each) == board for each in updates)]


class Publishing:
    """An event on its way to the sockets."""

    def __init__(self, steps: Sequence[Step], event: BoardChanged) -> None:
        self._steps = steps
        #: With the traces that go on at the sockets, and request ids alone in their place.
        self.event = msgspec.structs.replace(
            event,
            request_ids=tuple(dict.fromkeys(riding.request_id_of(each) for each in event.request_ids)),
            traces=tuple(step.carried for step in steps),
        )

    def done(self, failed: Exception | None = None) -> None:
        """It went out, or did not: then the sweeper tells the boards, in no trace."""
        event = self.event
        for step in self._steps:
            step.end(
                {
                    "messaging.system": "redis",
                    "messaging.operation.name": "publish",
                    "messaging.operation.type": "send",
                    "messaging.destination.name": events.channel_of(event.board),
                    "scoreboard.board": event.board,
                    "scoreboard.version": event.version,
                    "scoreboard.updates": len(event.applied),
                },
                failed=None if failed is None else type(failed).__name__,
            )
            if failed is None:
                trace_id, span_id = step.ids
                log.info(
                    "a traced update was published",
                    **{"event.action": "publish", "http.request.id": step.request_id},
                    **{"trace.id": trace_id, "span.id": span_id},
                    board=event.board,
                    version=event.version,
                )


def _place(update: AppliedUpdate) -> BoardSeason:
    return update.board, update.season
