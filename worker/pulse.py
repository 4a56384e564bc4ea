"""Shows by a file's time that a process's loop still turns; health checks look at it (deploy/health.py).

It needs no broker and no store: what is only waiting for one of them is well, and a restart would not bring it back.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path
from typing import Final

import structlog

SAY_EVERY_SECONDS: Final = 1.0
#: The longest a loop stands still in good health is a few time-outs of a broker that went deaf.
SILENT_SECONDS_MOST: Final = 60.0

log = structlog.get_logger(__name__)


class Pulse:
    """The file of one kind of process, in the folder `run` of DATA_DIR."""

    def __init__(self, data_dir: Path, kind: str, clock: Callable[[], float] = time.monotonic) -> None:
        self.path = data_dir / "run" / f"{kind}.alive"
        self._clock = clock
        self._said_at = float("-inf")

    def turn(self) -> None:
        """Say that the loop turns, once a second at most."""
        now = self._clock()
        if now - self._said_at < SAY_EVERY_SECONDS:
            return
        self._said_at = now
        try:
            self.path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            self.path.touch()
        except OSError as error:  # it matters to health checks alone, and they will say so
            log.warning("the pulse cannot be shown", error=error)

    def silent_seconds(self) -> float:
        """How long ago the loop turned, by the time of day; infinite when it never did."""
        try:
            return time.time() - self.path.stat().st_mtime
        except FileNotFoundError:
            return float("inf")
