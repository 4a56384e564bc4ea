"""What Celery says from the handler of a signal, where nothing may be logged: a line like all others, in one write."""

from __future__ import annotations

import json
import os
import sys
from contextlib import suppress
from datetime import UTC, datetime
from typing import Any, Final

from celery.apps import worker

from models.logs import ECS_VERSION

_SERVICE: Final = {"name": "scoreboard-worker"}


def install() -> None:
    """Put `say` where Celery writes past its logging, as it is told to end."""
    worker.safe_say = say


def say(message: str, _file: Any = None) -> None:
    """Write a line to standard error."""
    with suppress(OSError, ValueError):
        os.write(sys.__stderr__.fileno() if sys.__stderr__ else 2, line(message).encode())


def line(message: str) -> str:
    """The line of a message."""
    now = datetime.now(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
    fields = {"@timestamp": now, "log.level": "warning", "message": message.strip(), "ecs.version": ECS_VERSION}
    return json.dumps({**fields, "service": _SERVICE}, separators=(",", ":")) + "\n"
