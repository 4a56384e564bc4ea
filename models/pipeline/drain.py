"""Drains a shard: claim, apply, settle in one transaction a batch, then refresh the boards and publish.

If the process dies on any line: before the commit nothing happened and the rows are still in the inbox; after it the
batch's mark in `refreshes` says that Redis is to be told, and the sweeper does so (sweep.py).
"""

from __future__ import annotations

import time
from collections import defaultdict
from collections.abc import Callable, Sequence
from concurrent.futures import Executor, Future, ThreadPoolExecutor
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Final, Literal

import psycopg
import redis
import structlog

from models.boards.catalogue import Catalogue
from models.boards.rebuild import Ranking
from models.boards.registry import BoardRegistry
from models.observers import nobody
from models.pipeline import dead_letters, ledger
from models.pipeline.ledger import AppliedUpdate, Batch, Window, Worth
from models.pipeline.refresher import Refresher
from models.pipeline.shard_lock import LOCK_SPACE
from models.settings import Pooling
from models.storage.database import open_connection

if TYPE_CHECKING:
    from models.tracing.tracing import Tracing

#: Rows a transaction: a row costs the less the more there are. A batch of so many takes 30 to 50 ms under load.
BATCH_MOST: Final = 1_000
#: A batch at least this large shows load: the next then waits a moment, so that it is large as well.
DWELL_ROWS: Final = 5
DWELL_SECONDS: Final = 0.015
#: As many in one dwell are some 4,000 a second. Then every µs counts more than 15 ms until the screen: the next batch
#: waits twice as long, and a row costs a third less.
BUSY_ROWS: Final = 75
#: Faults of the row itself. A schema that is behind, or a server in trouble, says nothing against the row.
POISON: Final = (psycopg.DataError, psycopg.IntegrityError)
#: A row that waited this long was tried, or nobody was there to try it.
OLD_SECONDS: Final = 1.0
_LOCK: Final = "SELECT pg_advisory_xact_lock(%(space)s, %(shard)s)"
#: The lock, and whether the oldest row was tried before or is old; both in one round trip.
_LOCK_WARILY: Final = """
SELECT pg_advisory_xact_lock(%(space)s, %(shard)s), (
    SELECT attempts > 0 OR coalesce(accepted_at < clock_timestamp() - make_interval(secs => %(old)s), false)
    FROM inbox WHERE shard = %(shard)s ORDER BY seq LIMIT 1
)
"""

#: apply.sql joins rows of its own making, which the planner guesses far too few: nested loops cost it 40 of 55 ms.
#: One plan for all batches saves planning each anew (4 ms); made while the inbox is short, it must suit a long one too,
#: so it may only follow the index.
_PLANNER: Final = {
    "enable_nestloop": "off",
    "enable_seqscan": "off",
    "enable_bitmapscan": "off",
    "plan_cache_mode": "force_generic_plan",
    "jit": "off",
}
_PLAN_HERE: Final = "SELECT " + ", ".join(f"set_config('{name}', '{value}', true)" for name, value in _PLANNER.items())

#: What makes the oldest row suspicious: a connection that has just broken, that it was tried before, its age as well,
#: or nothing.
Wary = Literal["always", "tries", "age"] | None

log = structlog.get_logger(__name__)


@dataclass(slots=True)
class Drained:
    """What one drain did; a Celery task returns this, so that Flower shows the pipeline at a glance."""

    shard: int
    applied: int = 0
    rejected: int = 0
    held: int = 0
    batches: int = 0
    published: int = 0
    seconds: float = 0.0


@dataclass(frozen=True, slots=True)
class DrainObserver:
    """Who wants to know: each gets seconds or counts, for metrics."""

    batch: Callable[[int, float], None] = nobody
    applied: Callable[[Sequence[AppliedUpdate]], None] = nobody
    published: Callable[[Sequence[AppliedUpdate]], None] = nobody
    rejected: Callable[[int], None] = nobody
    held: Callable[[int], None] = nobody


class _Suspicious(Exception):
    """The oldest row of the shard was tried before, or should have been."""


class _Refreshing:
    """Refreshes the boards of a batch while the next one is applied: one at a time, in order."""

    def __init__(self, executor: Executor, refresher: Refresher, drained: Drained) -> None:
        self._executor = executor
        self._refresher = refresher
        self._drained = drained
        self._under_way: tuple[Batch, Future[int | None]] | None = None

    def begin(self, batch: Batch) -> None:
        """Begin with a committed batch; the one before must have been waited for."""
        self._under_way = batch, self._executor.submit(self._refresher.refresh, batch, self._drained.shard)

    def done(self) -> list[int]:
        """Wait until the last batch is on the boards; its mark, which may be taken away, or nothing: it stays."""
        if self._under_way is None:
            return []
        (batch, refreshing), self._under_way = self._under_way, None
        boards = refreshing.result()
        self._drained.published += boards or 0
        return [batch.refresh_id] if boards is not None and batch.refresh_id is not None else []


class Drain:
    """Applies shards' updates; one a worker process."""

    def __init__(
        self,
        database_url: str,
        client: redis.Redis,
        ranking: Ranking,
        registry: BoardRegistry,
        catalogue: Catalogue,
        observer: DrainObserver | None = None,
        tracing: Tracing | None = None,
        *,
        pooling: Pooling = "none",
    ) -> None:
        self._tracing = tracing
        self._database_url = database_url
        self._pooling = pooling
        self._registry = registry
        self._catalogue = catalogue
        self._observer = observer or DrainObserver()
        self._refresher = Refresher(client, ranking, self._observer.published, tracing)
        self._executor = ThreadPoolExecutor(1, thread_name_prefix="refresher")
        self._connection: psycopg.Connection[Any] | None = None
        self._cuts: defaultdict[int, dead_letters.Cuts] = defaultdict(dead_letters.Cuts)
        self._owed_back: tuple[int, list[int]] | None = None  # a try to be counted no longer: we lived
        self._was_wary = False

    def drain(
        self,
        shard: int,
        *,
        rest: Callable[[], None] = lambda: None,
        called: Callable[[], bool] = lambda: False,
        leaves: Callable[[], bool] = lambda: False,
        deadline_seconds: float = 20.0,
    ) -> Drained:
        """Apply what waits in a shard until nothing does, or the deadline passes.

        Args:
            rest: called once the shard seems to be empty, before the last look: after it new arrivals call somebody
                again, and what arrived before it is found by that look, so none is left lying (I7).
            called: waits for such a call; True when it came to us.
            leaves: asked before each look; True when others are to go on.

        Raises:
            psycopg.Error: Postgres is away or refuses; nothing is lost, the sweeper comes again.
        """
        drained = Drained(shard)
        started = time.monotonic()
        refreshed: list[int] = []
        refreshing = _Refreshing(self._executor, self._refresher, drained)
        rested = False
        wary: Wary = "always" if self._cuts[shard].recent else "age"  # somebody may have died on the rows that wait
        while time.monotonic() - started < deadline_seconds and not leaves():
            batch = self._apply(shard, refreshed, drained, wary=wary)
            wary = self._how_wary(shard)
            refreshed = refreshing.done()
            if batch.claimed:
                refreshing.begin(batch)
            if batch.claimed < DWELL_ROWS and not rested:  # this was all, most likely
                rest()
                rested = True
            elif batch.claimed == 0:
                if called():
                    rested = False
                elif not refreshed:  # else one look more takes the marks away
                    break
            elif DWELL_ROWS <= batch.claimed < BATCH_MOST:  # a full one has left some behind
                time.sleep(DWELL_SECONDS if batch.claimed < BUSY_ROWS else 2 * DWELL_SECONDS)
        if marks := [*refreshed, *refreshing.done()]:
            self._take_away(shard, marks, drained)
        drained.seconds = round(time.monotonic() - started, 6)
        return drained

    def close(self) -> None:
        """Close the connection; the next drain opens one."""
        if self._connection is not None:
            self._connection.close()
            self._connection = None

    def _how_wary(self, shard: int) -> Wary:
        """After a batch: rows that were tried stay suspicious until one was applied that nobody suspected."""
        self._was_wary, was_wary = False, self._was_wary
        if self._cuts[shard].recent:
            return "always"
        return "tries" if was_wary else None

    def _apply(self, shard: int, refreshed: list[int], drained: Drained, *, wary: Wary) -> Batch:
        try:
            try:
                if wary != "always":
                    return self._apply_window(shard, Window(BATCH_MOST), refreshed, drained, wary=wary)
            except _Suspicious:
                pass
            return self._apply_warily(shard, refreshed, drained)
        except POISON:
            return self._apply_around_poison(shard, drained)
        except psycopg.Error:
            self.close()
            raise

    def _take_away(self, shard: int, marks: list[int], drained: Drained) -> None:
        """Take marks away when no look follows that would: those that stay are work for the sweeper."""
        try:
            self._apply_window(shard, Window(0), marks, drained)
        except psycopg.Error:
            self.close()
            raise

    def _apply_warily(self, shard: int, refreshed: list[int], drained: Drained) -> Batch:
        """Apply rows on which somebody may have died: each try is counted before it is made (see dead_letters.py)."""
        self._was_wary = True
        connection = self._open()
        cuts = self._cuts[shard]
        seqs: list[int] = []
        try:
            with connection.transaction():
                connection.execute(_LOCK, {"space": LOCK_SPACE, "shard": shard})
                if self._owed_back is not None:
                    dead_letters.take_back(connection, *self._owed_back)
                seqs, parked = dead_letters.take_up(connection, shard, cuts)
        except psycopg.Error:
            if seqs:  # it may be counted, if only the answer was lost, and nobody tried
                self._owed_back = (shard, seqs)
            raise
        self._owed_back = None
        if parked:
            self._observer.rejected(parked)
            drained.rejected += parked
            log.error("an update was parked that cut off whoever applied it", **{"event.action": "park"}, shard=shard)
            self._cuts[shard] = dead_letters.Cuts()
        if not seqs:
            return Batch(None, parked, parked)
        try:
            return self._apply_window(shard, Window(len(seqs), upto=seqs[-1]), refreshed, drained)
        except psycopg.Error as error:
            self._owed_back = (shard, seqs)  # we live to say so
            if not connection.closed:  # Postgres lacks disk, memory or time, or names the fault: no row cut us off
                self._take_back()
                raise
            cuts.note(seqs)
            self.close()
            log.warning("cut off while applying", **{"event.action": "apply"}, shard=shard, error=error)
            return Batch(None, len(seqs), 0)

    def _take_back(self) -> None:
        """Count the try that is owed back no longer; should that fail, the next wary one does it."""
        if self._owed_back is not None:
            shard, seqs = self._owed_back
            with self._open().transaction() as transaction:
                transaction.connection.execute(_LOCK, {"space": LOCK_SPACE, "shard": shard})
                dead_letters.take_back(transaction.connection, shard, seqs)
            self._owed_back = None

    def _apply_window(
        self, shard: int, window: Window, refreshed: list[int], drained: Drained, *, wary: Wary = None
    ) -> Batch:
        """One transaction in one round trip, or two if `wary`: each statement waits at the server for the one before.

        Raises:
            _Suspicious: `wary`, and somebody may have died on the oldest row; nothing was done.
        """
        started = time.monotonic()
        connection, worths = self._open(), self._worths()
        try:
            with connection.pipeline():  # after an error the server leaves out what follows, and so the commit
                connection.execute("BEGIN", prepare=False)
                if self._pooling == "transaction":  # the session is not ours; in the same round trip
                    connection.execute(_PLAN_HERE)
                if wary is None:
                    connection.execute(_LOCK, {"space": LOCK_SPACE, "shard": shard})
                elif _is_suspicious(connection, shard, OLD_SECONDS if wary == "age" else None):
                    raise _Suspicious
                answer = ledger.apply(connection, shard=shard, window=window, worths=worths, refreshed=refreshed)
                connection.execute("COMMIT", prepare=False)
        except BaseException:
            _undo(connection)
            raise
        batch = ledger.applied(answer)
        if batch.claimed:
            drained.batches += 1
            drained.applied += batch.claimed - batch.parked - batch.held
            drained.rejected += batch.parked
            drained.held += batch.held
            self._observer.batch(batch.claimed, time.monotonic() - started)
            self._observer.applied(batch.applied)
            self._observer.rejected(batch.parked)
            self._observer.held(batch.held)
            if self._tracing is not None:
                now = time.time_ns()
                return replace(batch, ran_ns=(now - int((time.monotonic() - started) * 1e9), now))
        return batch

    def _apply_around_poison(self, shard: int, drained: Drained) -> Batch:
        """Apply a batch that fails as a whole row by row: what cannot be applied is counted, and parked in the end."""
        connection = self._open()
        claimed = 0
        for seq in dead_letters.oldest(connection, shard, BATCH_MOST):
            claimed += 1
            try:
                batch = self._apply_window(shard, Window(1, after=seq - 1, upto=seq), [], drained)
                drained.published += self._refresher.refresh(batch, shard) or 0  # its mark stays for the sweeper
            except POISON as error:
                parked = dead_letters.count_failure(connection, shard, seq, error)
                drained.rejected += parked
                self._observer.rejected(parked)
                log.warning(
                    "an update cannot be applied",
                    **{"event.action": "park" if parked else "apply"},
                    shard=shard,
                    seq=seq,
                    error=type(error),
                )
        return Batch(None, claimed, 0)

    def _worths(self) -> list[Worth]:
        seasons = self._registry.seasons()
        return [
            Worth(action.name, board, seasons[board], action.points)
            for action in self._catalogue.actions.values()
            for board in action.boards
        ]

    def _open(self) -> psycopg.Connection[Any]:
        if self._connection is None or self._connection.closed:
            self._connection = open_connection(self._database_url, planner=_PLANNER, pooling=self._pooling)
            self._connection.autocommit = True
        return self._connection


def _undo(connection: psycopg.Connection[Any]) -> None:
    """End what was begun. Behind a pooler a connection seems well when the server behind it has died, and is stuck."""
    if not connection.closed:
        try:
            connection.rollback()
        except psycopg.Error:
            connection.close()


def _is_suspicious(connection: psycopg.Connection[Any], shard: int, old_seconds: float | None) -> bool:
    """Take the shard's lock; whether its oldest row was tried before, or is that old."""
    row = connection.execute(_LOCK_WARILY, {"space": LOCK_SPACE, "shard": shard, "old": old_seconds}).fetchone()
    return row is not None and bool(row[1])
