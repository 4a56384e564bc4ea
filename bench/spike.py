"""A spike of ten times the usual, and a worker that stands still, as Prometheus sees them; for bench.autoscale.

    .venv/bin/python -m bench.spike --base 30 --output deploy/kubernetes/recorded/spike.json

A stack of its own is played at the usual rate, ten times that, the usual again, and once more with the worker stopped
for a while, all in an open loop. A real Prometheus scrapes it every 5 s; what is kept is what it answers to the queries
that the autoscalers ask (deploy/kubernetes/components/keda), and what they are to be judged by.
"""

from __future__ import annotations

import argparse
import json
import signal
import subprocess
import tempfile
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final
from urllib.parse import urlencode, urlsplit
from urllib.request import urlopen

import psutil
from prometheus_client import CollectorRegistry, start_http_server
from prometheus_client.core import CounterMetricFamily
from prometheus_client.registry import Collector

from bench.harness import machine, paced, players
from bench.harness.stack import Stack, free_port, part_of, running
from deploy.production import programs

STEP_SECONDS: Final = 5
TIMES: Final = 10
PLAYERS: Final = 1_000
#: Name, times the usual, seconds.
PHASES: Final = (
    ("usual", 1, 45.0),
    ("spike", TIMES, 90.0),
    ("usual again", 1, 60.0),
    ("worker stopped", 1, 30.0),
    ("worker back", 1, 45.0),
)
#: Nothing but what players ask for; scrapes and health checks are not load.
_REQUESTS: Final = 'flask_http_request_total{job="api"}'
QUERIES: Final = {
    "requests": f"sum(rate({_REQUESTS}[1m]))",  # as KEDA asks
    "offered": f"sum(rate({_REQUESTS}[15s]))",  # nearer to the moment
    "refused": 'sum(rate(scoreboard_refused_total{job="api",code="overloaded"}[15s])) or vector(0)',
    "accepted": 'sum(rate(scoreboard_updates_accepted_total{job="api"}[15s]))',
    "applied": 'sum(rate(scoreboard_updates_applied_total{job="api"}[15s]))',
    "age": 'max(scoreboard_inbox_oldest_age_seconds{job="api"})',
    "depth": 'max(scoreboard_inbox_depth{job="api"})',
    "cpu": "sum by (container) (rate(container_cpu_usage_seconds_total[15s]))",
    "applied_p99": (
        'histogram_quantile(0.99, sum by (le) (rate(scoreboard_accepted_to_applied_seconds_bucket{job="api"}[15s])))'
    ),
}


class _Cpu(Collector):
    """What cAdvisor would tell of each container: the CPU that the processes of each part have used."""

    def __init__(self, stack: Stack) -> None:
        self._stack = stack

    def collect(self) -> Iterator[CounterMetricFamily]:
        used = CounterMetricFamily("container_cpu_usage_seconds", "CPU used by a part.", labels=["container"])
        for part, seconds in self._stack.cpu_seconds().items():
            used.add_metric(["api" if part == "web" else part], seconds)
        yield used


@contextmanager
def prometheus(stack: Stack, folder: Path) -> Iterator[str]:
    """A Prometheus that scrapes the stack; gives its address."""
    registry = CollectorRegistry()
    registry.register(_Cpu(stack))
    server, thread = start_http_server(0, "127.0.0.1", registry)
    targets = {"api": urlsplit(stack.api).netloc, "cpu": f"127.0.0.1:{server.server_port}"}
    scrapes = [{"job_name": job, "static_configs": [{"targets": [target]}]} for job, target in targets.items()]
    configuration = {"global": {"scrape_interval": f"{STEP_SECONDS}s"}, "scrape_configs": scrapes}
    (folder / "prometheus.yml").write_text(json.dumps(configuration), "utf-8")  # JSON is YAML too
    address = f"127.0.0.1:{free_port(1) + 7}"
    command: list[str | Path] = [programs.require("prometheus"), f"--config.file={folder}/prometheus.yml"]
    command += [f"--storage.tsdb.path={folder}/tsdb", f"--web.listen-address={address}", "--log.level=error"]
    process = subprocess.Popen(command)
    try:
        yield f"http://{address}"
    finally:
        process.terminate()
        process.wait(20)
        server.shutdown()
        thread.join(5)


def play(stack: Stack, base: float, folder: Path) -> list[dict[str, Any]]:
    """All phases, each signed while the one before is played; what the load generator saw of each."""
    crowd = players.populate(stack.settings, PLAYERS)

    def sign(name: str, times: int, seconds: float) -> Path:
        file = folder / name
        players.write(players.updates(crowd, int(base * times * seconds) + 10), file)
        return file

    phases = []
    with ThreadPoolExecutor(1) as ahead:
        signed = ahead.submit(sign, *PHASES[0])
        signed.result()
        began = time.time()
        for number, (name, times, seconds) in enumerate(PHASES):
            file = signed.result()
            if number + 1 < len(PHASES):
                signed = ahead.submit(sign, *PHASES[number + 1])
            stopped = _workers(stack) if name == "worker stopped" else []
            for process in stopped:
                process.send_signal(signal.SIGSTOP)
            at, rate = time.time() - began, base * times
            found = paced.run(stack.address, file, rate=rate, seconds=seconds, connections=64)
            for process in stopped:
                process.send_signal(signal.SIGCONT)
            kept = {"name": name, "at": round(at, 1), "rate": rate, "seconds": seconds}
            phases.append(kept | {"answered": found.answered, "refused": found.refused, "p99_ms": found.p99_ms})
            print(phases[-1], flush=True)
    return phases


def _workers(stack: Stack) -> list[psutil.Process]:
    return [each for each in stack.process.children(recursive=True) if part_of(each) == "worker"]


def asked(address: str, began: float, seconds: float) -> dict[str, Any]:
    """Each query over the whole time, with moments counted from the beginning."""
    series: dict[str, Any] = {}
    for name, query in QUERIES.items():
        span = {"query": query, "start": began, "end": began + seconds, "step": STEP_SECONDS}
        with urlopen(f"{address}/api/v1/query_range?{urlencode(span)}", timeout=10) as answer:  # noqa: S310 - our own
            found = json.load(answer)["data"]["result"]
        for each in found:
            each["values"] = [[round(at - began), f"{float(value):.6g}"] for at, value in each["values"]]
        series[name] = {"query": query, "result": found}
    return series


def main() -> None:
    """Play, record, keep."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--base", type=float, default=30.0, help="updates a second that are usual")
    parser.add_argument("--output", type=Path, required=True)
    options = parser.parse_args()
    with (
        running() as stack,
        tempfile.TemporaryDirectory(prefix="sb-prometheus-") as folder,
        prometheus(stack, Path(folder)) as address,
    ):
        time.sleep(20)  # rates need a past
        began = time.time()
        phases = play(stack, options.base, Path(folder))
        series = asked(address, began, time.time() - began)
    kept = {"machine": machine.describe(), "base": options.base, "times": TIMES, "phases": phases, "series": series}
    options.output.parent.mkdir(parents=True, exist_ok=True)
    options.output.write_text(json.dumps(kept, indent=None, separators=(",", ":")) + "\n", "utf-8")
    print(f"{options.output}: {options.output.stat().st_size} bytes; threads left: {threading.active_count()}")


if __name__ == "__main__":
    main()
