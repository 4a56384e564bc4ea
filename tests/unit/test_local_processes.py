"""A stack's processes are found by their mark and ended, also those that do not want to."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

from deploy.local import procfile
from deploy.local.processes import PROCESS_MARK, STACK_MARK, alive, end, grouped, kill, marked, orphans

STUBBORN = "import signal, time; signal.signal(signal.SIGTERM, signal.SIG_IGN); print('up', flush=True); time.sleep(60)"
TETHERED = (
    "import os, signal, subprocess, sys\n"
    "child = ('import os, signal, time; from deploy.local.processes import end_with_parent;'"
    " 'end_with_parent(signal.SIGTERM, os.getppid()); print(os.getpid(), flush=True); time.sleep(60)')\n"
    "subprocess.run([sys.executable, '-c', child])\n"
)


def started(code: str, **marks: str) -> tuple[subprocess.Popen[str], str]:
    """A process that has said its first line, and that line."""
    process = subprocess.Popen(
        [sys.executable, "-c", code], env={**os.environ, **marks}, stdout=subprocess.PIPE, text=True, cwd=procfile.ROOT
    )
    assert process.stdout is not None
    return process, process.stdout.readline().strip()


def finished(process: subprocess.Popen[str]) -> int:
    code = process.wait(5)
    assert process.stdout is not None
    process.stdout.close()
    return code


def test_a_process_is_found_by_stack_and_name_and_ended_by_force(tmp_path: Path) -> None:
    process, _ = started(STUBBORN, **{STACK_MARK: str(tmp_path), PROCESS_MARK: "web"})
    assert marked(tmp_path) == marked(tmp_path, "web") == [process.pid]
    assert marked(tmp_path, "worker") == marked(tmp_path / "other") == []
    end(marked(tmp_path), patience_seconds=0.1)
    assert finished(process) == -signal.SIGKILL
    assert not alive(process.pid)


def test_who_a_group_has_left_is_found_without_a_mark_but_only_in_the_same_session() -> None:
    code = (
        "import os, subprocess, sys; os.setpgrp();"
        "print(subprocess.Popen([sys.executable, '-c', 'import time; time.sleep(60)']).pid, flush=True);"
        "import time; time.sleep(60)"
    )
    leader, line = started(code)
    left = int(line)
    assert sorted(grouped(leader.pid)) == sorted([leader.pid, left])
    leader.kill()
    finished(leader)
    assert orphans(leader.pid) == [left]
    foreign = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(60)"], start_new_session=True)
    try:
        assert orphans(foreign.pid) == []
    finally:
        kill([left, foreign.pid])
        foreign.wait(5)


def test_a_process_ends_with_its_parent_however_that_ended() -> None:
    parent, line = started(TETHERED)
    child = int(line)
    assert alive(child)
    parent.kill()
    deadline = time.monotonic() + 5
    while alive(child):
        assert time.monotonic() < deadline
        time.sleep(0.01)
    finished(parent)
