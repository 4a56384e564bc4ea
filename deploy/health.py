"""Whether a container's process is well: `python -m deploy.health web`, as its health check asks.

Well is who lives. What all share, PostgreSQL, Redis, the broker, is not asked for: no restart would bring it back.
"""

import argparse
import os
import sys
import urllib.request
from collections.abc import Callable, Mapping
from typing import Final

from models.settings import Settings
from worker.pulse import SILENT_SECONDS_MOST, Pulse

ANSWER_SECONDS: Final = 3.0


def _answers(port: int, path: str = "/healthz") -> bool:
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    try:
        with opener.open(f"http://127.0.0.1:{port}{path}", timeout=ANSWER_SECONDS) as answer:
            return bool(answer.status == 200)
    except OSError:
        return False


def _flowers_prefix() -> str:
    """Where Flower is told to be by its own setting."""
    prefix = os.environ.get("FLOWER_URL_PREFIX", "").strip("/")
    return f"/{prefix}" if prefix else ""


def _turns(settings: Settings, kind: str) -> bool:
    return Pulse(settings.data_dir, kind).silent_seconds() <= SILENT_SECONDS_MOST


#: By the names of the Procfile.
CHECKS: Final[Mapping[str, Callable[[Settings], bool]]] = {
    "web": lambda settings: _answers(settings.port),
    "sockets": lambda settings: _answers(settings.sockets_port),
    "flower": lambda settings: _answers(settings.flower_port, f"{_flowers_prefix()}/healthcheck"),
    "worker": lambda settings: _turns(settings, "worker"),
    "beat": lambda settings: _turns(settings, "beat"),
}


def main() -> int:
    """Exit status 1 when the process is not well."""
    parser = argparse.ArgumentParser("python -m deploy.health", description=__doc__)
    parser.add_argument("process", choices=CHECKS)
    return int(not CHECKS[parser.parse_args().process](Settings.from_env()))


if __name__ == "__main__":
    sys.exit(main())
