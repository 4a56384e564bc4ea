"""Kubernetes' HorizontalPodAutoscaler by its documentation, one look at a time; KEDA's are of the same kind.

How many pods a metric asks for, the tolerance, the windows of stabilization and the policies of scaling are those of
autoscaling/v2; that a look comes every 15 s and that a tenth is tolerated are the controller's defaults.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, Final, Literal

SYNC_SECONDS: Final = 15
TOLERANCE: Final = 0.1
Kind = Literal["Utilization", "AverageValue", "Value"]


@dataclass(frozen=True, slots=True)
class Metric:
    """What is asked for, and how much of it is right for a pod (`Value`: for all pods as they are)."""

    name: str
    kind: Kind
    target: float

    def wanted(self, value: float, replicas: int, ready: int) -> int:
        """Pods by this metric alone. A pod that is not ready yet uses nothing, and is no reason for yet another."""
        if self.kind == "AverageValue":
            ratio = value / (self.target * max(1, replicas))
            return replicas if abs(ratio - 1) <= TOLERANCE else math.ceil(value / self.target)
        ratio = value / self.target
        if abs(ratio - 1) <= TOLERANCE:
            return replicas
        wanted = math.ceil(ratio * ready)
        return max(replicas, wanted) if ratio > 1 else wanted


@dataclass(frozen=True, slots=True)
class Policy:
    """How far one may go within a time."""

    kind: Literal["Pods", "Percent"]
    value: int
    seconds: int


@dataclass(frozen=True, slots=True)
class Direction:
    """How one goes up or down."""

    window_seconds: int
    policies: tuple[Policy, ...]


UP: Final = Direction(0, (Policy("Percent", 100, 15), Policy("Pods", 4, 15)))
DOWN: Final = Direction(300, (Policy("Percent", 100, 15),))


@dataclass
class Autoscaler:
    """One of them, with what it remembers."""

    least: int
    most: int
    metrics: tuple[Metric, ...]
    up: Direction = UP
    down: Direction = DOWN
    _wanted: list[tuple[float, int]] = field(default_factory=list)
    _changes: list[tuple[float, int]] = field(default_factory=list)

    def look(self, now: float, replicas: int, ready: int, values: Mapping[str, float]) -> int:
        """How many pods there shall be from now on."""
        asked = max(metric.wanted(values[metric.name], replicas, ready) for metric in self.metrics)
        asked = min(self.most, max(self.least, asked))
        chosen = self._limited(now, replicas, self._stable(now, replicas, asked))
        if chosen != replicas:
            self._changes.append((now, chosen - replicas))
        return chosen

    def _stable(self, now: float, replicas: int, asked: int) -> int:
        """No further up than all of a window asked for, no further down than any did."""
        self._wanted.append((now, asked))
        least_up = min(each for at, each in self._wanted if at >= now - self.up.window_seconds)
        most_down = max(each for at, each in self._wanted if at >= now - self.down.window_seconds)
        return min(max(replicas, least_up), most_down)

    def _limited(self, now: float, replicas: int, wanted: int) -> int:
        if wanted > replicas:
            most = max(self._from(now, replicas, policy, 1) for policy in self.up.policies)
            return min(wanted, max(replicas, most))
        if wanted < replicas:
            least = min(self._from(now, replicas, policy, -1) for policy in self.down.policies)
            return max(wanted, min(replicas, least))
        return replicas

    def _from(self, now: float, replicas: int, policy: Policy, sign: int) -> int:
        """How far a policy lets go from where one was when its time began."""
        start = replicas - sum(change for at, change in self._changes if at > now - policy.seconds)
        if policy.kind == "Pods":
            return start + sign * policy.value
        moved = start * (1 + sign * policy.value / 100)
        return math.ceil(moved) if sign > 0 else int(moved)


def from_object(scaled: Mapping[str, Any], names: Iterable[str]) -> Autoscaler:
    """The autoscaler that a KEDA ScaledObject makes; `names` are given to its triggers in their order."""
    spec = scaled["spec"]
    behavior = spec.get("advanced", {}).get("horizontalPodAutoscalerConfig", {}).get("behavior", {})
    metrics = tuple(
        Metric(name, trigger["metricType"], float(trigger["metadata"].get("threshold") or trigger["metadata"]["value"]))
        for name, trigger in zip(names, spec["triggers"], strict=True)
    )
    up, down = _direction(behavior.get("scaleUp"), UP), _direction(behavior.get("scaleDown"), DOWN)
    return Autoscaler(spec["minReplicaCount"], spec["maxReplicaCount"], metrics, up, down)


def _direction(rules: Mapping[str, Any] | None, usual: Direction) -> Direction:
    if rules is None:
        return usual
    policies = tuple(Policy(each["type"], each["value"], each["periodSeconds"]) for each in rules["policies"])
    return Direction(rules["stabilizationWindowSeconds"], policies)
