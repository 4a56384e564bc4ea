"""A part's figures in Prometheus' text format: those that its processes share in a folder, and its version."""

from __future__ import annotations

import platform
from collections.abc import Iterator

from prometheus_client import REGISTRY, CollectorRegistry, generate_latest, multiprocess
from prometheus_client.core import GaugeMetricFamily

from models.storage.tables import SCHEMA_REVISION
from models.version import VERSION


class Build:
    """Tells which version answers; beside each other in a rolling upgrade."""

    def collect(self) -> Iterator[GaugeMetricFamily]:
        """One figure that is always 1: its labels are what it says."""
        labels = {"version": VERSION, "schema": SCHEMA_REVISION, "python": platform.python_version()}
        build = GaugeMetricFamily("scoreboard_build_info", "Which version of the service answers.", labels=list(labels))
        build.add_metric(list(labels.values()), 1)
        yield build


def exposition(metrics_dir: str | None, *own: CollectorRegistry) -> bytes:
    """All figures of a part.

    Args:
        metrics_dir: the folder that its processes share; without one it is this process' figures that are told.
        own: what only this process counts when there is no folder.
    """
    every = CollectorRegistry()
    every.register(Build())
    if metrics_dir:
        multiprocess.MultiProcessCollector(every, path=metrics_dir)
        return generate_latest(every)
    return b"".join(generate_latest(registry) for registry in (REGISTRY, *own, every))
