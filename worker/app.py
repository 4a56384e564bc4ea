"""The Celery application of worker, beat and Flower; each worker process opens its stores after the fork."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING, Any, Final

import click
import psycopg
import redis
import structlog
from celery import Celery, signals
from kombu import Queue
from sqlalchemy.exc import SQLAlchemyError

from models import garbage, names
from models.logs import configure_logging
from models.observers import nobody
from models.pipeline import sweep, wake
from models.pipeline.drain import Drain, Drained
from models.settings import Settings
from models.storage.broker import HEARTBEAT_SECONDS, WORKER_TIMEOUT_SECONDS, queue_arguments, transport_options
from models.stores import Stores, open_stores
from models.tracing.opening import open_tracing
from worker import messages, metrics, sayings, serving
from worker.connection import PUBLISH_RETRIES, BrokerAMQP
from worker.lookout import Lookout
from worker.pulse import Pulse
from worker.schedule import schedule_of

if TYPE_CHECKING:
    from models.tracing.tracing import Tracing

#: Between the first TERM and the end, running tasks may finish; a batch takes milliseconds.
SOFT_SHUTDOWN_SECONDS: Final = 3.0
#: Celery gives a new process 4 s to say that it lives.
WARM_UP_SECONDS: Final = 1.0

log = structlog.get_logger(__name__)


def create_app(settings: Settings) -> Celery:
    """A Celery application for these settings."""
    celery = Celery("scoreboard", broker=settings.broker_url, amqp=BrokerAMQP, include=["worker.tasks"])
    celery.conf.update(
        broker_transport_options=transport_options(settings.broker_url, sending=False),
        broker_connection_retry_on_startup=True,
        broker_connection_max_retries=None,  # an outage of any length ends by itself
        broker_connection_timeout=WORKER_TIMEOUT_SECONDS,
        broker_channel_error_retry=True,  # RabbitMQ closes a channel when a queue is not there yet, or is declared anew
        broker_heartbeat=HEARTBEAT_SECONDS,
        broker_heartbeat_checkrate=2,
        worker_consumer="worker.consumer:Consumer",
        task_queues=[
            Queue(name, queue_arguments=queue_arguments(settings.broker_url)) for name in names.queues(settings.shards)
        ],
        task_default_queue=names.MAINTENANCE_QUEUE,
        task_routes={task: {"queue": queue} for task, queue in names.TASK_QUEUES.items()},
        task_ignore_result=True,
        task_acks_late=False,  # a wake-up carries no data: the sweeper is the guarantee, not the redelivery
        task_publish_retry_policy={"max_retries": PUBLISH_RETRIES, "interval_start": 0, "interval_max": 0.2},
        task_serializer="json",
        accept_content=["json"],
        task_time_limit=60,
        worker_prefetch_multiplier=1,
        worker_send_task_events=True,  # Flower shows what each task did
        worker_hijack_root_logger=False,
        worker_redirect_stdouts=False,
        worker_soft_shutdown_timeout=SOFT_SHUTDOWN_SECONDS,
        worker_max_tasks_per_child=100_000,
        worker_cancel_long_running_tasks_on_connection_loss=False,
        beat_schedule=schedule_of(settings.shards),
        beat_scheduler="worker.schedule:Ticker",
        beat_max_loop_interval=1,
        enable_utc=True,
        timezone="UTC",
    )
    return celery


class Process:
    """What this worker process keeps open; empty in the parent, in beat and in Flower."""

    def __init__(self) -> None:
        #: Whether a task may stay with its shard for a while: all shards of this worker leave another process free.
        self.may_stay = False
        self.tracing: Tracing | None = None
        self._stores: Stores | None = None
        self._drain: Drain | None = None
        self._draining = threading.Lock()  # a task's thread and the lookout's
        self._lookout: Lookout | None = None

    def open(self) -> None:
        """Open the stores; called in each child after the fork, so that no socket is shared."""
        self._stores = open_stores(settings)
        metrics.begin(self._stores.catalogue.boards)
        self._stores.ranking.on_rebuilt = metrics.rebuilt
        self.tracing = open_tracing(settings, "scoreboard-worker")
        self._drain = self._stores.drain(metrics.observer(), self.tracing)
        self._warm_up()

    def _warm_up(self) -> None:
        """Connect, plan, and take what waits already, so that the first wake-up need not."""
        try:
            for shard in range(settings.shards):
                self.apply(shard, deadline_seconds=WARM_UP_SECONDS / settings.shards)
            log.info("warmed up", **{"event.action": "warm-up"})
        except (psycopg.Error, SQLAlchemyError) as error:
            log.info("not warmed up", **{"event.action": "warm-up"}, error=error)

    def look_out(self) -> None:
        """Have a thread stand in for queues that nobody takes."""
        stores = self.stores
        waiting = lambda: sweep.shards_to_wake(stores.engine)  # noqa: E731
        self._lookout = Lookout(stores.redis, settings.shards, waiting, self.stand_in)
        self._lookout.start()

    def apply(self, shard: int, **options: Any) -> Drained:
        """Drain a shard, see `Drain.drain`, and log it when there was something."""
        with self._draining:
            drained = self.drain.drain(shard, **options)
        if drained.applied or drained.rejected or drained.held:
            log.info(
                "shard drained",
                **{"event.action": "apply", "event.duration": int(drained.seconds * 1e9)},
                shard=drained.shard,
                applied=drained.applied,
                rejected=drained.rejected,
                held=drained.held,
                batches=drained.batches,
            )
        return drained

    def attend(self, shard: int, send_relief: Callable[[], None] | None) -> Drained:
        """Drain a shard for which we were sent, and stay for what comes; then `send_relief` sends for another.

        Without one we go when the shard is empty.
        """
        client = self.stores.redis
        hint(partial(wake.hold_flag, client, shard))
        rest = partial(hint, partial(wake.lower_flag, client, shard))
        if send_relief is None:
            return self.apply(shard, rest=rest)
        with wake.Attendance(client, shard, send_relief) as attendance:
            return self.apply(shard, rest=rest, called=attendance.called, leaves=attendance.leaves)

    def stand_in(self, shard: int) -> None:
        """Do that of our own accord, since nobody is sent for it."""
        self.attend(shard, nobody)
        metrics.SWEPT.labels("stood_in").inc()

    def close(self) -> None:
        """Close them."""
        if self._lookout is not None:
            self._lookout.stop()
            self._lookout = None
        if self._drain is not None:
            self._drain.close()
        if self._stores is not None:
            self._stores.close()
        if self.tracing is not None:
            self.tracing.close()
        self._drain = self._stores = self.tracing = None

    @property
    def stores(self) -> Stores:
        """The open stores."""
        if self._stores is None:
            self.open()
        assert self._stores is not None  # noqa: S101 - open() sets it
        return self._stores

    @property
    def drain(self) -> Drain:
        """The one drain of this process."""
        if self._drain is None:
            self.open()
        assert self._drain is not None  # noqa: S101 - open() sets it
        return self._drain


def hint(change: Callable[[], object]) -> None:
    """Set or lower a hint in Redis; without Redis there are more wake-ups, or later ones, and nothing else."""
    try:
        change()
    except redis.RedisError as error:
        log.warning("a hint in Redis cannot be changed", **{"event.action": "wake"}, error=error)


settings = Settings.from_env()
messages.install()
sayings.install()
app = create_app(settings)
process = Process()
pulse = Pulse(settings.data_dir, "worker")


@signals.celeryd_init.connect
@signals.setup_logging.connect
def _set_up_logging(**_: Any) -> None:
    """As early as Celery lets us: its first words are a warning."""
    command = click.get_current_context(silent=True)
    beats = command is not None and command.info_name == "beat"
    configure_logging("scoreboard-beat" if beats else "scoreboard-worker", settings.log_level)
    sayings.adopt_the_pools()
    logging.captureWarnings(capture=True)


@signals.celeryd_init.connect
def _serve_figures(**_: Any) -> None:
    """Before the first fork: a port that is taken ends the worker at once, and says so."""
    if settings.worker_metrics_port:
        serving.serve(settings.host, settings.worker_metrics_port, settings.metrics_dir)


@signals.celeryd_after_setup.connect
def _count_processes(instance: Any, **_: Any) -> None:
    taken = instance.app.amqp.queues.consume_from
    own = [shard for shard in range(settings.shards) if names.apply_queue(shard, settings.shards) in taken]
    process.may_stay = len(own) < instance.concurrency


@signals.heartbeat_sent.connect
def _turn(**_: Any) -> None:
    """The worker's loop sends its heartbeats itself."""
    pulse.turn()


@signals.worker_process_init.connect
def _open(**_: Any) -> None:
    process.open()
    process.look_out()
    garbage.settle()


@signals.worker_process_shutdown.connect
def _close(**_: Any) -> None:
    process.close()
