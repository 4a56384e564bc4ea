"""Finding and ending the processes of one stack, by the mark in their environment, whoever their parent is by now."""

import ctypes
import os
import signal
import time
from pathlib import Path
from typing import Final

STACK_MARK: Final = "SCOREBOARD_STACK"  # the stack's data folder
PROCESS_MARK: Final = "SCOREBOARD_PROCESS"  # the process's name in the Procfile
_PR_SET_PDEATHSIG: Final = 1  # linux/prctl.h


def marked(stack: Path, process: str | None = None) -> list[int]:
    """Process ids of a stack, or of one process of it with its children; never the caller's own."""
    wanted = {f"{STACK_MARK}={stack}".encode()}
    if process is not None:
        wanted.add(f"{PROCESS_MARK}={process}".encode())
    return [pid for pid in _all() if pid != os.getpid() and wanted <= _environment(pid)]


def grouped(leader: int) -> list[int]:
    """Process ids of a process group; never the caller's own. For those that write over their environment, as nginx."""
    return [pid for pid in _all() if pid != os.getpid() and _group_and_session(pid)[0] == leader]


def orphans(leader: int) -> list[int]:
    """Of a group whose leader is gone, those in the caller's own session: the number may be somebody else's by now."""
    session = os.getsid(0)
    return [pid for pid in grouped(leader) if _group_and_session(pid)[1] == session]


def end(pids: list[int], patience_seconds: float) -> None:
    """Ask the processes to end, and kill those that have not after the given time."""
    _send(pids, signal.SIGTERM)
    deadline = time.monotonic() + patience_seconds
    while time.monotonic() < deadline and any(alive(pid) for pid in pids):
        time.sleep(0.02)
    kill([pid for pid in pids if alive(pid)])


def kill(pids: list[int]) -> None:
    """End the processes at once, without a word to their clients, and wait until they are gone."""
    _send(pids, signal.SIGKILL)
    deadline = time.monotonic() + 1
    while time.monotonic() < deadline and any(alive(pid) for pid in pids):
        time.sleep(0.005)


def alive(pid: int) -> bool:
    """Whether a process still runs; one that only waits to be reaped does not."""
    try:
        status = Path(f"/proc/{pid}/stat").read_text("ascii", errors="replace")
    except OSError:
        return False
    return status.rpartition(")")[2].split()[0] not in ("Z", "X")


def end_with_parent(number: signal.Signals, parent: int) -> None:
    """Have the kernel send this process a signal when its parent is gone, however that ended."""
    ctypes.CDLL(None, use_errno=True).prctl(_PR_SET_PDEATHSIG, int(number), 0, 0, 0)
    if os.getppid() != parent:  # gone before we asked
        os.kill(os.getpid(), number)


def _all() -> list[int]:
    return [int(entry.name) for entry in Path("/proc").iterdir() if entry.name.isdigit()]


def _environment(pid: int) -> set[bytes]:
    try:
        return set(Path(f"/proc/{pid}/environ").read_bytes().split(b"\0"))
    except OSError:  # ended meanwhile, or another user's
        return set()


def _group_and_session(pid: int) -> tuple[int, int]:
    """proc(5): the fifth and sixth field of stat; the second, in parentheses, may hold anything."""
    try:
        fields = Path(f"/proc/{pid}/stat").read_text("ascii", errors="replace").rpartition(")")[2].split()
    except OSError:
        return 0, 0
    return int(fields[2]), int(fields[3])


def _send(pids: list[int], number: signal.Signals) -> None:
    for pid in pids:
        try:
            os.kill(pid, number)
        except ProcessLookupError:
            continue
