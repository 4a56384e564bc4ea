"""The tasks, each one call into models; what they return is what Flower shows."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import asdict
from functools import partial
from typing import Any, Final

import redis
import structlog
from celery import Task
from kombu.exceptions import OperationalError

from models import names
from models.boards import events
from models.errors import NotReady
from models.guard import addresses, incidents
from models.guard.telling import Telling
from models.pipeline import forget as forgets
from models.pipeline import sweep as sweeps
from models.pipeline import tidy
from models.pipeline.repair import Comparison, Repair
from worker import metrics
from worker.app import app, hint, process, settings
from worker.presence import Presence, is_taken

#: A run's time for comparing whole boards, in which one of two processes takes no heartbeat; the next run goes on.
REPAIR_RUN_SECONDS: Final = 4.0
#: A wake-up of our own that nobody took for so long is not needed any more: the sweeper has sent others.
WAKE_UP_LAPSES_SECONDS: Final = 10
#: A first seal over a long history goes on in the next runs.
SEAL_RUN_SECONDS: Final = 4.0
QUIET_A_RUN: Final = 100

_DRAIN: Final = {
    "messaging.operation.name": "drain",
    "messaging.operation.type": "process",
}

log = structlog.get_logger(__name__)
presence = Presence()


@app.task(name=names.APPLY_SHARD, acks_late=False, bind=True)
def apply_shard(task: Task, shard: int) -> dict[str, Any]:
    """Drain a shard; says how many rows were applied and rejected, in how many batches and seconds."""
    if process.tracing is not None and (sent := task.request.get(names.TRACE_HEADER)):
        step = process.tracing.follow(sent, "drain", "consumer")
        if step is not None:  # it came; what it finds in the inbox is told by its updates' own steps
            found = {"messaging.destination.name": _queue_of(shard), "messaging.message.id": str(task.request.id)}
            step.end({**_DRAIN, **found, "scoreboard.shard": shard})
    hint(partial(presence.say, process.stores.redis, _queue_of(shard)))
    return asdict(process.attend(shard, partial(_send_for_another, shard) if process.may_stay else None))


@app.task(name=names.SWEEP)
def sweep() -> dict[str, Any]:
    """Wake shards whose rows nobody settles, finish refreshes whose worker died, and keep the inbox small."""
    stores = process.stores
    shards = [each for each in sweeps.shards_to_wake(stores.engine) if _is_taken(stores.redis, _queue_of(each))]
    for shard in shards:  # to others it would lie there, in a Redis for ever; lookouts stand in for those
        _send(shard)
    metrics.SWEPT.labels("shard_woken").inc(len(shards))
    try:
        finished = sweeps.finish_refreshes(stores.engine, stores.ranking, partial(events.publish, stores.redis))
    except (NotReady, redis.RedisError) as error:
        log.warning("refreshes wait for Redis", **{"event.action": "sweep"}, error=error)
        finished = 0
    metrics.SWEPT.labels("refresh_finished").inc(finished)
    vacuumed = tidy.vacuum_inbox(stores.engine)
    metrics.SWEPT_AT.set_to_current_time()
    return {"woken": shards, "refreshes_finished": finished, "vacuumed": vacuumed}


@app.task(name=names.SAMPLE)
def sample() -> dict[str, bool]:
    """Compare some players of every board with Postgres and mend what differs; says which boards agreed."""
    return {board: _compared(board, "sample", _repair().sample) for board in process.stores.catalogue.boards}


@app.task(name=names.REPAIR)
def repair() -> dict[str, bool]:
    """The same with all players, a part of a large board at a time."""
    boards = process.stores.catalogue.boards
    whole = partial(_repair().repair, seconds=REPAIR_RUN_SECONDS / len(boards))
    return {board: _compared(board, "whole", whole) for board in boards}


@app.task(name=names.FORGET)
def forget() -> dict[str, Any]:
    """Forget what is past its time, and make the months that history will need; says how many rows and which months."""
    months = forgets.make_months(process.stores.engine)
    stores = process.stores
    gone = forgets.forget(stores.engine)
    gone["addresses"] = addresses.forget_old(
        stores.engine, days=stores.settings.address_days, seconds=forgets.RUN_SECONDS
    )
    for what, rows in gone.items():
        metrics.FORGOTTEN.labels(what).inc(rows)
    return {"forgotten": gone, "months": months}


@app.task(name=names.SEAL)
def seal() -> dict[str, Any]:
    """Seal what was written since the last seal; says how many rows."""
    rows = 0
    deadline = time.monotonic() + SEAL_RUN_SECONDS
    for made in process.stores.sealer.seal():
        rows += made.rows
        metrics.SEALED.inc(made.rows)
        # To keep elsewhere: `audit verify --anchor` shows with it that the end of the chain was not taken away.
        log.info("sealed", **{"event.action": "seal"}, seal=made.number, rows=made.rows, hash=made.hash.hex())
        if time.monotonic() > deadline:
            break
    metrics.SEALED_AT.set_to_current_time()
    return {"rows": rows}


@app.task(name=names.TELL)
def tell() -> dict[str, int]:
    """Tell others of new incidents, and end those that are over."""
    stores = process.stores
    with stores.engine.begin() as connection:
        ended = incidents.close_quiet(connection, QUIET_A_RUN)
    return {"told": Telling(stores.engine, stores.settings).tell(), "ended": ended}


@app.task(name=names.HEARTBEAT)
def heartbeat(queue: str = names.APPLY_QUEUE) -> None:
    """Say that a worker takes tasks from an apply queue, when there are no others."""
    hint(partial(presence.say, process.stores.redis, queue))


def _send_for_another(shard: int) -> None:
    """Have another task stay with the shard; without a broker there is none until it is back, as ever."""
    try:
        _send(shard)
    except OperationalError as error:
        log.warning("nobody can be sent for", **{"event.action": "wake"}, error=type(error))


def _send(shard: int) -> None:
    apply_shard.apply_async((shard,), queue=_queue_of(shard), expiration=WAKE_UP_LAPSES_SECONDS)


def _queue_of(shard: int) -> str:
    return names.apply_queue(shard, settings.shards)


def _is_taken(client: redis.Redis, queue: str) -> bool:
    """Whether somebody takes a shard's queue; unknown, somebody may: a wake-up too many changes nothing (I7)."""
    try:
        return is_taken(client, queue)
    except redis.RedisError:
        return True


def _repair() -> Repair:
    stores = process.stores
    return Repair(stores.engine, stores.ranking, stores.registry, partial(events.publish, stores.redis))


def _compared(board: str, how: str, compare: Callable[[str], Comparison]) -> bool:
    try:
        found = compare(board)
    except NotReady as error:
        log.warning("a board cannot be compared now", **{"event.action": "repair"}, board=board, error=error)
        return False
    metrics.compared(found, how)
    if not found.agrees:
        (log.warning if found.is_missing else log.error)(
            "a board differed from Postgres and was mended",
            **{"event.action": "repair"},
            board=board,
            how=how,
            causes=dict(found.causes),
            missing=found.is_missing,
            of_the_past=found.is_of_the_past,
            refreshed=found.refreshed,
            rebuilt=found.rebuilt,
        )
    return found.agrees
