"""The API's figures; each process writes its own, `/metrics` adds them up."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

from flask import Flask, g, request
from prometheus_client import REGISTRY, CollectorRegistry, Counter, Histogram, generate_latest, multiprocess
from prometheus_client.core import GaugeMetricFamily
from prometheus_flask_exporter import PrometheusMetrics
from sqlalchemy import text
from sqlalchemy.exc import SQLAlchemyError

from models.pipeline import history_months, inbox
from models.stores import Stores

SECONDS: Final = (0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1.0, 2.0, 5.0, 10.0)

ACCEPTED = Counter("scoreboard_updates_accepted_total", "Updates committed to the inbox.", ["way"])
REPLAYED = Counter("scoreboard_updates_replayed_total", "Repeats answered with the first answer.", ["way"])
REFUSED = Counter("scoreboard_refused_total", "Requests refused, by the code of the answer.", ["code"])
GROUP_ROWS = Histogram(
    "scoreboard_accept_group_rows", "Updates that shared one commit.", buckets=(1, 2, 4, 8, 16, 32, 100, 500, 1000)
)
GROUP_SECONDS = Histogram(
    "scoreboard_accept_group_seconds", "One write to the inbox, commit included.", buckets=SECONDS
)
READS = Counter("scoreboard_leaderboard_reads_total", "Leaderboard reads, by how they were answered.", ["how"])
RANKING_READS = Counter(
    "scoreboard_ranking_reads_total", "Reads of boards, by whether Redis had the board at once.", ["result"]
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

    stores.acceptor.on_group = group
    stores.ranking.on_read = read
    stores.ranking.on_rebuilt = rebuilt


def install_request_metrics(app: Flask) -> CollectorRegistry:
    """Count and time requests by route, with prometheus-flask-exporter; returns the registry they are in."""
    registry = CollectorRegistry()
    PrometheusMetrics(app, path=None, registry=registry, group_by="url_rule", buckets=SECONDS)

    @app.after_request
    def _count_refusals(response):  # type: ignore[no-untyped-def]
        if code := g.get("problem_code"):
            REFUSED.labels(code).inc()
        if request.path.startswith("/api/v1/leaderboards") and response.status_code in (200, 304):
            READS.labels("not_modified" if response.status_code == 304 else "page").inc()
        return response

    return registry


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
