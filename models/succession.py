"""Puts a new gunicorn in the place of one that is told to reload (SIGHUP): same process and socket, the code of now.

gunicorn's own reload forks new workers from a master that holds the modules of its start: they would run the old code
over the new files. So the master executes itself anew. Its old workers stay its children, and each ends, having
answered all it took, when a new one is ready.
"""

from __future__ import annotations

import os
import signal
import sys
import time
from contextlib import suppress
from typing import Any, Final

import psutil

#: In the new master's environment: when it began, and the process ids of the old workers.
_RETIRING: Final = "SCOREBOARD_RETIRING"


def begin_anew(server: Any) -> None:
    """gunicorn's `on_reload`. Does not return."""
    old = " ".join(str(pid) for pid in server.WORKERS)
    handed_over = {
        "GUNICORN_PID": str(server.pid),  # with it gunicorn takes the sockets that it was handed
        "GUNICORN_FD": ",".join(str(listener.fileno()) for listener in server.LISTENERS),
        _RETIRING: f"{time.time()} {old}",
    }
    command = [sys.executable, *sys.orig_argv[1:]]
    os.execve(command[0], command, {**server.cfg.env_orig, **handed_over})  # noqa: S606 - our own command


def retire_one(worker: Any) -> None:
    """gunicorn's `post_worker_init`, called when a worker can answer: the first lets go the first of the old ones, and
    so on; the last, and whoever follows one that fell over, all that are left.
    """
    began, *old = worker.cfg.env_orig.get(_RETIRING, "0").split()
    ready = worker.age  # gunicorn counts the workers that a master starts
    for pid in old if ready >= worker.cfg.workers else old[ready - 1 : ready]:
        with suppress(psutil.NoSuchProcess):
            process = psutil.Process(int(pid))
            if process.ppid() == os.getppid() and process.create_time() < float(began):
                process.send_signal(signal.SIGTERM)
