"""The harness' programs in C: compiled when they are used, and kept to a core where that matters."""

from __future__ import annotations

import os
import shutil
import subprocess
import tempfile
from collections.abc import Sequence
from functools import cache
from pathlib import Path
from typing import Final

_SOURCES: Final = Path(__file__).parent / "c"


@cache
def compiled(name: str) -> Path:
    """The program of this name.

    Raises:
        SystemExit: there is no C compiler.
    """
    compiler = shutil.which("cc") or shutil.which("gcc")
    if compiler is None:
        raise SystemExit("the benchmarks need a C compiler: install gcc")
    target = Path(tempfile.mkdtemp(prefix="sb-bench-c-")) / name
    subprocess.run([compiler, "-O2", "-Wall", "-Wextra", "-o", target, _SOURCES / f"{name}.c"], check=True)
    return target


def pinned(core: int | None, words: Sequence[object]) -> list[str]:
    """The command, kept to a core if there are two and it is to be."""
    command = [str(word) for word in words]
    if core is None or shutil.which("taskset") is None or (os.cpu_count() or 1) < 2:
        return command
    return ["taskset", "-c", str(core), *command]
