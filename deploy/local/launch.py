"""Becomes one process of a stack: `python -m deploy.local.launch NAME`, as supervisord calls it at every (re)start."""

import json
import os
import resource
import signal
import sys
import time
from pathlib import Path
from typing import Final

from deploy.local.processes import PROCESS_MARK, STACK_MARK, end_with_parent, kill, marked, orphans

FILES_WANTED: Final = 65_536  # a socket process holds thousands of connections; many shells allow 1,024 files
QUICK_SECONDS: Final = 1.0  # a process that lived shorter than this …
PAUSE_SECONDS: Final = 0.5  # … waits so long before the next try: no busy loop, and well below the 2 s to be back
STARTS_KEPT: Final = 20


def main(name: str) -> None:
    """Clear what an earlier life of the process left, then turn into its command."""
    stack = Path(os.environ[STACK_MARK])
    parent = os.getppid()
    # Children of a killed parent would hold its port or its data. Not asked to end but killed: web's workers would say
    # 500 to whoever waits for an answer, though the update may be committed; a cut connection says that nobody knows.
    kill(marked(stack, name) + _left_of_the_last_group(stack / "run" / "groups" / name))
    os.environ[PROCESS_MARK] = name
    _note_start(stack / "run" / "starts" / name)
    _allow_files()
    end_with_parent(signal.SIGTERM, parent)
    given = json.loads((stack / "run" / "commands.json").read_text("utf-8"))[name]
    os.execvpe(given["arguments"][0], given["arguments"], {**os.environ, **given["environment"]})  # noqa: S606 - no shell on purpose


def _left_of_the_last_group(path: Path) -> list[int]:
    """What our predecessor's group has left; and note that the group is ours now."""
    left = orphans(int(path.read_text("ascii"))) if path.exists() else []
    path.parent.mkdir(mode=0o700, exist_ok=True)
    path.write_text(str(os.getpgid(0)), "ascii")
    return left


def _note_start(path: Path) -> None:
    """Write down the time of this start; the runner counts them to find a process that cannot start."""
    starts = path.read_text("ascii").split() if path.exists() else []
    if starts and time.time() - float(starts[-1]) < QUICK_SECONDS:
        time.sleep(PAUSE_SECONDS)
    path.write_text("\n".join([*starts[-STARTS_KEPT:], f"{time.time():.3f}"]) + "\n", "ascii")


def _allow_files() -> None:
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = FILES_WANTED if hard == resource.RLIM_INFINITY else min(hard, FILES_WANTED)
    resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))


if __name__ == "__main__":
    main(sys.argv[1])
