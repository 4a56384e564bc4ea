"""What KEDA would have done in a spike that was recorded, and what the backlog then is.

    .venv/bin/python -m bench.autoscale --times 40 200 --picture docs/images/autoscale.png

Takes the ScaledObjects of deploy/kubernetes as they are and the metrics that bench.spike recorded (by a real
Prometheus, so with its scrapes' and rates' lag), and looks every 15 s as Kubernetes does. First at the recorded figures
as they are; then with the load multiplied, second by second: so many pods are ready, they carry so much, the rest is
refused or waits. What a pod carries is from docs/performance.md.
"""

from __future__ import annotations

import argparse
import json
import math
from collections import deque
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

import yaml
from matplotlib.figure import Figure

from bench.harness.autoscaler import SYNC_SECONDS, Autoscaler, from_object

ROOT: Final = Path(__file__).parents[1]
OBJECTS: Final = ROOT / "deploy" / "kubernetes" / "components" / "keda"
RECORDED: Final = ROOT / "deploy" / "kubernetes" / "recorded" / "spike.json"
#: CPU of the API an update, and what one worker applies a second from a full inbox with a core (docs/performance.md).
API_SECONDS: Final = 148e-6
WORKER_RATE: Final = 23_254.0
#: Of a core, as deploy/kubernetes/base/api.yaml asks for.
API_CORES: Final = 1.0
#: From the decision to a pod that answers, with its image on the machine: placed, the schema looked at, started, found
#: ready. Each of the two starts takes 2.6 s of CPU.
START_SECONDS: Final = 20
#: What metrics-server tells of CPU is a mean over so long.
CPU_SECONDS: Final = 30


class Recording:
    """What bench.spike has kept."""

    def __init__(self, kept: Mapping[str, Any]) -> None:
        self.phases: Sequence[Mapping[str, Any]] = kept["phases"]
        self._series = {
            name: dict(found["result"][0]["values"]) for name, found in kept["series"].items() if name != "cpu"
        }
        self.seconds = int(self.phases[-1]["at"] + self.phases[-1]["seconds"])

    def value(self, name: str, second: int) -> float:
        """What Prometheus answered last; 0 where there was nothing to count."""
        at = max((moment for moment in self._series[name] if moment <= second), default=None)
        found = 0.0 if at is None else float(self._series[name][at])
        return 0.0 if math.isnan(found) else found

    def offered(self, second: int) -> float:
        """Updates due a second: the generator's own rate, which no server could slow down."""
        return float(next((p["rate"] for p in reversed(self.phases) if p["at"] <= second), 0.0))


@dataclass
class Pods:
    """Those of one kind: how many are wanted, and when each that was asked for will be ready."""

    scaler: Autoscaler
    wanted: int = 0
    _ready_at: list[int] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.wanted = self.scaler.least
        self._ready_at = [0] * self.wanted

    def ready(self, second: int) -> int:
        """How many answer."""
        return sum(at <= second for at in self._ready_at)

    def look(self, second: int, values: Mapping[str, float]) -> None:
        """The autoscaler's look: pods are begun, or the youngest ended."""
        self.wanted = self.scaler.look(second, self.wanted, self.ready(second), values)
        self._ready_at = self._ready_at[: self.wanted]
        self._ready_at += [second + START_SECONDS] * (self.wanted - len(self._ready_at))


@dataclass(frozen=True, slots=True)
class Moment:
    """One second of the model."""

    second: int
    offered: float
    refused: float
    api: int
    api_wanted: int
    backlog: float
    age: float
    workers: int


def scaled(name: str, triggers: Sequence[str]) -> Autoscaler:
    """The autoscaler of a part as it is deployed."""
    return from_object(yaml.safe_load((OBJECTS / f"{name}.yaml").read_text("utf-8")), triggers)


def decided(recording: Recording, name: str, triggers: Mapping[str, str]) -> list[tuple[int, int]]:
    """When a part's autoscaler would have changed the number of pods, by the recorded figures as they are.

    Args:
        triggers: the name of each trigger in order, and of its series.
    """
    pods, changes = Pods(scaled(name, list(triggers))), []
    for second in range(0, recording.seconds, SYNC_SECONDS):
        before = pods.wanted
        pods.look(second, {trigger: recording.value(series, second) for trigger, series in triggers.items()})
        if pods.wanted != before:
            changes.append((second, pods.wanted))
    return changes


def simulated(recording: Recording, times: float) -> list[Moment]:
    """The recorded spike with `times` as many players, until the worker is stopped in it."""
    api, workers = Pods(scaled("api", ("cpu", "requests"))), Pods(scaled("worker", ("age", "depth")))
    used: deque[float] = deque(maxlen=CPU_SECONDS)
    accepted, applied = [0.0], 0.0
    moments = []
    for second in range(int(next(p["at"] for p in recording.phases if p["name"] == "worker stopped"))):
        offered, ready = recording.offered(second) * times, api.ready(second)
        taken = min(offered, ready * API_CORES / API_SECONDS)
        used.append(taken * API_SECONDS / (ready * API_CORES))
        accepted.append(accepted[-1] + taken)
        applied = min(accepted[-1], applied + workers.ready(second) * WORKER_RATE)
        backlog = accepted[-1] - applied
        oldest = next((at for at, so_far in enumerate(accepted) if so_far > applied), second + 1)
        age = float(second + 1 - oldest) if backlog else 0.0
        moments.append(Moment(second, offered, offered - taken, ready, api.wanted, backlog, age, workers.ready(second)))
        if second % SYNC_SECONDS == 0:
            utilization = 100 * sum(used) / len(used)
            api.look(second, {"cpu": utilization, "requests": recording.value("requests", second) * times})
            workers.look(second, {"age": age, "depth": backlog})
    return moments


def summary(moments: Sequence[Moment]) -> dict[str, float]:
    """What an operator asks first."""
    offered, refused = sum(m.offered for m in moments), sum(m.refused for m in moments)
    suffering = [m.second for m in moments if m.refused > 0]
    return {
        "usual_per_second": min(m.offered for m in moments),
        "spike_per_second": max(m.offered for m in moments),
        "api_pods_most": max(m.api_wanted for m in moments),
        "refused_percent": round(100 * refused / offered, 2),
        "refused_for_seconds": suffering[-1] - suffering[0] + 1 if suffering else 0,
        "backlog_most": round(max(m.backlog for m in moments)),
        "age_most_seconds": max(m.age for m in moments),
        "worker_pods_most": max(m.workers for m in moments),
    }


def drawn(recording: Recording, runs: Mapping[float, Sequence[Moment]], worker: Sequence[tuple[int, int]]) -> Figure:
    """A panel for each run, and one for the worker that was stopped."""
    figure = Figure((9.0, 2.6 * (len(runs) + 1)), layout="constrained")
    panels = figure.subplots(len(runs) + 1, 1, squeeze=False)[:, 0]
    for axes, (times, moments) in zip(panels, runs.items(), strict=False):
        seconds = [m.second for m in moments]
        axes.fill_between(seconds, [m.offered for m in moments], color="#fecaca", label="refused")
        axes.fill_between(seconds, [m.offered - m.refused for m in moments], color="#bfdbfe", label="accepted")
        axes.set(ylabel="updates a second", title=f"{times:g} times the recorded load")
        pods = axes.twinx()
        pods.step(seconds, [m.api_wanted for m in moments], color="#9ca3af", where="post", label="API pods wanted")
        pods.step(seconds, [m.api for m in moments], color="black", where="post", label="API pods ready")
        pods.step(seconds, [m.workers for m in moments], color="#059669", where="post", label="worker pods ready")
        pods.set_ylim(bottom=0)
        pods.set_ylabel("pods")
        lines = [*axes.get_legend_handles_labels()[0], *pods.get_legend_handles_labels()[0]]
        axes.legend(handles=lines, fontsize=7, loc="center right")
    axes = panels[-1]
    shown = range(0, recording.seconds, 5)
    axes.plot(shown, [recording.value("age", second) for second in shown], color="#dc2626", label="oldest update, s")
    axes.set(ylabel="seconds", xlabel="seconds", title="as recorded: a worker stands still for 30 s")
    pods = axes.twinx()
    steps = [
        (0, scaled("worker", ("age", "depth")).least),
        *worker,
        (recording.seconds, worker[-1][1] if worker else 2),
    ]
    pods.step(*zip(*steps, strict=True), color="#059669", where="post", label="worker pods wanted")
    pods.set_ylim(bottom=0)
    axes.legend(handles=[*axes.get_lines(), *pods.get_lines()], fontsize=7, loc="upper left")
    return figure


def main() -> None:
    """Print what would have been, and draw it."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--recorded", type=Path, default=RECORDED)
    parser.add_argument("--times", type=float, nargs="+", default=[40.0, 200.0])
    parser.add_argument("--picture", type=Path)
    options = parser.parse_args()
    recording = Recording(json.loads(options.recorded.read_text("utf-8")))
    worker = decided(recording, "worker", {"age": "age", "depth": "depth"})
    print("worker, by the recorded figures: " + (", ".join(f"{at} s: {pods}" for at, pods in worker) or "no change"))
    runs = {times: simulated(recording, times) for times in options.times}
    for times, moments in runs.items():
        print(f"\n{times:g} times: {json.dumps(summary(moments))}")
        print("second  offered  refused  API ready/wanted  workers  backlog  oldest")
        for moment in moments[::SYNC_SECONDS]:
            load = f"{moment.second:6} {moment.offered:8,.0f} {moment.refused:8,.0f}"
            pods = f"{moment.api:10} /{moment.api_wanted:3} {moment.workers:11}"
            print(load, pods, f"{moment.backlog:8,.0f} {moment.age:5.1f} s")
    if options.picture:
        drawn(recording, runs, worker).savefig(options.picture, dpi=110)


if __name__ == "__main__":
    main()
