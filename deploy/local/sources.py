"""What there is to restore from: the base backup, the timeline to follow, and all WAL on the way."""

from collections.abc import Collection
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

from deploy.local import archive, base_backups, clusters, wal
from deploy.local.base_backups import BaseBackup
from deploy.local.clusters import Control
from deploy.local.errors import StackError
from deploy.local.folders import Folders


@dataclass(frozen=True, slots=True)
class Source:
    """All that a recovery is made of.

    `present`: the cluster in the data folder is of the same database, so no WAL is lost; `latest`: and none was used
    after it; `unfinished` are the segments that only it has; `archived_to` is the number of the last one that is kept.
    """

    backup: BaseBackup
    timeline: int
    present: bool
    latest: bool
    unfinished: list[Path]
    archived_to: int


def find(folders: Folders, moment: datetime | None) -> Source:
    """What leads to a moment, or to the newest; keeps what the present cluster had not handed over.

    The timeline is that of the present cluster: who undid a restore by moving the old cluster back goes on from there,
    whatever was tried in between.

    Raises:
        StackError: something is missing.
    """
    backups = base_backups.whole(folders.base_backups)
    if not backups:
        raise StackError(f"there is no base backup in {folders.base_backups}: nothing to restore from.")
    system = backups[-1].about.system
    backups = [each for each in backups if each.about.system == system]
    timeline = _present_timeline(folders, system)
    if timeline is not None:
        clusters.finish_archiving(folders.postgres, folders.wal)
    kept = archive.names(folders.wal)
    newest = clusters.newest_timeline(kept)
    unfinished = [] if timeline is None else clusters.unfinished(folders.postgres, kept)
    lineage = _lineage(folders.wal, timeline or max(newest, backups[-1].about.timeline))
    backup = base_backups.choose(backups, lineage, moment)
    mine = lineage.on_the_way(path.name for path in unfinished)
    _require_gapless(folders.wal, lineage, backup, kept | mine)
    return Source(
        backup=backup,
        timeline=lineage.timeline,
        present=timeline is not None,
        latest=timeline is not None and newest <= timeline,
        unfinished=[path for path in unfinished if path.name in mine],
        archived_to=max((wal.number_of(name) for name in lineage.on_the_way(kept)), default=0),
    )


def _present_timeline(folders: Folders, system: str) -> int | None:
    """The timeline of the cluster in the data folder; None when there is none, or one of another database."""
    if not (folders.postgres / "global" / "pg_control").exists():
        return None
    control = Control.read(folders.postgres)
    return control.timeline if control.system == system else None


def _lineage(folder: Path, timeline: int) -> wal.Lineage:
    if timeline == 1:
        return wal.Lineage.of(1, "")
    name = f"{timeline:08X}.history"
    try:
        return wal.Lineage.of(timeline, archive.read(folder, name))
    except OSError as error:
        raise StackError(f"{name}{archive.SUFFIX} in {folder} cannot be read ({error}): put back a copy.") from error


def _require_gapless(folder: Path, lineage: wal.Lineage, backup: BaseBackup, names: Collection[str]) -> None:
    of_backup = {path.name for path in (backup.cluster / "pg_wal").iterdir()}
    if missing := lineage.missing(backup.about.wal_begins, {*names, *of_backup}):
        raise StackError(
            f"the WAL segment {missing} is missing in {folder}, though later ones are there: put it back from your "
            "copy of that folder; nothing was changed."
        )
