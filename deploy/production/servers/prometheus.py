"""Prometheus: its configuration from deploy/prometheus, and a file of targets for each job."""

import json
import re
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Final

from deploy import templates
from deploy.production import programs
from deploy.production.answering import answering
from deploy.production.part import Part
from deploy.production.places import APIS, SENTINELS, SOCKET_SERVERS, Places

SOURCE: Final = templates.FOLDER / "prometheus"
WORKERS: Final = 2
_FOR: Final = re.compile(r"^(\s+for: )(\d+)([smh])$", re.MULTILINE)
_SECONDS: Final = {"s": 1, "m": 60, "h": 3600}

Targets = Mapping[str, list[dict[str, Any]]]


def targets(places: Places) -> Targets:
    """Job → what Prometheus reads from its file: every part of the picture, under its own name."""

    def of(*instances: str, suffix: str = "") -> list[dict[str, Any]]:
        return [{"targets": [places.address(name + suffix)], "labels": {"instance": name}} for name in instances]

    return {
        "api": of(*(f"api-{number}" for number in range(1, APIS + 1))),
        "sockets": of(*(f"sockets-{number}" for number in range(1, SOCKET_SERVERS + 1))),
        "worker": of(*(f"worker-{number}" for number in range(1, WORKERS + 1)), suffix="-metrics"),
        "flower": of("flower"),
        "nginx": [{"targets": [places.address("nginx-exporter")], "labels": {"instance": "lb-1"}}],
        "haproxy": of("lb-2", suffix="-status"),
        "postgres": of("postgres-1", "postgres-2", suffix="-exporter"),
        "pgbouncer": of("pgbouncer", suffix="-exporter"),
        "redis": of("redis-1", "redis-2", suffix="-exporter") + [_sentinel(places, n) for n in range(1, SENTINELS + 1)],
        "rabbitmq": of("rabbitmq", suffix="-metrics"),
        "node": [{"targets": [places.address("node-exporter")], "labels": {"instance": "machine-1"}}],
        "prometheus": of("prometheus"),
        "alertmanager": of("alertmanager"),
    }


def _sentinel(places: Places, number: int) -> dict[str, Any]:
    """A Sentinel, which an exporter of Redis' asks for us: it can ask others than its own."""
    address = f"redis://{places.address(f'sentinel-{number}')}"
    labels = {"instance": f"sentinel-{number}", "__metrics_path__": "/scrape", "__param_target": address}
    return {"targets": [places.address("redis-1-exporter")], "labels": labels}


def paced(rules: str, pace: float) -> str:
    """Rules whose alerts wait `pace` times as long before they fire: a drill has no minutes to spare."""
    return _FOR.sub(lambda wait: f"{wait[1]}{max(1, round(int(wait[2]) * _SECONDS[wait[3]] * pace))}s", rules)


def write(
    folder: Path,
    found: Targets,
    *,
    interval_seconds: int = 15,
    pace: float = 1.0,
    flower_path: str = "/metrics",
    deployment: str = "production",
) -> Path:
    """Write configuration, rules and files of targets into a folder; gives the configuration's path."""
    for name in ("rules", "targets"):
        (folder / name).mkdir(parents=True, exist_ok=True)
    for source in SOURCE.glob("rules/*.yml"):
        (folder / "rules" / source.name).write_text(paced(source.read_text("utf-8"), pace), "utf-8")
    for job, parts in found.items():
        (folder / "targets" / f"{job}.json").write_text(json.dumps(parts, indent=1), "utf-8")
    values = {
        "INTERVAL": f"{interval_seconds}s",
        "TIMEOUT": f"{min(interval_seconds, 10)}s",
        "RULES": folder / "rules",
        "TARGETS": folder / "targets",
        "FLOWER_PATH": flower_path,
        "DEPLOYMENT": deployment,
    }
    configuration = folder / "prometheus.yml"
    configuration.write_text(templates.fill(SOURCE / "prometheus.yml.template", values), "utf-8")
    return configuration


def part(
    name: str,
    folder: Path,
    places: Places,
    *,
    interval_seconds: int = 15,
    pace: float = 1.0,
    flower_path: str = "/flower/metrics",
) -> Part:
    """Prometheus over all parts; `pace` shortens how long alerts wait, for a drill.

    `flower_path` is behind FLOWER_URL_PREFIX, by which the load balancers find Flower.
    """
    configuration = write(
        folder, targets(places), interval_seconds=interval_seconds, pace=pace, flower_path=flower_path
    )
    return Part(name, command(configuration, folder / "data", places.address("prometheus")), ready=_ready(places))


def command(configuration: Path, data: Path, address: str) -> list[str]:
    """The command line; SIGTERM ends it in good order."""
    return [
        str(programs.require("prometheus")),
        f"--config.file={configuration}",
        f"--storage.tsdb.path={data}",
        "--storage.tsdb.retention.time=15d",
        f"--web.listen-address={address}",
        f"--web.external-url=http://{address}",
        "--log.level=warn",
    ]


def _ready(places: Places) -> Callable[[], bool]:
    return answering(f"http://{places.address('prometheus')}/-/ready")
