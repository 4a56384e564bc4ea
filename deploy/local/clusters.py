"""Which database a cluster's folder holds and on which timeline, read while no server runs on it."""

import gzip
import os
import re
import struct
import subprocess
import zlib
from collections.abc import Collection
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from deploy.local import archive, wal
from deploy.local.embedded import postgres
from deploy.local.errors import StackError
from deploy.local.folders import Folders

_SYSTEM_AT: Final = 24  # XLogLongPageHeaderData: the system identifier follows the header that every page has


def prepare_archive(folders: Folders) -> None:
    """Make the folders for backups; the server writes into that of the WAL.

    Raises:
        StackError: when they belong to another database, to one that is missing, or to a later state of this one.
    """
    for folder in (folders.wal.parent, folders.wal, folders.base_backups):
        folder.mkdir(mode=0o700, exist_ok=True)
    postgres.hand_over(folders.wal)
    system = _system_of_archive(folders.wal)
    advice = f"make restore puts that one back, or move {folders.wal.parent} away to go on without it."
    if system is not None and not folders.postgres.exists():
        raise StackError(f"{folders.postgres} is missing, but there are backups of it: {advice}")
    if system is not None:
        _require_latest(folders, system, advice)


def _require_latest(folders: Folders, system: str, advice: str) -> None:
    """A cluster that a restore had moved aside knows nothing of the versions and revocations that came after it."""
    control = Control.read(folders.postgres)
    if control.system != system:
        raise StackError(f"the backups in {folders.data} are of another database than {folders.postgres}: {advice}")
    if newest_timeline(archive.names(folders.wal)) > control.timeline:
        raise StackError(
            f"{folders.postgres} is a database that a restore had moved aside: make restore puts it back into use, "
            "with versions and tokens that are safe."
        )


def newest_timeline(kept: Collection[str]) -> int:
    """The last timeline that began, by the histories that are kept; the first one has none."""
    return max((int(name[:8], 16) for name in kept if name.endswith(".history")), default=1)


def _system_of_archive(folder: Path) -> str | None:
    """Whose WAL is kept in a folder; None when none is."""
    segment = next((folder / (name + archive.SUFFIX) for name in archive.names(folder) if wal.is_segment(name)), None)
    if segment is None:
        return None
    try:
        with gzip.open(segment, "rb") as file:
            return str(struct.unpack_from("=Q", file.read(_SYSTEM_AT + 8), _SYSTEM_AT)[0])
    except (OSError, EOFError, zlib.error, struct.error) as error:
        raise StackError(f"{segment} is damaged ({error}): move it away.") from error


@dataclass(frozen=True, slots=True)
class Control:
    """From a cluster's control file; `system` is made by initdb and the same in all of its backups."""

    system: str
    timeline: int

    @classmethod
    def read(cls, cluster: Path) -> "Control":
        """Read it.

        Raises:
            StackError: when it cannot be.
        """
        read = subprocess.run(
            [str(postgres.binaries() / "pg_controldata"), str(cluster)],
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            check=False,
            env={**os.environ, "LC_ALL": "C"},
        )
        system = re.search(r"^Database system identifier: +(\d+)$", read.stdout, re.MULTILINE)
        timeline = re.search(r"^Latest checkpoint's TimeLineID: +(\d+)$", read.stdout, re.MULTILINE)
        if read.returncode != 0 or system is None or timeline is None:
            raise StackError(f"the control file of {cluster} cannot be read: move that folder away.", read.stderr)
        return cls(system.group(1), int(timeline.group(1)))


def finish_archiving(cluster: Path, folder: Path) -> None:
    """Keep what the server had finished but not handed over when it ended.

    Raises:
        StackError: when something cannot be kept.
    """
    for note in sorted((cluster / "pg_wal" / "archive_status").glob("*.ready")):
        segment = cluster / "pg_wal" / note.stem
        if not segment.exists():
            continue
        try:
            archive.keep(segment, folder)
            postgres.hand_over(folder / (segment.name + archive.SUFFIX))
        except OSError as error:
            raise StackError(f"{segment} cannot be copied into {folder} ({error}): see to that first.") from error


def unfinished(cluster: Path, kept: set[str]) -> list[Path]:
    """The segments of a cluster that are not kept elsewhere: as a rule the one it was writing when it ended."""
    there = sorted((cluster / "pg_wal").iterdir())
    return [path for path in there if wal.is_segment(path.name) and path.name not in kept and wal.holds_its_own(path)]
