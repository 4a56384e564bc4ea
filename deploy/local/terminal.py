"""Between a stack's commands and the person at the terminal: what was given, what is said, how a command ends."""

import os
import signal
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from types import FrameType
from typing import Final

from deploy.local.errors import StackError
from deploy.local.folders import Folders
from models.settings import default_data_dir

STOPPED: Final = 130  # what a shell reports of a command that was stopped with Ctrl-C


def given() -> dict[str, str]:
    """The environment without what is set to nothing: make hands on PORT= and the like."""
    return {name: value for name, value in os.environ.items() if value != ""}


def folders_of(environ: Mapping[str, str]) -> Folders:
    """The data folder that is meant."""
    return Folders(Path(environ.get("DATA_DIR") or default_data_dir(environ)).expanduser().absolute())


def say(sentence: str) -> None:
    """One line for the person, at once."""
    print(sentence, flush=True)


def fail(error: StackError) -> int:
    """Tell what is wrong; gives the exit code."""
    print(f"scoreboard: {error}", file=sys.stderr, flush=True)
    if error.log_tail:
        print(error.log_tail, file=sys.stderr, flush=True)
    return 1


def run(work: Callable[[], None]) -> int:
    """Do the work of a command that ends by itself; gives the exit code. SIGTERM ends it in good order, like Ctrl-C."""
    os.umask(0o077)
    signal.signal(signal.SIGTERM, _interrupt)
    try:
        work()
    except StackError as error:
        return fail(error)
    except KeyboardInterrupt:
        say("stopped: nothing was changed")
        return STOPPED
    return 0


def _interrupt(_number: int, _frame: FrameType | None) -> None:
    raise KeyboardInterrupt
