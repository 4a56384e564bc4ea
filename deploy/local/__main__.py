"""`python -m deploy.local`: starts the stack, says what to open, stays until it is told to stop."""

import argparse
import os
import signal
import sys
from types import FrameType

from deploy.local import environment, terminal
from deploy.local.errors import StackError
from deploy.local.folders import Folders
from deploy.local.processes import end_with_parent
from deploy.local.stack import Stack
from deploy.local.terminal import fail, say

PYTHON_LEAST = (3, 11)


class StopAsked(BaseException):
    """Ctrl-C, SIGTERM, or a closed terminal; no error, so that nothing on the way catches it as one."""


def main() -> int:
    """Run a stack; gives the exit code."""
    argparse.ArgumentParser(
        "python -m deploy.local", description=__doc__, epilog="Settings are environment variables: docs/deployment.md."
    ).parse_args()
    if sys.version_info < PYTHON_LEAST:
        return fail(StackError("Scoreboard needs Python 3.11 or newer: make clean, then make run PYTHON=python3.12"))
    os.umask(0o077)
    _listen_for_stop()
    given = terminal.given()
    try:
        return _run(given, terminal.folders_of(given))
    except StackError as error:
        return fail(error)
    except StopAsked:
        return 0


def _run(given: dict[str, str], folders: Folders) -> int:
    with folders.lock():
        stack = Stack.configured(given, folders, say)
        try:
            stack.start()
            _welcome(stack)
            stack.watch()
        except StopAsked:
            say("stopping")
        finally:
            stack.stop()
    say("stopped")
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
    say(f"ready {url}")
    say(f"  live board  {url}/")
    say(f"  API docs    {url}/docs")
    say(f"  Flower      {flower}  (user {user}, password {password})")
    say(f"  data        {stack.folders.data}")
    say(f"  logs        {stack.folders.logs}")
    say("  to stop     Ctrl-C")


if __name__ == "__main__":
    sys.exit(main())
