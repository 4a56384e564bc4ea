"""The load generator for latencies: an open loop, in C, so that nothing is omitted while a server stands still."""

from __future__ import annotations

import json
import subprocess
from dataclasses import dataclass
from pathlib import Path

from bench.harness.native import compiled


@dataclass(frozen=True, slots=True)
class Paced:
    """One run. Latencies count from when a request was due, not from when it was sent."""

    rate: float  # that were due a second
    asked: int
    answered: int
    refused: int
    seconds: float
    p50_ms: float
    p90_ms: float
    p99_ms: float
    max_ms: float


def run(address: tuple[str, int], requests: Path, *, rate: float, seconds: float, connections: int = 32) -> Paced:
    """Send the file's requests (as `players.write` keeps them), `rate` of them a second, whatever is answered."""
    words = [compiled("paced"), *address, connections, rate, seconds, requests]
    done = subprocess.run([str(word) for word in words], stdout=subprocess.PIPE, text=True, check=True)
    return Paced(rate=rate, **json.loads(done.stdout))
