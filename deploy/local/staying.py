"""How a command that stays runs: it starts its stack, says what to open, and ends it in order when it is told to."""

import os
import signal
from collections.abc import Callable
from types import FrameType
from typing import Protocol

from deploy.local import terminal
from deploy.local.errors import StackError
from deploy.local.folders import Folders
from deploy.local.processes import end_with_parent


class Startable(Protocol):
    """A stack of either kind."""

    def start(self) -> None:
        """Bring everything up."""

    def watch(self) -> None:
        """Stay until something ends."""

    def stop(self) -> None:
        """End everything."""


class StopAsked(BaseException):
    """Ctrl-C, SIGTERM, or a closed terminal; no error, so that nothing on the way catches it as one."""


def stay(folders: Folders, stack: Startable, welcome: Callable[[], None]) -> int:
    """Run a stack until it is told to end; gives the exit code."""
    os.umask(0o077)
    _listen_for_stop()
    try:
        with folders.lock():
            try:
                stack.start()
                welcome()
                stack.watch()
            except StopAsked:
                terminal.say("stopping")
            finally:
                stack.stop()
        terminal.say("stopped")
    except StackError as error:
        return terminal.fail(error)
    except StopAsked:
        return 0
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
