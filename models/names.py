"""Task, queue and channel names, shared by sender and receiver."""

from __future__ import annotations

from typing import Final

APPLY_QUEUE: Final = "apply"
MAINTENANCE_QUEUE: Final = "maintenance"

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

#: In Redis while a worker takes tasks from the apply queue.
WORKER_SEEN_KEY: Final = "sb:worker:seen"
WORKER_SEEN_SECONDS: Final = 10
#: In Redis: which of several beats acts.
BEAT_KEY: Final = "sb:beat:acts"
#: In Redis: how many sockets each socket process holds, and when it said so.
SOCKETS_OPEN_KEY: Final = "sb:sockets:open"

#: Where each task goes; the sender routes by this and the worker consumes these queues.
TASK_QUEUES: Final = {
    APPLY_SHARD: APPLY_QUEUE,
    SWEEP: MAINTENANCE_QUEUE,
    REPAIR: MAINTENANCE_QUEUE,
    SAMPLE: MAINTENANCE_QUEUE,
    FORGET: MAINTENANCE_QUEUE,
    HEARTBEAT: APPLY_QUEUE,
    SEAL: MAINTENANCE_QUEUE,
    TELL: MAINTENANCE_QUEUE,
}
#: Every queue, in one order: all who declare them do it alike.
QUEUES: Final = (APPLY_QUEUE, MAINTENANCE_QUEUE)
