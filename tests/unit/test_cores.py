"""Each process of a family keeps to a core of its own."""

from __future__ import annotations

import os
import subprocess
import sys

TAKE = "import sys; from web.cores import take_a_core; print(take_a_core(), flush=True); sys.stdin.read()"


def test_siblings_spread_over_the_cores_and_a_successor_takes_the_free_one() -> None:
    cores = sorted(os.sched_getaffinity(0))
    siblings = [_take() for _ in cores]
    try:
        taken = [_core(each) for each in siblings]
        assert sorted(taken) == cores
        assert [os.sched_getaffinity(each.pid) for each in siblings] == [{core} for core in taken]
        gone = siblings.pop(0)
        gone.communicate()
        siblings.append(_take())
        assert _core(siblings[-1]) == taken[0]
    finally:
        for each in siblings:
            each.communicate()


def _take() -> subprocess.Popen[str]:
    return subprocess.Popen([sys.executable, "-c", TAKE], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)


def _core(process: subprocess.Popen[str]) -> int:
    assert process.stdout is not None
    return int(process.stdout.readline())
