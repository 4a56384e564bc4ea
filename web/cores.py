"""Gives each web process a core of its own: its threads hand the interpreter's lock to each other all the time, and
between two cores that costs several times as much as on one (measured in docs/performance.md).
"""

from __future__ import annotations

import fcntl
import os
from pathlib import Path


def take_a_core() -> int:
    """Keep all threads of this process on the core that fewest of its siblings keep to; returns the core."""
    with Path(__file__).open("rb") as lock:  # siblings start at the same time: one looks and chooses after the other
        fcntl.flock(lock, fcntl.LOCK_EX)
        cores = sorted(os.sched_getaffinity(0))
        taken = [core for sibling in _siblings() for core in _only_core(sibling)]
        core = min(cores, key=taken.count)
        for thread in Path("/proc/self/task").iterdir():
            os.sched_setaffinity(int(thread.name), {core})
    return core


def _siblings() -> list[int]:
    """The other processes of our parent."""
    me, parent = os.getpid(), os.getppid()
    numbered = [entry for entry in Path("/proc").iterdir() if entry.name.isdigit() and int(entry.name) != me]
    return [int(entry.name) for entry in numbered if _parent(entry) == parent]


def _parent(process: Path) -> int | None:
    try:
        return int((process / "stat").read_text("ascii", errors="replace").rpartition(")")[2].split()[1])
    except (OSError, ValueError):  # it ended meanwhile
        return None


def _only_core(process: int) -> list[int]:
    """The core a process keeps to, if it keeps to one."""
    try:
        cores = os.sched_getaffinity(process)
    except ProcessLookupError:
        return []
    return list(cores) if len(cores) == 1 else []
