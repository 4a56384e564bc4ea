"""Redis' events → the hub: one subscription a process, watched, and every gap answered by reading anew.

What redis-py 8.1 leaves to its user: a PubSub's health checks never look at their answers, and what is published
while it reconnects is lost without a word. So we ping it ourselves and leave a connection that has gone silent, and
every confirmation of a subscription counts as a gap.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from typing import Any, Final, Protocol

import msgspec
import redis
import structlog

from models.boards import events
from models.boards.events import BoardChanged
from web.live import metrics

log = structlog.get_logger(__name__)

#: A quiet connection is pinged this often …
PING_SECONDS: Final = 1.0
#: … and left when nothing, not even a pong, came for this long.
SILENT_SECONDS: Final = 3.0
#: Between attempts to subscribe anew.
RETRY_SECONDS: Final = 0.5


class Listening(Protocol):
    """The hub, as the feed uses it."""

    def changed(self, event: BoardChanged) -> None: ...
    def missed(self) -> None: ...


class Feed:
    """The subscription to all boards' events."""

    def __init__(
        self,
        client: redis.Redis,
        boards: Sequence[str],
        hub: Listening,
        *,
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        self._client = client
        self._channels = [events.channel_of(board) for board in boards]
        self._hub = hub
        self._sleep = sleep
        self._stopping = False
        self._heard_at = float("-inf")

    @property
    def alive(self) -> bool:
        """Whether the subscription was heard of lately."""
        return time.monotonic() - self._heard_at < SILENT_SECONDS

    def stop(self) -> None:
        """Make `run` return within about a second."""
        self._stopping = True

    def run(self) -> None:
        """Listen until `stop`; survives whatever Redis does."""
        while not self._stopping:
            try:
                self._listen()
            except (redis.RedisError, OSError) as error:
                log.warning("feed lost", **{"event.action": "feed-lost"}, error=error)
            except Exception:
                log.exception("feed failed", **{"event.action": "feed-failed"})
            if not self._stopping:
                self._sleep(RETRY_SECONDS)

    def _listen(self) -> None:
        pubsub = self._client.pubsub()  # type: ignore[no-untyped-call]
        try:
            pubsub.subscribe(*self._channels)
            heard_at = pinged_at = time.monotonic()
            while not self._stopping:
                message = pubsub.get_message(timeout=PING_SECONDS)
                now = time.monotonic()
                if message is not None:
                    self._heard_at = heard_at = now
                    self._take(message)
                elif now - heard_at >= SILENT_SECONDS:
                    raise redis.ConnectionError("nothing was heard, not even an answer to our pings")
                if now - heard_at >= PING_SECONDS and now - pinged_at >= PING_SECONDS:
                    pinged_at = now
                    pubsub.ping()
        finally:
            pubsub.close()

    def _take(self, message: dict[str, Any]) -> None:
        if message["type"] == "subscribe":
            metrics.GAPS.inc()
            self._hub.missed()
        elif message["type"] == "message":
            try:
                event = events.decode(message["data"])
            except msgspec.DecodeError as error:
                log.warning("event cannot be read", **{"event.action": "event-refused"}, error=error)
                self._hub.missed()
            else:
                self._hub.changed(event)
