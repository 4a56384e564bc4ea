"""Puts a cluster together from a base backup and has PostgreSQL replay WAL up to a moment."""

import os
import re
import shutil
import subprocess
import time
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Final

import psycopg

from deploy.local import archive, wal
from deploy.local.base_backups import BaseBackup
from deploy.local.embedded import postgres
from deploy.local.errors import StackError
from deploy.local.folders import Folders
from deploy.local.processes import STACK_MARK

TELL_EVERY_SECONDS: Final = 5.0
_POLL_SECONDS: Final = 0.05
_NOT_REACHED: Final = "recovery ended before configured recovery target was reached"
_LAST_COMMIT: Final = re.compile(r"last completed transaction was at log time ([\d :.+-]+)")


class TargetNotReached(Exception):
    """WAL ends before the moment that was asked for; the argument says when it ends."""


@dataclass(frozen=True, slots=True)
class Recovery:
    """One recovery: of which backup, to which timeline, until when (None: to the end of WAL)."""

    folders: Folders
    cluster: Path
    backup: BaseBackup
    timeline: int
    moment: datetime | None

    def assemble(self, unfinished: list[Path]) -> None:
        """Copy the base backup, and WAL that only the present cluster has, where recovery looks for it last.

        Raises:
            OSError: when that cannot be written.
        """
        shutil.rmtree(self.cluster, ignore_errors=True)
        shutil.copytree(self.backup.cluster, self.cluster)
        self.cluster.chmod(0o700)
        for segment in unfinished:
            shutil.copyfile(segment, self.cluster / "pg_wal" / segment.name)
        (self.cluster / "recovery.signal").touch(mode=0o600)
        for path in (self.cluster, *self.cluster.rglob("*")):
            postgres.hand_over(path)

    def replay(
        self, work: Callable[[psycopg.Connection[tuple[object, ...]]], None], say: Callable[[str], None]
    ) -> None:
        """Run the server until it takes writes, do the work on the service's database, and stop it in good order.

        Raises:
            TargetNotReached: WAL ends before the moment.
            StackError: recovery failed.
        """
        self._prepare()
        log = self.folders.logs / "restore.log"
        log.write_bytes(b"")
        environ = {**os.environ, STACK_MARK: str(self.folders.data)}  # should we be killed, the next start finds it
        with postgres.serving(self.folders.run, log, environ) as server:
            self._wait_promoted(server, log, say)
            with postgres.connect(self.folders.sockets, postgres.OWNER) as connection:
                work(connection)

    def _prepare(self) -> None:
        """It archives nothing yet: the history of a timeline that comes to nothing would lead later restores astray."""
        settings = {
            **postgres.SETTINGS,
            **archive.settings(self.folders.wal),
            "archive_command": "",
            "restore_command": archive.restore_command(self.folders.wal),
            "recovery_target_timeline": str(self.timeline),
            "recovery_target_action": "promote",
        }
        if self.moment is not None:
            settings["recovery_target_time"] = self.moment.astimezone(UTC).isoformat(sep=" ")
        postgres.prepare(self.cluster, self.folders.run, self.folders.sockets, settings)

    def _wait_promoted(self, server: subprocess.Popen[bytes], log: Path, say: Callable[[str], None]) -> None:
        """However long that takes: WAL of a busy week is hours. Progress is told."""
        told_at = time.monotonic()
        while (reached := self._reached()) is not None:
            if server.poll() is not None:
                raise _failure(log)
            if time.monotonic() - told_at > TELL_EVERY_SECONDS and reached:
                say(f"  replayed to {reached}")
                told_at = time.monotonic()
            time.sleep(_POLL_SECONDS)

    def _reached(self) -> str | None:
        """The last commit replayed, empty when that cannot be told yet; None once the server takes writes."""
        try:
            with postgres.connect(self.folders.sockets) as connection:
                row = connection.execute("SELECT pg_is_in_recovery(), pg_last_xact_replay_timestamp()").fetchone()
        except psycopg.OperationalError:
            return ""
        if row is None or row[0]:
            return row[1].isoformat() if row and row[1] else ""
        return None


def replayed_to(cluster: Path, timeline: int) -> int:
    """The position at which a promoted cluster began its own timeline."""
    history = (cluster / "pg_wal" / f"{timeline:08X}.history").read_text("utf-8")
    return wal.Lineage.of(timeline, history).stretches[-1].begins


def _failure(log: Path) -> Exception:
    said = log.read_text("utf-8", errors="replace")
    if _NOT_REACHED in said:
        found = _LAST_COMMIT.findall(said)
        return TargetNotReached(found[-1].strip() if found else "the end of the base backup")
    tail = "\n".join(f"  {line}" for line in said.splitlines()[-25:])
    return StackError("PostgreSQL could not recover, and nothing was changed: its log says why.", tail)
