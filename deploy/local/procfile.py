"""The Procfile: which processes the service consists of, and the command of each."""

import os
import re
import shlex
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Final

from deploy.local.errors import StackError

ROOT: Final = Path(__file__).resolve().parents[2]
_LINE = re.compile(r"^([a-z][a-z0-9_-]*):\s*(\S.*)$")
_VARIABLE = re.compile(r"\$(?:\{([A-Z_]+)\}|([A-Z_]+))")


def read(path: Path = ROOT / "Procfile") -> dict[str, str]:
    """Name → command line, as written, in the order of the file.

    Raises:
        StackError: naming the line that is neither a comment nor `name: command`.
    """
    processes: dict[str, str] = {}
    for number, text in enumerate(path.read_text("utf-8").splitlines(), start=1):
        line = text.strip()
        if not line or line.startswith("#"):
            continue
        match = _LINE.match(line)
        if match is None:
            raise StackError(f"{path}, line {number} is not of the form `name: command`.")
        processes[match.group(1)] = match.group(2)
    return processes


def arguments(command: str, environ: Mapping[str, str]) -> list[str]:
    """The words of a command line with its $VARIABLES filled in; a value with spaces stays one word.

    Raises:
        StackError: naming a variable that is not set.
    """

    def value(match: re.Match[str]) -> str:
        name = match.group(1) or match.group(2)
        if name not in environ:
            raise StackError(f"the Procfile uses ${name}, which is not set.")
        return environ[name]

    return [_VARIABLE.sub(value, word) for word in shlex.split(command)]


def main(name: str) -> None:
    """Turn into the named process, with the environment as it is: how a container starts one."""
    words = arguments(read()[name], os.environ)
    os.execvp(words[0], words)  # noqa: S606 - no shell on purpose


if __name__ == "__main__":
    main(sys.argv[1])
