"""`python -m deploy.local.reload`: puts new processes in the place of the old ones, one after the other."""

import argparse
import os
import signal
import sys
import time
from collections.abc import Callable
from typing import Final

from deploy.local import supervision, terminal
from deploy.local.errors import StackError
from deploy.local.folders import Folders
from deploy.local.processes import alive, marked

#: These start successors before they end their old workers: nobody is refused meanwhile.
GRACEFUL: Final = ("web", "sockets")
#: These are ended and started: what arrives meanwhile waits in the inbox, and is applied when they are back.
IN_TURN: Final = ("worker", "beat", "flower")
SUCCESSION_SECONDS_MOST: Final = 60.0


def roll(folders: Folders, say: Callable[[str], None]) -> None:
    """Replace every process of the running stack, but not its stores.

    Raises:
        StackError: nothing runs here, or a process did not get its successor in time.
    """
    if not supervision.running(folders):
        raise StackError(f"no stack runs in DATA_DIR {folders.data}: start it with make run.")
    there = supervision.pids(folders)
    for name in GRACEFUL:
        if name in there:
            _timed(name, say, lambda name=name: succeed(folders, name))  # type: ignore[misc]
    for name in IN_TURN:
        if name in there:
            _timed(name, say, lambda name=name: supervision.restart(folders, name))  # type: ignore[misc]


def succeed(folders: Folders, name: str) -> None:
    """SIGHUP: gunicorn begins anew and starts new workers; the old ones end when they have answered all they took."""
    parent = supervision.pids(folders)[name]
    old = [pid for pid in marked(folders.data, name) if pid != parent]
    os.kill(parent, signal.SIGHUP)
    deadline = time.monotonic() + SUCCESSION_SECONDS_MOST
    while any(alive(pid) for pid in old):
        if time.monotonic() > deadline:
            raise StackError(f"{name} still has old workers after {SUCCESSION_SECONDS_MOST:.0f} s: see its log.")
        time.sleep(0.05)


def _timed(name: str, say: Callable[[str], None], work: Callable[[], None]) -> None:
    began = time.monotonic()
    work()
    say(f"{name} replaced after {time.monotonic() - began:.1f} s")


def main(arguments: list[str]) -> int:
    """Roll out what lies in this folder now; gives the exit code."""
    description = "Put new processes in the place of the running stack's, one after the other; no request is refused."
    argparse.ArgumentParser(prog="make reload", description=description).parse_args(arguments)
    return terminal.run(lambda: roll(terminal.folders_of(terminal.given()), terminal.say))


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
