"""The one who has a supervisor run processes: starts it, waits for what they bring up, and ends all of it."""

import json
import os
import subprocess
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

from deploy.local import supervision
from deploy.local.errors import StackError
from deploy.local.folders import Folders
from deploy.local.processes import end, marked
from deploy.local.procfile import ROOT

SUPERVISOR_SECONDS_MOST: Final = 40.0
LEFTOVERS_SECONDS: Final = 9.0  # what a supervisord that is stopping takes at most
STARTS_OF_A_CRASH: Final = 3
LOG_TAIL_LINES: Final = 25


@dataclass
class Runner:
    """Runs processes in a data folder; `say` tells the person what is being done."""

    folders: Folders
    environ: dict[str, str]
    say: Callable[[str], None]
    supervisord: subprocess.Popen[bytes] | None = field(default=None, init=False)

    def clear_leftovers(self) -> None:
        """A stack whose runner was killed is still ending, or was killed in parts: nobody else has the lock."""
        left = marked(self.folders.data)
        if left:
            self.say(f"ending {len(left)} processes which an earlier stack left in {self.folders.data}")
            end(left, LEFTOVERS_SECONDS)

    def supervise(
        self,
        commands: Mapping[str, Mapping[str, Any]],
        programs: Sequence[supervision.Program],
        groups: Sequence[str],
    ) -> None:
        """Start a supervisor that knows how to start these processes; it starts none yet.

        `commands` leads from a process's name to its `arguments`, and to the `environment` that is added to ours.

        Raises:
            StackError: it does not stay up.
        """
        path = self.folders.run / "commands.json"
        path.touch(mode=0o600)
        path.write_text(json.dumps(commands), "utf-8")
        supervision.write_configuration(self.folders, programs, groups)
        self.supervisord = supervision.start(self.folders, self.environ)
        self.wait("supervisord", lambda: supervision.running(self.folders), SUPERVISOR_SECONDS_MOST)

    def run(self, name: str, command: Sequence[str], environment: Mapping[str, str] | None = None) -> None:
        """Run something that ends by itself, with this added to our environment; what it says goes into its log.

        Raises:
            StackError: it failed.
        """
        with (self.folders.logs / f"{name}.log").open("wb") as log:
            code = subprocess.run(
                command,
                cwd=ROOT,
                env={**self.environ, **(environment or {})},
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                check=False,
            ).returncode
        if code != 0:
            raise StackError(f"{name} failed (code {code}): see its log.", self.tail(name))

    def wait(
        self, what: str, condition: Callable[[], bool], seconds: float, processes: Sequence[str] | None = None
    ) -> None:
        """Wait for the condition, but not for a process that keeps ending.

        Raises:
            StackError: it did not come true in time, or cannot.
        """
        deadline = time.monotonic() + seconds
        pause_seconds = 0.03
        while not condition():
            for name in processes or [what]:
                if self._starts(name) >= STARTS_OF_A_CRASH:
                    raise StackError(f"{name} cannot start: its log says why.", self.tail(name))
            if self.supervisord is None or self.supervisord.poll() is not None:
                raise StackError("supervisord did not stay up.", self.tail("supervisord"))
            if time.monotonic() > deadline:
                raise StackError(
                    f"{what} did not become ready within {seconds:.0f} s: see {self.folders.logs}.", self.tail(what)
                )
            time.sleep(pause_seconds)
            pause_seconds = min(pause_seconds * 1.1, 0.2)

    def watch(self) -> None:
        """Return only by an exception: StackError when supervisord has ended, or a signal's."""
        if self.supervisord is None:
            return
        code = self.supervisord.wait()
        raise StackError(f"supervisord ended by itself (code {code}); ending what is left.", self.tail("supervisord"))

    def stop(self, seconds: float) -> None:
        """End everything in order, and by force what has not ended after the seconds; afterwards no process is left."""
        if self.supervisord is not None:
            self.supervisord.terminate()
            try:
                self.supervisord.wait(seconds)
            except subprocess.TimeoutExpired:
                self.supervisord.kill()
                self.supervisord.wait()
        end(marked(self.folders.data), patience_seconds=0.2)
        self.folders.environment_file.unlink(missing_ok=True)
        self.folders.remove_outside()

    def tail(self, name: str) -> str:
        """The end of what a process said, for the person."""
        candidates = [self.folders.logs / f"{name}{suffix}" for suffix in (".out", ".log")]
        path = next((each for each in candidates if each.exists() and each.stat().st_size), None)
        if path is None:
            return ""
        lines = path.read_text("utf-8", errors="replace").splitlines()[-LOG_TAIL_LINES:]
        return os.linesep.join([f"the end of {path}:", *(f"  {line}" for line in lines)])

    def _starts(self, name: str) -> int:
        path: Path = self.folders.run / "starts" / name
        return len(path.read_text("ascii").split()) if path.exists() else 0
