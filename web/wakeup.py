"""Calls a worker: one that listens, or one by Celery, to which nobody else sends. A hint, never waited for (I7)."""

from __future__ import annotations

import threading
from collections import defaultdict
from typing import TYPE_CHECKING, Final

import redis
import structlog
from kombu.exceptions import OperationalError

from models import names
from models.pipeline import wake
from models.settings import Settings
from models.storage.broker import WAITING_MOST
from web.broker import Sender

if TYPE_CHECKING:
    from models.tracing.tracing import Step, Tracing

#: Wake-ups of a process are at least this far apart under load; alone, one goes out at once.
PAUSE_SECONDS: Final = 0.01
#: While a worker drains the shard there is less to ask.
DRAINED_PAUSE_SECONDS: Final = 0.02
#: After a broker did not answer it is left alone for this long; the sweeper comes in any case.
BROKER_PAUSE_SECONDS: Final = 1.0
#: Without Redis nobody says that a wake-up is in flight: then those of a process are at least this far apart, or a
#: worker would have one for each update.
UNCOALESCED_PAUSE_SECONDS: Final = 0.1
#: A wake-up that nobody took for this long is not needed any more: the sweeper was there before.
LAPSES_SECONDS: Final = 30

_WAKE: Final = {
    "messaging.operation.name": "wake",
    "messaging.operation.type": "send",
}

log = structlog.get_logger(__name__)


class Wakeup:
    """Sends wake-ups from a thread of its own, so that no request waits for Redis or the broker."""

    def __init__(self, settings: Settings, client: redis.Redis, tracing: Tracing | None = None) -> None:
        self._client = client
        self._tracing = tracing
        self._steps: defaultdict[int, list[Step]] = defaultdict(list)  # of traced updates that wait for a wake-up
        self._shards_in_all = settings.shards
        self._sender = Sender(settings.broker_url, settings.shards)
        self._shards: set[int] = set()
        self._arrived = threading.Condition()
        self._stopping = threading.Event()
        self._thread: threading.Thread | None = None
        self._starting = threading.Lock()

    def wake(self, shard: int, carried: str = "") -> None:
        """See that somebody drains the shard soon. Never blocks, never raises.

        `carried` is the request id of who wakes; if a trace rides along, it is told of the wake-up.
        """
        if self._tracing is not None:
            self._begin_step(self._tracing, shard, carried)
        if shard in self._shards:  # it is about to be sent, after this update's commit
            return
        with self._arrived:
            self._shards.add(shard)
            self._arrived.notify()
        if self._thread is None:
            self.start()

    def _begin_step(self, tracing: Tracing, shard: int, carried: str) -> None:
        step = tracing.follow(carried, "wake", "producer")
        if step is not None:
            with self._arrived:
                self._steps[shard].append(step)

    def start(self) -> None:
        """Start the thread, for who must not wait for that when the first update comes."""
        with self._starting:
            if self._thread is None:
                self._thread = threading.Thread(target=self._send_all, name="wakeup", daemon=True)
                self._thread.start()

    def close(self) -> None:
        """Stop sending; what is not sent is swept."""
        self._stopping.set()
        with self._arrived:
            self._arrived.notify()
        if self._thread is not None:
            self._thread.join(timeout=3)
        self._sender.close()

    def _send_all(self) -> None:
        while not self._stopping.is_set():
            with self._arrived:
                while not self._shards and not self._stopping.is_set():
                    self._arrived.wait()
                shards, self._shards = self._shards, set()
                steps = {shard: self._steps.pop(shard, []) for shard in shards} if self._steps else {}
            pause = PAUSE_SECONDS
            for shard in shards:
                told = steps.get(shard, [])
                said, pause_after = self._send(shard, told)
                for step in told:
                    about: dict[str, str | int] = {
                        "messaging.destination.name": names.apply_queue(shard, self._shards_in_all),
                        "scoreboard.shard": shard,
                        "scoreboard.said": said,
                    }
                    step.end({**_WAKE, **about})
                pause = max(pause, pause_after)
            self._stopping.wait(pause)

    def _send(self, shard: int, steps: list[Step]) -> tuple[str, float]:
        """Send one wake-up unless one is in flight; what came of it, and for how long (seconds) to send none."""
        pause = PAUSE_SECONDS
        try:
            match wake.call(self._client, shard):
                case "under way":
                    return "under way", DRAINED_PAUSE_SECONDS
                case "heard":
                    return "heard", pause
        except redis.RedisError as error:
            log.warning("wake-ups are not coalesced", **{"event.action": "wake"}, error=type(error))
            pause = UNCOALESCED_PAUSE_SECONDS
        try:
            queue = names.apply_queue(shard, self._shards_in_all)
            if self._sender.waiting(queue) < WAITING_MOST:
                self._sender.send(
                    names.APPLY_SHARD,
                    (shard,),
                    queue=queue,
                    lapses_seconds=LAPSES_SECONDS,
                    headers={names.TRACE_HEADER: steps[0].carried} if steps else None,
                )
                return "sent", pause
        except OperationalError as error:
            log.warning("no wake-up; the sweeper will come", **{"event.action": "wake"}, error=error)
            return "not sent", BROKER_PAUSE_SECONDS
        return "enough wait", pause
