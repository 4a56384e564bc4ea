"""What the worker counts of a comparison."""

from __future__ import annotations

from collections import Counter
from types import SimpleNamespace
from uuid import uuid4

from prometheus_client import REGISTRY, Histogram

from models.boards.agreement import Cause
from models.pipeline.repair import Comparison
from worker import metrics


def value(name: str, **labels: str) -> float:
    return REGISTRY.get_sample_value(name, labels) or 0.0


def test_players_are_counted_by_cause_and_a_board_only_when_it_was_rebuilt_since_it_differed() -> None:
    board, compared = str(uuid4()), value("scoreboard_players_compared_total", how="sample")
    causes = Counter({Cause.MISSING: 2, Cause.AHEAD: 1})
    metrics.compared(Comparison(board, players=50, causes=causes, rebuilt=True), "sample")
    metrics.compared(Comparison(board, players=50, causes=Counter({Cause.MISSING: 1}), refreshed=1), "sample")
    metrics.compared(Comparison(board, is_missing=True, rebuilt=True), "sample")
    assert value("scoreboard_players_repaired_total", board=board, cause="missing") == 3
    assert value("scoreboard_players_repaired_total", board=board, cause="ahead") == 1
    assert value("scoreboard_boards_repaired_total", board=board) == 1
    assert value("scoreboard_players_compared_total", how="sample") == compared + 100


def test_ages_are_counted_in_the_buckets_that_one_observation_each_would_choose(monkeypatch) -> None:
    now = 1_000.0
    monkeypatch.setattr(metrics.time, "time", lambda: now)
    one, many = (Histogram(name, "x", buckets=(0.5, 1.0, 2.0), registry=None) for name in ("one", "many"))
    ages = [0.0, 0.25, 0.5, 0.75, 1.0, 1.5, 2.0, 2.5, 1e6, -3.0]
    for age in ages:
        one.observe(max(0.0, age))
    updates = [SimpleNamespace(accepted_at=(now - age) * 1e6) for age in ages]
    metrics._observe_ages(many, updates)  # type: ignore[arg-type]
    told = [
        [(s.name.removeprefix(h._name), s.labels, s.value) for m in h.collect() for s in m.samples] for h in (one, many)
    ]
    assert [s for s in told[0] if s[0] != "_created"] == [s for s in told[1] if s[0] != "_created"]
