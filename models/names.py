"""Task, queue and channel names, shared by sender and receiver."""

from __future__ import annotations

from typing import Final

APPLY_QUEUE: Final = "apply"
MAINTENANCE_QUEUE: Final = "maintenance"
#: Of several shards each has a queue of its own, so that workers can be given a share of them; beyond so many, shards
#: share them: each queue costs a broker memory, and a heartbeat every two seconds.
APPLY_QUEUES_MOST: Final = 16

APPLY_SHARD: Final = "scoreboard.apply_shard"
SWEEP: Final = "scoreboard.sweep"
REPAIR: Final = "scoreboard.repair"
SAMPLE: Final = "scoreboard.sample"
FORGET: Final = "scoreboard.forget"
HEARTBEAT: Final = "scoreboard.heartbeat"
SEAL: Final = "scoreboard.seal"
TELL: Final = "scoreboard.tell"

#: Of a message that wakes for a traced update: the trace to go on with.
TRACE_HEADER: Final = "scoreboard_trace"

WORKER_SEEN_SECONDS: Final = 10
#: In Redis: which of several beats acts.
BEAT_KEY: Final = "sb:beat:acts"
#: In Redis: how many sockets each socket process holds, and when it said so.
SOCKETS_OPEN_KEY: Final = "sb:sockets:open"

#: Where each task goes that has one place; the sender routes by this and the worker consumes these queues.
TASK_QUEUES: Final = {
    SWEEP: MAINTENANCE_QUEUE,
    REPAIR: MAINTENANCE_QUEUE,
    SAMPLE: MAINTENANCE_QUEUE,
    FORGET: MAINTENANCE_QUEUE,
    SEAL: MAINTENANCE_QUEUE,
    TELL: MAINTENANCE_QUEUE,
}
#: Those that go to a shard's queue, `apply_queue`.
APPLY_TASKS: Final = (APPLY_SHARD, HEARTBEAT)


def apply_queue(shard: int, shards: int) -> str:
    """The queue that a shard's wake-ups go to, of an installation with so many shards."""
    return APPLY_QUEUE if shards == 1 else f"{APPLY_QUEUE}.{shard % min(shards, APPLY_QUEUES_MOST)}"


def apply_queues(shards: int) -> tuple[str, ...]:
    """All queues for wake-ups."""
    return tuple(apply_queue(shard, shards) for shard in range(min(shards, APPLY_QUEUES_MOST)))


def queues(shards: int) -> tuple[str, ...]:
    """Every queue, in one order: all who declare them do it alike."""
    return (*apply_queues(shards), MAINTENANCE_QUEUE)


def seen_key(queue: str) -> str:
    """In Redis while a worker takes tasks from an apply queue."""
    return "sb:worker:seen" if queue == APPLY_QUEUE else f"sb:worker:seen:{queue}"


def stand_in_key(shard: int) -> str:
    """In Redis while a worker process stands in for those who would take the shard's queue."""
    return f"sb:stand_in:{shard}"
