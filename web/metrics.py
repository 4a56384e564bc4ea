"""The API's figures; each process writes its own, `/metrics` adds them up."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Final, cast

from flask import Flask, Response, g, request
from prometheus_client import REGISTRY, CollectorRegistry, Counter, Histogram, generate_latest, multiprocess
from prometheus_client.core import GaugeMetricFamily
from prometheus_flask_exporter import PrometheusMetrics
from sqlalchemy import text
from sqlalchemy.exc import SQLAlchemyError

from models.pipeline import history_months, inbox
from models.pipeline.inbox_writer import Receipt
from models.stores import Stores

SECONDS: Final = (0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1.0, 2.0, 5.0, 10.0)

ACCEPTED = Counter("scoreboard_updates_accepted_total", "Updates committed to the inbox.", ["way"])
REPLAYED = Counter("scoreboard_updates_replayed_total", "Repeats answered with the first answer.", ["way"])
REFUSED = Counter("scoreboard_refused_total", "Requests refused, by the code of the answer.", ["code"])
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

    stores.acceptor.writer.on_group = group
    stores.ranking.on_read = read
    stores.ranking.on_rebuilt = rebuilt


def count_receipt(receipt: Receipt, way: str) -> None:
    """Count an acceptance, or a repeat of one."""
    (_REPLAYED_BY if receipt.replayed else _ACCEPTED_BY)[way].inc()


def count_receipts(replayed: Sequence[bool], way: str) -> None:
    """Count many at once; whether each is a repeat."""
    repeats = sum(replayed)
    _ACCEPTED_BY[way].inc(len(replayed) - repeats)
    _REPLAYED_BY[way].inc(repeats)


def count_read(status: int) -> None:
    """Count a read of a board that never came to Flask."""
    _READS_BY[status].inc()


def count_ranking_hit() -> None:
    """Count a read of Redis that was not made by the ranking."""
    _RANKING_HIT.inc()


class Requests:
    """Counts and times requests by route with prometheus-flask-exporter, and those that never came to Flask."""

    def __init__(self, app: Flask) -> None:
        self.registry = CollectorRegistry()
        PrometheusMetrics(app, path=None, registry=self.registry, group_by="url_rule", buckets=SECONDS)
        collectors = self.registry._names_to_collectors  # noqa: SLF001 - the exporter keeps them to itself
        self._seconds = cast(Histogram, collectors["flask_http_request_duration_seconds"])
        self._total = cast(Counter, collectors["flask_http_request_total"])
        self._children: dict[tuple[str, int, str], tuple[Histogram, Counter]] = {}
        app.after_request(_count_answer)

    def count(self, method: str, status: int, rule: str, nanoseconds: int, code: str | None) -> None:
        """Count a request that was answered without Flask, as Flask's hooks do."""
        seconds, total = self._children.get((method, status, rule)) or self._child(method, status, rule)
        seconds.observe(nanoseconds / 1e9)
        total.inc()
        if code is not None:
            REFUSED.labels(code).inc()

    def _child(self, method: str, status: int, rule: str) -> tuple[Histogram, Counter]:
        child = self._seconds.labels(method, str(status), rule), self._total.labels(method, str(status))
        return self._children.setdefault((method, status, rule), child)


def _count_answer(response: Response) -> Response:
    if code := g.get("problem_code"):
        REFUSED.labels(code).inc()
    if request.path.startswith("/api/v1/leaderboards") and response.status_code in (200, 304):
        READS.labels("not_modified" if response.status_code == 304 else "page").inc()
    return response


def exposition(stores: Stores, requests: CollectorRegistry) -> bytes:
    """All figures in Prometheus' text format; with a metrics directory, those of every process on this machine."""
    state = CollectorRegistry()
    state.register(_PipelineState(stores))
    if stores.settings.metrics_dir:
        every = CollectorRegistry()
        multiprocess.MultiProcessCollector(every, path=stores.settings.metrics_dir)
        return generate_latest(every) + generate_latest(state)
    return generate_latest(REGISTRY) + generate_latest(requests) + generate_latest(state)


STATE_FIGURES: Final = {
    "scoreboard_inbox_depth": "Accepted updates not settled yet.",
    "scoreboard_inbox_oldest_age_seconds": "Age of the oldest row in the inbox.",
    "scoreboard_dead_letters": "Updates parked with a reason.",
    "scoreboard_unrefreshed_batches": "Committed batches Redis was not told of yet.",
    "scoreboard_history_without_month": "Whether history has rows whose month nobody had made.",
}


class _PipelineState:
    """What Postgres says at the moment of the scrape."""

    def __init__(self, stores: Stores) -> None:
        self._stores = stores

    def collect(self) -> Iterator[GaugeMetricFamily]:
        try:
            figures = self._figures()
        except SQLAlchemyError:
            figures = {}  # left out rather than wrong, and said so by the gauge below
        up = int(bool(figures))
        yield GaugeMetricFamily("scoreboard_database_up", "Whether Postgres answered this scrape.", value=up)
        for name, value in figures.items():
            yield GaugeMetricFamily(name, STATE_FIGURES[name], value=value)

    def _figures(self) -> dict[str, float]:
        with self._stores.engine.connect() as connection:
            waiting = inbox.state(connection)
            return {
                "scoreboard_inbox_depth": waiting.depth,
                "scoreboard_inbox_oldest_age_seconds": waiting.oldest_age_seconds,
                "scoreboard_dead_letters": connection.execute(text("SELECT count(*) FROM dead_letters")).scalar_one(),
                "scoreboard_unrefreshed_batches": connection.execute(
                    text("SELECT count(*) FROM refreshes")
                ).scalar_one(),
                "scoreboard_history_without_month": int(history_months.any_unplaced(connection)),
            }
