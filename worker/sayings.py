"""What Celery and its pool say past the logging that all others go through: a line like all others."""

from __future__ import annotations

import json
import logging
import os
import sys
from contextlib import suppress
from datetime import UTC, datetime
from typing import Any, Final

from billiard.util import LOGGER_NAME
from celery.apps import worker

from models.logs import ECS_VERSION

_SERVICE: Final = {"name": "scoreboard-worker"}


def install() -> None:
    """Put `say` where Celery writes from the handler of a signal."""
    worker.safe_say = say


def adopt_the_pools() -> None:
    """Have the pool's logger use our handlers, once there are any: it hands nothing on, so that a child that was killed
    would be told in plain words.
    """
    logging.getLogger(LOGGER_NAME).handlers = logging.getLogger().handlers


def say(message: str, _file: Any = None) -> None:
    """Write a line to standard error, in one write: nothing may be logged there."""
    with suppress(OSError, ValueError):
        os.write(sys.__stderr__.fileno() if sys.__stderr__ else 2, line(message).encode())


def line(message: str) -> str:
    """The line of a message."""
    now = datetime.now(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
    fields = {"@timestamp": now, "log.level": "warning", "message": message.strip(), "ecs.version": ECS_VERSION}
    return json.dumps({**fields, "service": _SERVICE}, separators=(",", ":")) + "\n"
