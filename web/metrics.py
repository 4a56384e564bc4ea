"""The API's figures; each process writes its own, `/metrics` adds them up."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Sequence
from typing import Final, cast

import redis
from flask import Flask, Response, g, request
from prometheus_client import CollectorRegistry, Counter, Histogram, generate_latest
from prometheus_client.core import GaugeMetricFamily
from prometheus_flask_exporter import PrometheusMetrics
from sqlalchemy import text
from sqlalchemy.exc import SQLAlchemyError

from models import deadlines, names
from models.exposition import exposition as figures_of
from models.guard import letters
from models.guard.watch import WatchObserver
from models.observers import observe_all
from models.pipeline import history_months, inbox
from models.pipeline.inbox_writer import Receipt
from models.stores import Stores

#: What PostgreSQL may take for its figures: a scrape that comes too late would say that the API is down.
STATE_SECONDS: Final = 1.5
SECONDS: Final = (0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1.0, 2.0, 5.0, 10.0)

ACCEPTED = Counter("scoreboard_updates_accepted_total", "Updates committed to the inbox.", ["way"])
REPLAYED = Counter("scoreboard_updates_replayed_total", "Repeats answered with the first answer.", ["way"])
REFUSED = Counter("scoreboard_refused_total", "Requests refused, by the code of the answer.", ["code"])
SECURITY_EVENTS = Counter("scoreboard_security_events_total", "Events that a rule counts.", ["event"])
INCIDENTS = Counter("scoreboard_incidents_total", "Incidents opened, by rule and its answer.", ["rule", "answer"])
UNNOTED = Counter(
    "scoreboard_security_events_unnoted_total", "Events beyond what is kept, of too many subjects at once."
)
_ACCEPTED_BY: Final = {way: ACCEPTED.labels(way) for way in ("single", "batch", "socket")}
_REPLAYED_BY: Final = {way: REPLAYED.labels(way) for way in ("single", "batch", "socket")}
GROUP_ROWS = Histogram(
    "scoreboard_accept_group_rows", "Updates that shared one commit.", buckets=(1, 2, 4, 8, 16, 32, 100, 500, 1000)
)
GROUP_SECONDS = Histogram(
    "scoreboard_accept_group_seconds", "One write to the inbox, commit included.", buckets=SECONDS
)
READS = Counter("scoreboard_leaderboard_reads_total", "Leaderboard reads, by how they were answered.", ["how"])
_READS_BY: Final = {200: READS.labels("page"), 304: READS.labels("not_modified")}
RANKING_READS = Counter(
    "scoreboard_ranking_reads_total", "Reads of boards, by whether Redis had the board at once.", ["result"]
)
_RANKING_HIT: Final = RANKING_READS.labels("hit")
REPLICA_READS = Counter(
    "scoreboard_replica_reads_total", "Reads that a replica was asked for, by who answered: it, or the primary.", ["by"]
)
REBUILDS = Counter("scoreboard_api_rebuilds_total", "Boards built from Postgres for a reader.", ["board"])
REBUILD_SECONDS = Histogram("scoreboard_rebuild_seconds", "One build of a board.", buckets=(*SECONDS, 30.0, 60.0))


def observe_stores(stores: Stores) -> None:
    """Have the stores report what they do."""

    def group(rows: int, seconds: float) -> None:
        GROUP_ROWS.observe(rows)
        GROUP_SECONDS.observe(seconds)

    def rebuilt(board: str, seconds: float) -> None:
        REBUILDS.labels(board).inc()
        REBUILD_SECONDS.observe(seconds)

    def read(hit: bool) -> None:
        RANKING_READS.labels("hit" if hit else "miss").inc()

    for rule in stores.rules.rules:  # a first incident is seen as growth only when there was a 0 before it
        INCIDENTS.labels(rule.name, rule.told_answer)
    stores.watch.observer = WatchObserver(
        event=lambda event, times: SECURITY_EVENTS.labels(event).inc(times),
        incident=lambda rule, answer: INCIDENTS.labels(rule, answer).inc(),
        unnoted=UNNOTED.inc,
    )
    stores.acceptor.writer.on_group = group
    stores.ranking.on_read = read
    stores.ranking.on_rebuilt = rebuilt
    stores.replica.on_read = lambda answered: REPLICA_READS.labels("replica" if answered else "primary").inc()


def count_receipt(receipt: Receipt, way: str) -> None:
    """Count an acceptance, or a repeat of one."""
    (_REPLAYED_BY if receipt.replayed else _ACCEPTED_BY)[way].inc()


def count_receipts(replayed: Sequence[bool], way: str) -> None:
    """Count many at once; whether each is a repeat."""
    repeats = sum(replayed)
    _ACCEPTED_BY[way].inc(len(replayed) - repeats)
    _REPLAYED_BY[way].inc(repeats)


def count_ranking_hit() -> None:
    """Count a read of Redis that was not made by the ranking."""
    _RANKING_HIT.inc()


class Requests:
    """Counts and times requests by route with prometheus-flask-exporter, and those that never came to Flask.

    The latter are noted one by one, on the event loop, and put into the figures all at once: the library's own steps
    cost as much as a tenth of a read.
    """

    def __init__(self, app: Flask) -> None:
        self.registry = CollectorRegistry()
        PrometheusMetrics(app, path=None, registry=self.registry, group_by="url_rule", buckets=SECONDS)
        collectors = self.registry._names_to_collectors  # noqa: SLF001 - the exporter keeps them to itself
        self._seconds = cast(Histogram, collectors["flask_http_request_duration_seconds"])
        self._total = cast(Counter, collectors["flask_http_request_total"])
        self._children: dict[tuple[str, int, str], tuple[Histogram, Counter]] = {}
        self._noted: defaultdict[tuple[str, int, str, str | None], list[float]] = defaultdict(list)
        app.after_request(_count_answer)

    def count(self, method: str, status: int, rule: str, seconds: float, code: str | None) -> None:
        """Note a request that was answered without Flask, for the next `tell`.

        Args:
            code: of the problem that it was answered with.
        """
        self._noted[method, status, rule, code].append(seconds)

    def tell(self) -> None:
        """Put what was noted into the figures, as Flask's hooks do; on the loop."""
        noted, self._noted = self._noted, defaultdict(list)
        for (method, status, rule, code), seconds in noted.items():
            timed, total = self._child(method, status, rule)
            observe_all(timed, seconds)
            total.inc(len(seconds))
            _count_outcome(rule, status, code, len(seconds))

    def count_untimed(self, method: str, status: int, rule: str, times: int) -> None:
        """Count requests that were answered before there was anything to time."""
        _, total = self._child(method, status, rule)
        total.inc(times)

    def _child(self, method: str, status: int, rule: str) -> tuple[Histogram, Counter]:
        child = self._children.get((method, status, rule))
        if child is None:
            seconds = self._seconds.labels(method=method, status=str(status), url_rule=rule)
            child = seconds, self._total.labels(method=method, status=str(status))
            self._children[method, status, rule] = child
        return child


def _count_answer(response: Response) -> Response:
    _count_outcome(request.path, response.status_code, g.get("problem_code"), 1)
    return response


def _count_outcome(path: str, status: int, code: str | None, times: int) -> None:
    if code:
        REFUSED.labels(code).inc(times)
    if path.startswith("/api/v1/leaderboards") and status in _READS_BY:
        _READS_BY[status].inc(times)


def exposition(stores: Stores, requests: CollectorRegistry) -> bytes:
    """All figures in Prometheus' text format; with a metrics directory, those of every process on this machine."""
    state = CollectorRegistry()
    state.register(_PipelineState(stores))
    return figures_of(stores.settings.metrics_dir, requests) + generate_latest(state)


STATE_FIGURES: Final = {
    "scoreboard_inbox_depth": "Accepted updates not settled yet.",
    "scoreboard_inbox_oldest_age_seconds": "Age of the oldest row in the inbox.",
    "scoreboard_dead_letters": "Updates parked with a reason, and not dropped by an operator.",
    "scoreboard_unrefreshed_batches": "Committed batches Redis was not told of yet.",
    "scoreboard_history_without_month": "Whether history has rows whose month nobody had made.",
    "scoreboard_redis_up": "Whether Redis answered this scrape.",
    "scoreboard_worker_up": "Whether a worker took a task from an apply queue in the last seconds.",
}


class _PipelineState:
    """What Postgres and Redis say at the moment of the scrape: the same to whichever API asks."""

    def __init__(self, stores: Stores) -> None:
        self._stores = stores

    def collect(self) -> Iterator[GaugeMetricFamily]:
        shards = GaugeMetricFamily(
            "scoreboard_inbox_shard_depth",
            "The same by shard, of those that have any.",
            labels=["shard"],
        )
        try:
            with deadlines.within(STATE_SECONDS):
                figures = self._of_postgres(shards)
        except SQLAlchemyError:
            figures = {}  # left out rather than wrong, and said so by the gauge below
        up = int(bool(figures))
        yield GaugeMetricFamily("scoreboard_database_up", "Whether Postgres answered this scrape.", value=up)
        for name, value in (figures | self._of_redis()).items():
            yield GaugeMetricFamily(name, STATE_FIGURES[name], value=value)
        yield shards

    def _of_redis(self) -> dict[str, float]:
        try:
            queues = names.apply_queues(self._stores.settings.shards)
            seen = any(self._stores.redis.exists(names.seen_key(queue)) for queue in queues)
        except redis.RedisError:
            return {"scoreboard_redis_up": 0}  # whether a worker works is not known then
        return {"scoreboard_redis_up": 1, "scoreboard_worker_up": int(seen)}

    def _of_postgres(self, shards: GaugeMetricFamily) -> dict[str, float]:
        with self._stores.engine.connect() as connection:
            waiting = inbox.states(connection)
            for shard, state in waiting.items():
                shards.add_metric([str(shard)], state.depth)
            return {
                "scoreboard_inbox_depth": sum(state.depth for state in waiting.values()),
                "scoreboard_inbox_oldest_age_seconds": max(
                    (state.oldest_age_seconds for state in waiting.values()), default=0.0
                ),
                "scoreboard_dead_letters": letters.waiting(connection),
                "scoreboard_unrefreshed_batches": connection.execute(
                    text("SELECT count(*) FROM refreshes")
                ).scalar_one(),
                "scoreboard_history_without_month": int(history_months.any_unplaced(connection)),
            }
