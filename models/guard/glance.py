"""The pipeline at a glance: only what is true of all processes together, from PostgreSQL and at little cost."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Final

from sqlalchemy import Connection, text
from sqlalchemy.exc import DBAPIError

_SQL: Final = Path(__file__).parent / "sql"
_GLANCE: Final = text((_SQL / "glance.sql").read_text("utf-8"))
#: Rows of history that are looked at for latencies: the newest seconds, and no more than so many of them.
LATENCY_SECONDS: Final = 10
LATENCY_ROWS_MOST: Final = 2_000
#: The rows are found by a BRIN index, at the end of the table. Whatever the planner thinks of that, it must not read
#: all of history once a second, nor wait for long.
_CAREFULLY: Final = text(
    "SELECT set_config('enable_seqscan', 'off', true), set_config('jit', 'off', true),"
    " set_config('statement_timeout', '500', true)"
)
_LATENCY: Final = text(
    "SELECT count(*), percentile_disc(0.5) WITHIN GROUP (ORDER BY seconds),"
    " percentile_disc(0.99) WITHIN GROUP (ORDER BY seconds)"
    " FROM (SELECT extract(epoch FROM created_at - accepted_at)::float8 AS seconds FROM score_history"
    "   WHERE created_at > now() - make_interval(secs => :seconds) AND action NOT LIKE 'moderation.%'"
    "   LIMIT :most) AS newest"
)


@dataclass(frozen=True, slots=True)
class Shard:
    """What waits in one shard; the oldest for so many seconds."""

    shard: int
    updates: int
    oldest_seconds: float


@dataclass(frozen=True, slots=True)
class Glance:
    """How things stand at one moment of PostgreSQL's clock; `accepted` only grows, so two of these make a rate."""

    at: datetime
    accepted: int
    shards: tuple[Shard, ...]
    dead_letters: int
    held_updates: int
    open_incidents: int
    restrictions: int
    unrefreshed_batches: int

    @property
    def depth(self) -> int:
        """Updates in the inbox."""
        return sum(shard.updates for shard in self.shards)

    @property
    def oldest_seconds(self) -> float:
        """How long the oldest of them has waited; 0 without any."""
        return max((shard.oldest_seconds for shard in self.shards), default=0.0)


@dataclass(frozen=True, slots=True)
class Latency:
    """From the inbox to the ledger, of updates that were applied just now (seconds)."""

    updates: int
    median_seconds: float
    p99_seconds: float


def look(connection: Connection) -> Glance:
    """How things stand now."""
    row = connection.execute(_GLANCE).one()
    return Glance(row.at, row.accepted, tuple(Shard(*shard) for shard in row.shards), *row[3:])


def latency(connection: Connection) -> Latency | None:
    """How long updates took that were applied within the last seconds; None without any, or when that takes too long.

    The caller's transaction is for this alone.
    """
    connection.execute(_CAREFULLY)
    try:
        row = connection.execute(_LATENCY, {"seconds": LATENCY_SECONDS, "most": LATENCY_ROWS_MOST}).one()
    except DBAPIError as error:
        if error.connection_invalidated:
            raise
        return None
    return Latency(row[0], row[1], row[2]) if row[0] else None
