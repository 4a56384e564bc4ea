"""The tasks, each one call into models; what they return is what Flower shows."""

from __future__ import annotations

from dataclasses import asdict
from functools import partial
from typing import Any

import redis
import structlog

from models import names
from models.accounts import tokens
from models.boards import events
from models.errors import NotReady
from models.pipeline import repair as repairs
from models.pipeline import sweep as sweeps
from models.pipeline import wake
from worker import metrics
from worker.app import app, process

log = structlog.get_logger(__name__)


@app.task(name=names.APPLY_SHARD, acks_late=False)
def apply_shard(shard: int) -> dict[str, Any]:
    """Drain a shard; says how many rows were applied and rejected, in how many batches and seconds."""
    client = process.stores.redis
    _flag(partial(wake.hold_flag, client, shard))
    drained = process.drain.drain(shard, rest=lambda: _flag(partial(wake.lower_flag, client, shard)))
    if drained.applied or drained.rejected:
        log.info(
            "shard drained",
            **{"event.action": "apply", "event.duration": int(drained.seconds * 1e9)},
            shard=shard,
            applied=drained.applied,
            rejected=drained.rejected,
            batches=drained.batches,
        )
    return asdict(drained)


@app.task(name=names.SWEEP)
def sweep() -> dict[str, Any]:
    """Wake shards whose rows nobody settles, and finish refreshes whose worker died."""
    stores = process.stores
    shards = sweeps.shards_to_wake(stores.engine)
    for shard in shards:
        apply_shard.apply_async((shard,), expires=10)
        metrics.SWEPT.labels("shard_woken").inc()
    try:
        finished = sweeps.finish_refreshes(stores.engine, stores.ranking, partial(events.publish, stores.redis))
    except (NotReady, redis.RedisError) as error:
        log.warning("refreshes wait for Redis", **{"event.action": "sweep"}, error=str(error))
        finished = 0
    metrics.SWEPT.labels("refresh_finished").inc(finished)
    return {"woken": shards, "refreshes_finished": finished}


@app.task(name=names.REPAIR)
def repair() -> dict[str, Any]:
    """Compare every board with Postgres and rebuild those that differ."""
    stores = process.stores
    found = {}
    for board in stores.catalogue.boards:
        comparison = repairs.repair(stores.engine, stores.ranking, stores.registry, board)
        if not comparison.agrees:
            metrics.REPAIRED.labels(board).inc()
            log.error(
                "a board differed from Postgres and was rebuilt",
                **{"event.action": "repair"},
                board=board,
                missing=len(comparison.missing),
                differing=len(comparison.differing),
                surplus=comparison.surplus,
            )
        found[board] = comparison.agrees
    return found


@app.task(name=names.FORGET)
def forget() -> dict[str, int]:
    """Delete revocations and token families that have expired."""
    with process.stores.engine.begin() as connection:
        return {"forgotten": tokens.forget_expired(connection)}


@app.task(name=names.HEARTBEAT)
def heartbeat() -> None:
    """Say that a worker takes tasks from the apply queue."""
    _flag(partial(process.stores.redis.set, names.WORKER_SEEN_KEY, b"1", ex=names.WORKER_SEEN_SECONDS))


def _flag(change: Any) -> None:
    """Set or lower a hint in Redis; without Redis there are more wake-ups, or later ones, and nothing else."""
    try:
        change()
    except redis.RedisError as error:
        log.warning("a hint in Redis cannot be changed", **{"event.action": "wake"}, error=str(error))
