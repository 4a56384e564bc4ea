"""What beat sends, how often, and how it keeps time."""

from __future__ import annotations

import time
from datetime import UTC, datetime, timedelta
from typing import Any, Final

import kombu
import structlog
from celery import beat
from celery.schedules import schedule
from kombu.utils.objects import cached_property

from models import names
from models.settings import Settings
from models.storage.broker import SEND_TIMEOUT_SECONDS, WAITING_MOST, is_rabbitmq
from models.storage.redis import open_redis
from worker.lease import RENEW_SECONDS, Lease
from worker.pulse import Pulse

SWEEP_SECONDS: Final = 1.0
HEARTBEAT_SECONDS: Final = 2.0
SAMPLE_SECONDS: Final = 10.0
REPAIR_SECONDS: Final = 60.0
FORGET_SECONDS: Final = 60.0
SEAL_SECONDS: Final = 5.0
TELL_SECONDS: Final = 5.0
#: A Redis that is frozen may keep a tick for so long, once a second.
LEASE_TIMEOUT_SECONDS: Final = 0.3

log = structlog.get_logger(__name__)

_BEGAN: Final = datetime.now(UTC), time.monotonic()


def steady_now() -> datetime:
    """The time of day by a clock that nobody sets: after a jump back by an hour beat would send nothing for an hour."""
    began, monotonic = _BEGAN
    return began + timedelta(seconds=time.monotonic() - monotonic)


def _every(task: str, seconds: float, queue: str = names.MAINTENANCE_QUEUE, *arguments: str) -> dict[str, Any]:
    # A tick that was not taken before the next ones came is worth nothing: RabbitMQ lets it lapse, so none pile up. Not
    # by Celery's `expires`, a time of day: a worker whose clock is ahead would throw every tick away.
    return {
        "task": task,
        "schedule": schedule(timedelta(seconds=seconds), nowfun=steady_now),
        "args": arguments,
        "options": {"expiration": max(5.0, seconds), "queue": queue},
    }


def schedule_of(shards: int) -> dict[str, dict[str, Any]]:
    """What beat sends in an installation with so many shards."""
    heartbeats = {
        f"heartbeat of {queue}": _every(names.HEARTBEAT, HEARTBEAT_SECONDS, queue, queue)
        for queue in names.apply_queues(shards)
    }
    return {
        "sweep": _every(names.SWEEP, SWEEP_SECONDS),
        **heartbeats,
        "sample": _every(names.SAMPLE, SAMPLE_SECONDS),
        "repair": _every(names.REPAIR, REPAIR_SECONDS),
        "forget": _every(names.FORGET, FORGET_SECONDS),
        "seal": _every(names.SEAL, SEAL_SECONDS),
        "tell": _every(names.TELL, TELL_SECONDS),
    }


class Ticker(beat.Scheduler):
    """Celery's scheduler, in memory: no tick is worth remembering. In a Redis, where nothing lapses, few may wait.

    Of several beats one acts; what is due when another takes over is sent once.
    """

    def __init__(self, *arguments: Any, **options: Any) -> None:
        settings = Settings.from_env()
        self._lease = Lease(open_redis(settings.redis_url, command_timeout_seconds=LEASE_TIMEOUT_SECONDS))
        self._pulse = Pulse(settings.data_dir, "beat")
        super().__init__(*arguments, **options)

    @cached_property
    def connection(self) -> kombu.Connection:
        """The connection that ticks are sent over."""
        connection: kombu.Connection = self.app.connection_for_write()
        connection.on_wait = self._pulse.turn  # type: ignore[attr-defined]  # it is one of worker/connection.py's
        return connection

    def tick(self, *arguments: Any, **options: Any) -> float:
        """Send what is due if it is for this beat to do; gives the seconds until the next look."""
        self._pulse.turn()
        if not self._lease.held():
            return RENEW_SECONDS
        wait: float = super().tick(*arguments, **options)
        return min(wait, RENEW_SECONDS)

    def close(self) -> None:
        """Let another beat act at once."""
        self._lease.release()
        super().close()

    def apply_async(self, entry: Any, producer: Any = None, advance: bool = True, **options: Any) -> Any:
        """Send a tick, unless as many wait as anybody needs."""
        if self._waiting(entry.options["queue"]) >= WAITING_MOST:
            log.info("a tick is left out: nobody takes them", **{"event.action": "tick"}, task=entry.task)
            return None
        try:
            return super().apply_async(entry, producer=producer, advance=advance, **options)
        except beat.SchedulingError:
            self._lease.step_back()  # another one's way to the broker may be better
            raise

    def _waiting(self, queue: str) -> int:
        """How many messages wait in a Redis' queue; 0 when that cannot be told: sending will say why."""
        if is_rabbitmq(self.app.conf.broker_url):
            return 0
        with self.app.pool.acquire(block=True) as connection:
            try:
                return int(connection.default_channel.queue_declare(queue).message_count)
            except (*connection.connection_errors, *connection.channel_errors) as error:
                log.warning("a queue cannot be counted", **{"event.action": "tick"}, error=type(error))
                connection.collect(SEND_TIMEOUT_SECONDS)  # the next count begins with a new connection
                return 0
