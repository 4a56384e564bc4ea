"""wrk, the load generator: a closed loop over keep-alive connections that sends the requests of a file."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path
from typing import Final

_SCRIPT: Final = Path(__file__).with_name("replay.lua")


@dataclass(frozen=True, slots=True)
class Result:
    """What one run gave."""

    requests: int
    microseconds: int
    bytes: int
    failed: int
    refused: int
    p50_ms: float
    p90_ms: float
    p99_ms: float
    max_ms: float

    @property
    def rate(self) -> float:
        """Answers a second."""
        return self.requests / (self.microseconds / 1e6)


def run(url: str, requests: Path, *, seconds: float, connections: int = 32) -> Result:
    """Replay the file's requests for so long from one thread.

    Raises:
        SystemExit: wrk is not installed.
    """
    if shutil.which("wrk") is None:
        raise SystemExit("wrk is missing: install it (on Debian: apt-get install wrk)")
    command = ["wrk", "-t1", f"-c{connections}", f"-d{seconds:g}s", "--latency", "-s", str(_SCRIPT), url]
    done = subprocess.run(
        command, env={**os.environ, "REQUESTS": str(requests)}, capture_output=True, text=True, check=True
    )
    line = next(line for line in done.stdout.splitlines() if line.startswith("RESULT "))
    return Result(**json.loads(line.removeprefix("RESULT ")))
