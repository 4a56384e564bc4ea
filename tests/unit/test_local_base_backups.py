"""Which base backups stay, which WAL goes with those that do not, and which one a restore begins with."""

from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from deploy.local import base_backups, wal
from deploy.local.base_backups import About, BaseBackup
from deploy.local.errors import StackError

NOON = datetime(2026, 11, 25, 12, tzinfo=UTC)


def made(base: Path, hour: int, *, timeline: int = 1) -> BaseBackup:
    """A base backup of that hour after noon, which begins in the segment of that number."""
    finished = NOON + timedelta(hours=hour)
    begins = hour * wal.SEGMENT_BYTES + 40
    folder = base / base_backups.name_for(finished)
    folder.mkdir()
    about = About("7", timeline, begins, begins + 100, finished.isoformat(), 1)
    base_backups.write_about(folder, about)
    return BaseBackup(folder, about)


def test_the_newest_stay_and_the_wal_that_only_older_ones_need_goes(tmp_path: Path) -> None:
    base, kept = tmp_path / "base", tmp_path / "wal"
    base.mkdir()
    kept.mkdir()
    (base / "under-way.new").mkdir()  # of a backup that was interrupted
    backups = [made(base, hour) for hour in (1, 3, 5)]
    names = [wal.name_of(1, n) for n in range(7)]
    names += [f"{wal.name_of(1, 1)}.00000028.backup", f"{wal.name_of(1, 2)}.partial", "00000002.history"]
    for name in names:
        (kept / f"{name}.gz").touch()
    (kept / f"{wal.name_of(1, 7)}.new").touch()  # is being written now

    assert base_backups.clear(base, kept, most=2) == 5
    assert base_backups.whole(base) == backups[1:]
    left = {wal.name_of(1, n) + ".gz" for n in range(3, 7)} | {"00000002.history.gz", wal.name_of(1, 7) + ".new"}
    assert {path.name for path in kept.iterdir()} == left


def test_a_restore_begins_with_the_newest_before_the_moment_on_its_timelines(tmp_path: Path) -> None:
    early, undone, late = made(tmp_path, 1), made(tmp_path, 4), made(tmp_path, 5, timeline=2)
    parted = 3 * wal.SEGMENT_BYTES
    lineage = wal.Lineage.of(2, f"1\t0/{parted:X}\tbefore 2026-11-25 15:00:00\n")
    backups = [early, undone, late]
    assert base_backups.choose(backups, lineage, None) == late
    assert base_backups.choose(backups, lineage, NOON + timedelta(hours=6)) == late
    assert base_backups.choose(backups, lineage, NOON + timedelta(hours=4, minutes=30)) == early
    assert base_backups.choose(backups, lineage, NOON + timedelta(hours=1)) == early
    with pytest.raises(StackError, match="TIME is before the oldest base backup"):
        base_backups.choose(backups, lineage, NOON)
    with pytest.raises(StackError, match="none of the base backups leads to"):
        base_backups.choose([undone], lineage, None)
