"""`python -m deploy.local`: starts the stack, says what to open, stays until it is told to stop."""

import os
import signal
import sys
from pathlib import Path
from types import FrameType

from deploy.local import environment
from deploy.local.errors import StackError
from deploy.local.folders import Folders
from deploy.local.processes import end_with_parent
from deploy.local.stack import Stack
from models.settings import default_data_dir

PYTHON_LEAST = (3, 11)


class StopAsked(BaseException):
    """Ctrl-C, SIGTERM, or a closed terminal; no error, so that nothing on the way catches it as one."""


def main() -> int:
    """Run a stack; gives the exit code."""
    if sys.version_info < PYTHON_LEAST:
        return _fail(StackError("Scoreboard needs Python 3.11 or newer: make clean, then make run PYTHON=python3.12"))
    os.umask(0o077)
    _listen_for_stop()
    given = {name: value for name, value in os.environ.items() if value != ""}
    data = Path(given.get("DATA_DIR") or default_data_dir(given)).expanduser().absolute()
    try:
        return _run(given, Folders(data))
    except StackError as error:
        return _fail(error)
    except StopAsked:
        return 0


def _run(given: dict[str, str], folders: Folders) -> int:
    with folders.lock():
        stack = Stack.configured(given, folders, _say)
        try:
            stack.start()
            _welcome(stack)
            stack.watch()
        except StopAsked:
            _say("stopping")
        finally:
            stack.stop()
    _say("stopped")
    return 0


def _listen_for_stop() -> None:
    """Turn the first signal into an exception; further ones change nothing: the way back is short and bounded."""
    asked = False

    def stop(_number: int, _frame: FrameType | None) -> None:
        nonlocal asked
        if not asked:
            asked = True
            raise StopAsked

    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, stop)
    if signal.getsignal(signal.SIGHUP) != signal.SIG_IGN:  # nohup: meant to outlive the terminal
        signal.signal(signal.SIGHUP, stop)
    if "MAKELEVEL" in os.environ:  # make passes SIGTERM on, but a killed make cannot
        end_with_parent(signal.SIGTERM, os.getppid())


def _welcome(stack: Stack) -> None:
    url = environment.web_url(stack.environ)
    flower, login = stack.flower_login()
    user, _, password = login.partition(":")
    _say(f"ready {url}")
    _say(f"  live board  {url}/")
    _say(f"  API docs    {url}/docs")
    _say(f"  Flower      {flower}  (user {user}, password {password})")
    _say(f"  data        {stack.folders.data}")
    _say(f"  logs        {stack.folders.logs}")
    _say("  to stop     Ctrl-C")


def _say(sentence: str) -> None:
    print(sentence, flush=True)


def _fail(error: StackError) -> int:
    print(f"scoreboard: {error}", file=sys.stderr, flush=True)
    if error.log_tail:
        print(error.log_tail, file=sys.stderr, flush=True)
    return 1


if __name__ == "__main__":
    sys.exit(main())
