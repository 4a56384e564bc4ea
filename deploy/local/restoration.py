"""Puts the database back to a moment: beside the present one, and in its place only when it was checked."""

import shutil
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from types import MappingProxyType
from typing import Final

from deploy.local import aftermath, archive, base_backups, secret_keys, sources, wal
from deploy.local.errors import StackError
from deploy.local.folders import Folders
from deploy.local.manifest import verify
from deploy.local.processes import end, marked
from deploy.local.recovery import Recovery, TargetNotReached, replayed_to
from deploy.local.sources import Source

Say = Callable[[str], None]
LEFTOVERS_SECONDS: Final = 9.0


@dataclass(frozen=True, slots=True)
class Restored:
    """What a restore did: the last commit that is there, where the old cluster is, whether nothing was left out."""

    last_commit: datetime | None
    old_cluster: Path | None
    complete: bool


def restore(
    folders: Folders,
    moment: datetime | None,
    say: Say,
    *,
    keep_tokens: bool = False,
    given: Mapping[str, str] = MappingProxyType({}),
) -> Restored:
    """Restore to a moment, or to the newest that can be had; the stack must be stopped.

    Until the last step the present cluster is only read. Tokens are made invalid before the swap: if we die between
    the two, people sign in once more than needed, and no revoked token lives again.

    Raises:
        StackError: it cannot be done; nothing was changed.
    """
    if not folders.base_backups.is_dir():
        raise StackError(f"there is no base backup in {folders.base_backups}: nothing to restore from.")
    with folders.lock("stop it, then restore."):
        end(marked(folders.data), LEFTOVERS_SECONDS)  # of a stack whose runner was killed
        kids = _encryption_kids(folders, given, keep_tokens=keep_tokens)
        folders.make()
        source = sources.find(folders, moment)
        _require_room(folders, source)
        say(f"verifying the base backup of {source.backup.about.finished_at}")
        verify(source.backup.cluster)
        recovery = Recovery(folders, folders.data / "postgres.restoring", source.backup, source.timeline, moment)
        try:
            restored = _recover(recovery, source, kids, say)
        except BaseException:
            shutil.rmtree(recovery.cluster, ignore_errors=True)
            raise
        finally:
            folders.remove_outside()
        if not (restored.complete or keep_tokens):
            secret_keys.renew_token_keys(folders.secrets_file, f"restored-{base_backups.name_for(datetime.now(UTC))}")
        return replace(restored, old_cluster=_swap(folders, recovery.cluster))


def _require_room(folders: Folders, source: Source) -> None:
    """The database is there twice until the old one is deleted, and replayed WAL lies beside it."""
    needed = source.backup.about.bytes + wal.SEGMENT_BYTES * (len(source.unfinished) + 4)
    free = shutil.disk_usage(folders.data).free
    if free < needed:
        raise StackError(
            f"{folders.data} has {free / 2**20:.0f} MiB left and a restore needs {needed / 2**20:.0f}: make room first."
        )


def _recover(recovery: Recovery, source: Source, kids: set[str], say: Say) -> Restored:
    """Replay and check. A moment after the last commit is the end of WAL, if we have all of it."""
    last_commit: datetime | None = None

    def see_to(connection: aftermath.Connection) -> None:
        nonlocal last_commit
        row = connection.execute("SELECT pg_last_xact_replay_timestamp()").fetchone()
        last_commit = row[0] if row and isinstance(row[0], datetime) else None
        timeline = aftermath.timeline_of(connection)
        if recovery.moment is None:
            _require_all(replayed_to(recovery.cluster, timeline), source)
        aftermath.require_sound(connection, kids)
        aftermath.raise_epochs(connection, timeline)

    say("copying it, and replaying WAL")
    recovery.assemble(source.unfinished)
    try:
        recovery.replay(see_to, say)
    except TargetNotReached as ended:
        if not source.present:
            raise StackError(
                f"the WAL that is kept ends with the commit of {ended}, before TIME: leave TIME out to restore all "
                "of it; nothing was changed."
            ) from ended
        recovery = replace(recovery, moment=None)  # nothing was committed between the last commit and TIME
        recovery.replay(see_to, say)
    return Restored(last_commit, None, complete=source.latest and recovery.moment is None)


def _require_all(ended_at: int, source: Source) -> None:
    """A segment that cannot be read looks to PostgreSQL like the end of WAL; to us it does not."""
    begins = source.archived_to * wal.SEGMENT_BYTES
    if source.archived_to and ended_at < begins + wal.SEGMENT_BYTES // 2:
        name = wal.name_of(source.timeline, wal.number_at(ended_at))
        raise StackError(
            f"the WAL segment {name} is damaged, and later ones are there: put it back from your copy of DATA_DIR/"
            "backups/wal, or give a TIME before it was written; nothing was changed."
        )


def _encryption_kids(folders: Folders, given: Mapping[str, str], *, keep_tokens: bool) -> set[str]:
    """The names of the encryption keys that the service will have.

    Raises:
        StackError: there are none, or tokens' keys are not ours to change.
    """
    secrets_file = Path(given.get("SECRETS_FILE") or folders.secrets_file)
    if not keep_tokens and ("TOKEN_KEYS" in given or secrets_file != folders.secrets_file):
        raise StackError(
            f"TOKEN_KEYS is not in {folders.secrets_file}, so we cannot change it, and tokens revoked after TIME would "
            "be valid again: put one new key in the place of all others, then restore with KEEP_TOKENS=1."
        )
    content = {**secret_keys.read(secrets_file), **given}
    return {part.strip().partition(":")[0] for part in content.get("ENCRYPTION_KEYS", "").split(",")}


def _swap(folders: Folders, cluster: Path) -> Path | None:
    """Two renames; the old cluster is kept."""
    old = None
    if folders.postgres.exists():
        old = folders.data / f"postgres.before-{base_backups.name_for(datetime.now(UTC))}"
        folders.postgres.rename(old)
    cluster.rename(folders.postgres)
    archive.sync_folder(folders.data)
    return old
