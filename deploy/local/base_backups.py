"""The base backups of a data folder: what each needs, which one leads to a moment, which ones may go."""

import json
import os
import shutil
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Final

from deploy.local import archive, wal
from deploy.local.errors import StackError

ABOUT: Final = "about.json"
DRAFT: Final = ".new"
KEPT_MOST: Final = 7  # a week of daily ones


@dataclass(frozen=True, slots=True)
class About:
    """What a restore must know before it touches a base backup; positions in WAL, times in UTC (ISO 8601)."""

    system: str
    timeline: int
    wal_begins: int
    wal_ends: int
    finished_at: str
    bytes: int


@dataclass(frozen=True, slots=True)
class BaseBackup:
    """One base backup, whole: a folder gets its name as the last step."""

    folder: Path
    about: About

    @property
    def cluster(self) -> Path:
        """PostgreSQL's files, as pg_basebackup wrote them."""
        return self.folder / "cluster"

    @property
    def earliest(self) -> datetime:
        """The first moment it leads to: before its end, the files copied first and those copied last disagree."""
        return datetime.fromisoformat(self.about.finished_at)


def name_for(moment: datetime) -> str:
    """A folder's name: 20261125T100000.123456Z."""
    return moment.astimezone(UTC).strftime("%Y%m%dT%H%M%S.%fZ")


def write_about(folder: Path, about: About) -> None:
    """Put it beside the cluster's files, on disk."""
    with (folder / ABOUT).open("w", encoding="utf-8") as file:
        file.write(json.dumps(asdict(about), indent=2) + "\n")
        file.flush()
        os.fsync(file.fileno())
    archive.sync_folder(folder)


def whole(base: Path) -> list[BaseBackup]:
    """The base backups, oldest first.

    Raises:
        StackError: when one does not say what it is.
    """
    found = []
    for folder in base.iterdir() if base.exists() else ():
        if folder.is_dir() and folder.suffix != DRAFT:
            try:
                found.append(BaseBackup(folder, About(**json.loads((folder / ABOUT).read_text("utf-8")))))
            except (OSError, ValueError, TypeError) as error:
                raise StackError(f"{folder} is no base backup of ours ({error}): move it away.") from error
    return sorted(found, key=lambda backup: backup.earliest)


def choose(backups: list[BaseBackup], lineage: wal.Lineage, moment: datetime | None) -> BaseBackup:
    """The newest base backup that leads to a moment, or the newest of all.

    Raises:
        StackError: none does.
    """
    fitting = [
        each
        for each in backups
        if lineage.leads_through(each.about.timeline, each.about.wal_begins, each.about.wal_ends)
    ]
    if not fitting:
        raise StackError("none of the base backups leads to the present timeline: take one with make backup.")
    early = [each for each in fitting if moment is None or each.earliest <= moment]
    if not early:
        raise StackError(f"TIME is before the oldest base backup: choose one from {fitting[0].about.finished_at} on.")
    return early[-1]


def clear(base: Path, wal_folder: Path, most: int = KEPT_MOST) -> int:
    """Remove all but the newest base backups, and the WAL before the first of these; returns how many segments went.

    Histories of timelines stay: they are small, and keep the number of a timeline from being used twice.
    """
    backups = whole(base)
    for old in backups[:-most]:
        shutil.rmtree(old.folder)
    oldest = min((wal.number_at(each.about.wal_begins) for each in backups[-most:]), default=0)
    gone = 0
    for path in wal_folder.glob(f"*{archive.SUFFIX}"):
        name = path.name[:24]  # also of `….partial` and `….backup`, which stand for their segment
        if wal.is_segment(name) and wal.number_of(name) < oldest:
            path.unlink()
            gone += 1
    return gone
