"""The worker's figures; each process writes its own, `/metrics` adds them up."""

from __future__ import annotations

import time
from collections.abc import Iterable, Sequence
from typing import Final

from prometheus_client import Counter, Gauge, Histogram

from models.boards.agreement import Cause
from models.observers import observe_all
from models.pipeline.drain import DrainObserver
from models.pipeline.ledger import AppliedUpdate
from models.pipeline.repair import Comparison

LATENCY_BUCKETS: Final = (0.002, 0.005, 0.01, 0.02, 0.03, 0.05, 0.1, 0.2, 0.5, 1.0, 2.0, 5.0, 10.0, 60.0)

APPLIED = Counter("scoreboard_updates_applied_total", "History rows written by the worker.")
REJECTED = Counter("scoreboard_updates_rejected_total", "Accepted updates parked in dead_letters.")
HELD = Counter("scoreboard_updates_held_total", "Accepted updates that quarantine holds back.")
BATCH_ROWS = Histogram(
    "scoreboard_apply_batch_rows", "Inbox rows a transaction settled.", buckets=(1, 2, 5, 10, 20, 50, 100, 200, 500)
)
BATCH_SECONDS = Histogram(
    "scoreboard_apply_batch_seconds", "One apply transaction, commit included.", buckets=LATENCY_BUCKETS
)
ACCEPTED_TO_APPLIED = Histogram(
    "scoreboard_accepted_to_applied_seconds", "From the inbox row to its commit in the ledger.", buckets=LATENCY_BUCKETS
)
ACCEPTED_TO_PUBLISHED = Histogram(
    "scoreboard_accepted_to_published_seconds", "From the inbox row to the event in Redis.", buckets=LATENCY_BUCKETS
)
SWEPT = Counter("scoreboard_sweeps_total", "What the sweeper and the lookouts had to do.", ["what"])
# Moments are those of the last process that did it, so they stay when it ends.
SWEPT_AT = Gauge(
    "scoreboard_swept_timestamp_seconds", "When the sweeper last looked (Unix time).", multiprocess_mode="max"
)
COMPARED_AT = Gauge(
    "scoreboard_compared_timestamp_seconds",
    "When a board was last held against Postgres, and mended where it differed (Unix time).",
    ["board", "how"],
    multiprocess_mode="max",
)
SEALED_AT = Gauge(
    "scoreboard_sealed_timestamp_seconds", "When all that was due was last sealed (Unix time).", multiprocess_mode="max"
)
COMPARED = Counter("scoreboard_players_compared_total", "Players held against Postgres.", ["how"])
PLAYERS_REPAIRED = Counter(
    "scoreboard_players_repaired_total", "Players found to differ from Postgres, and mended.", ["board", "cause"]
)
REPAIRED = Counter("scoreboard_boards_repaired_total", "Boards found to differ from Postgres, and rebuilt.", ["board"])
FORGOTTEN = Counter("scoreboard_forgotten_total", "Rows that no longer mattered.", ["what"])
SEALED = Counter("scoreboard_sealed_rows_total", "Rows of history and acts that were sealed.")
REBUILDS = Counter("scoreboard_rebuilds_total", "Boards built from Postgres by a worker.", ["board"])


def begin(boards: Iterable[str]) -> None:
    """Show the boards' repairs as 0: a first one is seen as growth only when there was a 0 before it."""
    for board in boards:
        REPAIRED.labels(board)
        for cause in Cause:
            PLAYERS_REPAIRED.labels(board, cause)


def observer() -> DrainObserver:
    """Counts what a drain does."""
    return DrainObserver(batch=_batch, applied=_applied, published=_published, rejected=REJECTED.inc, held=HELD.inc)


def rebuilt(board: str, _seconds: float) -> None:
    """Count a board that this worker built."""
    REBUILDS.labels(board).inc()


def compared(found: Comparison, how: str) -> None:
    """Count a comparison and what it mended."""
    COMPARED.labels(how).inc(found.players)
    COMPARED_AT.labels(found.board, how).set_to_current_time()
    for cause, players in found.causes.items():
        PLAYERS_REPAIRED.labels(found.board, cause).inc(players)
    if found.rebuilt and not found.is_missing:
        REPAIRED.labels(found.board).inc()


def _batch(rows: int, seconds: float) -> None:
    BATCH_ROWS.observe(rows)
    BATCH_SECONDS.observe(seconds)


def _applied(updates: Sequence[AppliedUpdate]) -> None:
    APPLIED.inc(len(updates))
    _observe_ages(ACCEPTED_TO_APPLIED, updates)


def _published(updates: Sequence[AppliedUpdate]) -> None:
    _observe_ages(ACCEPTED_TO_PUBLISHED, updates)


def _observe_ages(histogram: Histogram, updates: Sequence[AppliedUpdate]) -> None:
    now = time.time()
    observe_all(histogram, [max(0.0, now - update.accepted_at / 1e6) for update in updates])
