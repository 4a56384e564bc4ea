"""`python -m deploy.local.backup`: takes a base backup of the running stack, beside the WAL it keeps anyway."""

import argparse
import fcntl
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import datetime
from pathlib import Path
from typing import Final

import psycopg

from deploy.local import archive, base_backups, environment, manifest, terminal
from deploy.local.base_backups import About, BaseBackup
from deploy.local.embedded import postgres
from deploy.local.errors import StackError
from deploy.local.folders import Folders

Say = Callable[[str], None]
MEBIBYTE: Final = 2**20


def take(folders: Folders, say: Say) -> BaseBackup:
    """Copy the cluster while it is used, verify the copy, and clear what no kept backup needs.

    Raises:
        StackError: nothing runs here, or the copy is not whole: then no backup was added and none removed. Or the
            backup is whole but WAL cannot be kept, which the message says.
    """
    if not postgres.answers(folders.sockets):
        raise StackError(f"no stack runs in DATA_DIR {folders.data}: start it with make run, then take the backup.")
    began = time.monotonic()
    with _alone(folders.base_backups):
        draft = folders.base_backups / f"under-way{base_backups.DRAFT}"
        shutil.rmtree(draft, ignore_errors=True)
        draft.mkdir(mode=0o700)
        say("copying the database")
        _copy(folders, draft / "cluster")
        say("verifying the copy")
        manifest.verify(draft / "cluster")
        backup = _finish(folders, draft)
        gone = base_backups.clear(folders.base_backups, folders.wal)
        _report(folders, backup, time.monotonic() - began, gone, say)
    return backup


def _copy(folders: Folders, cluster: Path) -> None:
    """pg_basebackup asks for a checkpoint at once, so that nobody waits for the next one, and syncs all it wrote."""
    host = str(folders.sockets / "postgres")
    options = ["--checkpoint=fast", "--wal-method=stream", "--progress", f"--manifest-checksums={manifest.CHECKSUMS}"]
    place = [
        f"--pgdata={cluster}",
        f"--host={host}",
        "--port=5432",
        f"--username={postgres.SUPERUSER}",
        "--no-password",
    ]
    copied = subprocess.run(
        [str(postgres.binaries() / "pg_basebackup"), *options, *place],
        stdin=subprocess.DEVNULL,
        check=False,
        env={name: value for name, value in os.environ.items() if not name.startswith("PG")},
    )
    if copied.returncode != 0:
        raise StackError("pg_basebackup failed, for the reason it gave above; no backup was made.")


def _finish(folders: Folders, draft: Path) -> BaseBackup:
    """Write down what the copy is, then give it its name.

    The time is asked for after the copy, so that every commit before the copy's end is before it.
    """
    with postgres.connect(folders.sockets) as connection:
        row = connection.execute(
            "SELECT clock_timestamp(), system_identifier::text FROM pg_control_system()"
        ).fetchone()
    assert row is not None  # noqa: S101 - one row by its nature
    finished_at: datetime = row[0]
    needed = manifest.needed_wal(draft / "cluster")
    size = sum(path.stat().st_size for path in draft.rglob("*") if path.is_file())
    about = About(row[1], needed.timeline, needed.begins, needed.ends, finished_at.isoformat(), size)
    base_backups.write_about(draft, about)
    folder = draft.rename(folders.base_backups / base_backups.name_for(finished_at))
    archive.sync_folder(folders.base_backups)
    return BaseBackup(folder, about)


def _report(folders: Folders, backup: BaseBackup, seconds: float, gone: int, say: Say) -> None:
    kept = base_backups.whole(folders.base_backups)
    archived = sum(path.stat().st_size for path in folders.wal.iterdir())
    say(f"backup {backup.folder}: {backup.about.bytes / MEBIBYTE:.0f} MiB in {seconds:.1f} s")
    say(f"  kept    {len(kept)} base backups, {archived / MEBIBYTE:.0f} MiB of WAL ({gone} old segments cleared)")
    say(f"  restore to any time from {kept[0].about.finished_at} until now: make restore TIME=…")
    say("  apart   copy DATA_DIR/backups to another machine, and secrets.json to another place than that")
    _require_archiving(folders)


def _require_archiving(folders: Folders) -> None:
    with postgres.connect(folders.sockets) as connection:
        failing = connection.execute(
            "SELECT last_failed_wal FROM pg_stat_archiver"
            " WHERE last_failed_time > coalesce(last_archived_time, '-infinity')"
        ).fetchone()
    if failing:
        raise StackError(
            f"the backup is whole, but WAL cannot be kept ({failing[0]}): see {folders.logs / 'postgres.log'}; "
            "until that is mended, only this very state can be restored."
        )


@contextmanager
def _alone(base: Path) -> Iterator[None]:
    """One backup at a time: two would clear each other's work away."""
    with (base / "lock").open("w") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            raise StackError("another backup is being taken: wait for it.") from error
        yield


def main(arguments: list[str]) -> int:
    """The command; gives the exit code."""
    argparse.ArgumentParser(
        prog="make backup",
        description="Take a base backup of the running stack's PostgreSQL into DATA_DIR/backups/base, verify it, keep "
        f"the newest {base_backups.KEPT_MOST}, and clear WAL that none of these needs.",
    ).parse_args(arguments)
    given = terminal.given()
    folders = terminal.folders_of(given)

    def work() -> None:
        environment.require_embedded_postgres(given, folders)
        try:
            take(folders, terminal.say)
        except (OSError, psycopg.Error) as error:
            raise StackError(f"the backup cannot be written: {error}") from error

    return terminal.run(work)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
