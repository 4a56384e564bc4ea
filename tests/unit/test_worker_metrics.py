"""What the worker counts of a comparison."""

from __future__ import annotations

from collections import Counter
from uuid import uuid4

from prometheus_client import REGISTRY

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
