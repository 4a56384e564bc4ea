"""What became of events on the sockets of this process: the last step of each traced update, and a log line.

The line has every request's id where the level is `debug`; at `info` only updates that are traced have one.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import structlog

from models.boards import events
from web.live.hub import Heard

if TYPE_CHECKING:
    from models.tracing.tracing import Tracing

log = structlog.get_logger(__name__)


class Sent:
    """Told by the hub after each look that events led to."""

    def __init__(self, tracing: Tracing | None) -> None:
        self._tracing = tracing

    def __call__(self, heard: Sequence[Heard], *, version: int, sockets: int) -> None:
        """All of a board's events that came before the look."""
        for each in heard:
            event = each.event
            if self._tracing is not None:
                for carried in event.traces:
                    self._end_trace(self._tracing, carried, each, version, sockets)
            log.debug(
                "sent",
                **{"event.action": "send", "http.request.id": list(event.request_ids)},
                board=event.board,
                version=version,
                sockets=sockets,
            )

    def _end_trace(self, tracing: Tracing, carried: str, heard: Heard, version: int, sockets: int) -> None:
        board = heard.event.board
        step = tracing.follow(carried, "send", "consumer", begun_ns=heard.at_ns)
        if step is None:
            return
        step.end(
            {
                "messaging.system": "redis",
                "messaging.operation.name": "send",
                "messaging.operation.type": "process",
                "messaging.destination.name": events.channel_of(board),
                "network.protocol.name": "websocket",
                "scoreboard.board": board,
                "scoreboard.version": version,
                "scoreboard.sockets": sockets,
            }
        )
        trace_id, span_id = step.ids
        log.info(
            "a traced update was sent",
            **{"event.action": "send", "http.request.id": step.request_id},
            **{"trace.id": trace_id, "span.id": span_id},
            board=board,
            version=version,
            sockets=sockets,
        )
