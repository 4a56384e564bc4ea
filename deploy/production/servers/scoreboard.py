"""The service's own processes: three API servers, two socket servers, two workers, two beats, Flower."""

import urllib.error
import urllib.request
from collections.abc import Mapping
from pathlib import Path
from typing import Final

from deploy.local import procfile
from deploy.local.ports import listening
from deploy.production.part import Part
from deploy.production.places import APIS, HOST, SOCKET_SERVERS, Places

WORKERS: Final = 2
SHARDS: Final = 2
BEATS: Final = 2
#: As long as they take to answer what they took, and a little more: see graceful_timeout in web/*/gunicorn_conf.py.
_API_STOP_SECONDS: Final = 14.0
_ANSWER_SECONDS: Final = 2.0


def apis(environ: Mapping[str, str], metrics: Path, places: Places) -> list[Part]:
    """The API servers. `environ` is what all processes of the service are given."""
    return [_server(f"api-{number}", "web", "PORT", environ, metrics, places) for number in range(1, APIS + 1)]


def sockets(environ: Mapping[str, str], metrics: Path, places: Places) -> list[Part]:
    """The socket servers."""
    numbers = range(1, SOCKET_SERVERS + 1)
    return [_server(f"sockets-{number}", "sockets", "SOCKETS_PORT", environ, metrics, places) for number in numbers]


def workers(environ: Mapping[str, str], metrics: Path, places: Places) -> list[Part]:
    """The workers, each with figures of its own. All take all queues: nobody need stand in for one that is gone."""
    return [
        _part(
            f"worker-{number}",
            "worker",
            environ,
            metrics,
            {"WORKER_METRICS_PORT": str(places.port(f"worker-{number}-metrics"))},
            None,
            *("--hostname", f"worker-{number}@scoreboard"),
            # One process more than there are shards: then they stay with them (worker/tasks.py).
            *("--concurrency", str(SHARDS + 1)),
        )
        for number in range(1, WORKERS + 1)
    ]


def beats(environ: Mapping[str, str], metrics: Path) -> list[Part]:
    """One that acts and one in reserve."""
    return [_part(f"beat-{number}", "beat", environ, metrics, {}, None) for number in range(1, BEATS + 1)]


def flower(environ: Mapping[str, str], login: str, places: Places) -> Part:
    """Flower, below /flower of the load balancers; `login` is `user:password`."""
    added = {
        "FLOWER_PORT": str(places.port("flower")),
        "FLOWER_ADDRESS": HOST,
        "FLOWER_URL_PREFIX": "flower",
        "FLOWER_BASIC_AUTH": login,
    }
    arguments = procfile.arguments(procfile.read()["flower"], environ)
    return Part("flower", arguments, added, lambda: listening(HOST, places.port("flower")))


def _server(name: str, process: str, variable: str, environ: Mapping[str, str], metrics: Path, places: Places) -> Part:
    """One that is told by a variable which port is its own."""
    return _part(name, process, environ, metrics, {variable: str(places.port(name))}, places.address(name))


def _part(
    name: str,
    process: str,
    environ: Mapping[str, str],
    metrics: Path,
    added: Mapping[str, str],
    address: str | None,
    *more: str,
) -> Part:
    """A process of the Procfile; one with an address is ready when it says that all it needs is there."""
    folder = metrics / name
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    return Part(
        name,
        [*procfile.arguments(procfile.read()[process], environ), *more],
        {**added, "PROMETHEUS_MULTIPROC_DIR": str(folder)},
        (lambda: _well(f"http://{address}/readyz")) if address else (lambda: True),
        stop_seconds=_API_STOP_SECONDS,
    )


def _well(url: str) -> bool:
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))  # our own machine, never through a proxy
    try:
        with opener.open(url, timeout=_ANSWER_SECONDS) as answer:
            return bool(answer.status == 200)
    except (OSError, urllib.error.URLError):
        return False
