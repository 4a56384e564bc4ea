"""`python -m deploy.local`: starts the stack, says what to open, stays until it is told to stop."""

import argparse
import sys

from deploy.local import environment, terminal
from deploy.local.errors import StackError
from deploy.local.stack import Stack
from deploy.local.staying import stay
from deploy.local.terminal import fail, say

PYTHON_LEAST = (3, 11)


def main() -> int:
    """Run a stack; gives the exit code."""
    argparse.ArgumentParser(
        "python -m deploy.local", description=__doc__, epilog="Settings are environment variables: docs/deployment.md."
    ).parse_args()
    if sys.version_info < PYTHON_LEAST:
        return fail(StackError("Scoreboard needs Python 3.11 or newer: make clean, then make run PYTHON=python3.12"))
    try:
        given = terminal.given()
        folders = terminal.folders_of(given)
        stack = Stack.configured(given, folders, say)
    except StackError as error:
        return fail(error)
    return stay(folders, stack, lambda: _welcome(stack))


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
