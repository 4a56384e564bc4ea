"""The autoscaler that figures are worked out with decides as Kubernetes' documentation says."""

from __future__ import annotations

import json

import pytest
import yaml

from bench import autoscale
from bench.harness.autoscaler import DOWN, UP, Autoscaler, Direction, Metric, Policy, from_object
from deploy.local import procfile

CPU = Metric("cpu", "Utilization", 50)
AT_ONCE = Direction(0, (Policy("Percent", 100, 15),))


@pytest.mark.parametrize(
    ("value", "replicas", "wanted"),
    [(100, 3, 6), (25, 4, 2), (54, 3, 3), (46, 3, 3), (56, 3, 4), (0, 4, 0)],
    ids=["twice", "half", "a tenth above", "a tenth below", "more than a tenth", "nothing"],
)
def test_pods_follow_the_ratio_and_a_tenth_is_tolerated(value: float, replicas: int, wanted: int) -> None:
    assert CPU.wanted(value, replicas, replicas) == wanted


def test_a_pod_that_is_not_ready_yet_is_no_reason_for_another() -> None:
    assert CPU.wanted(100, replicas=6, ready=3) == 6
    assert CPU.wanted(200, replicas=6, ready=3) == 12


def test_an_average_is_of_the_total_and_a_value_of_all() -> None:
    assert Metric("depth", "AverageValue", 10_000).wanted(35_000, 2, 2) == 4
    assert Metric("depth", "AverageValue", 10_000).wanted(21_000, 2, 2) == 2
    assert Metric("age", "Value", 2).wanted(6, 2, 2) == 6


def test_up_goes_by_the_policy_that_allows_most() -> None:
    scaler = Autoscaler(1, 100, (CPU,), UP, DOWN)
    replicas, seen = 1, []
    for look in range(4):
        replicas = scaler.look(15.0 * look, replicas, replicas, {"cpu": 5_000})
        seen.append(replicas)
    assert seen == [5, 10, 20, 40], "4 pods or twice as many in 15 s"


def test_within_a_period_only_what_its_policy_leaves() -> None:
    scaler = Autoscaler(1, 100, (CPU,), Direction(0, (Policy("Pods", 4, 60),)), DOWN)
    assert scaler.look(0, 10, 10, {"cpu": 500}) == 14
    assert scaler.look(15, 14, 14, {"cpu": 500}) == 14
    assert scaler.look(61, 14, 14, {"cpu": 500}) == 18


def test_down_waits_until_nobody_asked_for_more_in_the_window() -> None:
    scaler = Autoscaler(1, 100, (CPU,), AT_ONCE, Direction(60, (Policy("Percent", 50, 60),)))
    assert scaler.look(0, 8, 8, {"cpu": 50}) == 8
    assert scaler.look(45, 8, 8, {"cpu": 5}) == 8
    assert scaler.look(75, 8, 8, {"cpu": 5}) == 4
    assert scaler.look(90, 4, 4, {"cpu": 5}) == 4
    assert scaler.look(140, 4, 4, {"cpu": 5}) == 2


def test_the_largest_of_several_metrics_decides_within_the_bounds() -> None:
    scaler = Autoscaler(2, 5, (CPU, Metric("age", "Value", 2)), AT_ONCE, DOWN)
    assert scaler.look(0, 3, 3, {"cpu": 0, "age": 400}) == 5
    assert Autoscaler(2, 5, (CPU,), AT_ONCE, AT_ONCE).look(0, 3, 3, {"cpu": 0}) == 2


def test_it_is_made_of_what_is_deployed() -> None:
    text = (procfile.ROOT / "deploy/kubernetes/components/keda/worker.yaml").read_text("utf-8")
    scaler = from_object(yaml.safe_load(text), ("age", "depth"))
    assert (scaler.least, scaler.most) == (2, 4)
    assert scaler.metrics == (Metric("age", "Value", 2.0), Metric("depth", "AverageValue", 10_000.0))
    assert scaler.up == Direction(0, (Policy("Pods", 2, 15),))


def test_a_recorded_spike_is_decided_by_what_is_deployed() -> None:
    """The figures of docs/scaling.md follow from the recording, the objects and docs/performance.md alone."""
    recording = autoscale.Recording(json.loads(autoscale.RECORDED.read_text("utf-8")))
    assert autoscale.decided(recording, "worker", {"age": "age", "depth": "depth"}) == [(210, 4)]
    carried = autoscale.summary(autoscale.simulated(recording, 40))
    assert (carried["refused_percent"], carried["backlog_most"]) == (0, 0)
    beyond = autoscale.summary(autoscale.simulated(recording, 200))
    assert beyond["refused_for_seconds"] == 63
    assert beyond["api_pods_most"] == 21
    assert beyond["age_most_seconds"] == 5
