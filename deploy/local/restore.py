"""`python -m deploy.local.restore`: puts the database back to a moment, beside the present one, then in its place."""

import argparse
import shutil
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from types import MappingProxyType
from typing import Final

import psycopg

from deploy.local import aftermath, base_backups, secret_keys, sources, terminal, wal
from deploy.local.backup import require_embedded
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
        say(f"verifying the base backup of {source.backup.about.finished_at}")
        verify(source.backup.cluster)
        recovery = Recovery(folders, folders.data / "postgres.restoring", source.backup, source.timeline, moment)
        try:
            restored = _recover(recovery, source, kids, say)
        except BaseException:
            shutil.rmtree(recovery.cluster, ignore_errors=True)
            raise
        if not (restored.complete or keep_tokens):
            secret_keys.renew_token_keys(folders.secrets_file, f"restored-{base_backups.name_for(datetime.now(UTC))}")
        restored = replace(restored, old_cluster=_swap(folders, recovery.cluster))
        folders.remove_outside()
    return restored


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
    return Restored(last_commit, None, complete=source.present and recovery.moment is None)


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
    secrets_file = folders.secrets_file
    if not secrets_file.exists():
        raise StackError(f"{secrets_file} is missing: put it back first; without it nobody's keys can be decrypted.")
    content = {**secret_keys.load_or_make(secrets_file), **given}
    if "TOKEN_KEYS" in given and not keep_tokens:
        raise StackError(
            "TOKEN_KEYS is set in the environment, and tokens that were revoked after TIME would be valid again: put a "
            "new key there in the place of all others, then restore with KEEP_TOKENS=1."
        )
    return {part.strip().partition(":")[0] for part in content.get("ENCRYPTION_KEYS", "").split(",")}


def _swap(folders: Folders, cluster: Path) -> Path | None:
    """Two renames; the old cluster is kept."""
    old = None
    if folders.postgres.exists():
        old = folders.data / f"postgres.before-{base_backups.name_for(datetime.now(UTC))}"
        folders.postgres.rename(old)
    cluster.rename(folders.postgres)
    return old


def moment_of(text: str | None) -> datetime | None:
    """TIME as it was given; None when it was not.

    Raises:
        StackError: it is no time with a zone, or has not come yet.
    """
    if not text:
        return None
    try:
        moment: datetime | None = datetime.fromisoformat(text)
    except ValueError:
        moment = None
    if moment is None or moment.tzinfo is None:
        raise StackError(f"TIME must be a time with its zone, like 2026-11-25T10:00:00Z, not {text!r}.")
    if moment > datetime.now(UTC):
        raise StackError(f"TIME {text} has not come yet: leave it out to restore the newest.")
    return moment


def main(arguments: list[str]) -> int:
    """The command; gives the exit code."""
    parser = argparse.ArgumentParser(
        prog="make restore",
        description="Put the stopped stack's PostgreSQL back to a moment. The present database is moved aside, not "
        "deleted. Everybody has to sign in again, since revocations after that moment are undone as well.",
    )
    parser.add_argument("--time", help="the moment, like 2026-11-25T10:00:00Z; left out: the newest there is")
    parser.add_argument(
        "--keep-tokens",
        action="store_true",
        help="leave TOKEN_KEYS as they are: tokens stay valid, those too that were revoked after TIME",
    )
    options = parser.parse_args(arguments)
    given = terminal.given()
    folders = terminal.folders_of(given)

    def work() -> None:
        require_embedded(given, folders)
        try:
            moment = moment_of(options.time)
            done = restore(folders, moment, terminal.say, keep_tokens=options.keep_tokens, given=given)
        except (OSError, psycopg.Error) as error:
            raise StackError(f"the restore failed, and nothing was changed: {error}") from error
        _report(done, given, keep_tokens=options.keep_tokens)

    return terminal.run(work)


def _report(done: Restored, given: Mapping[str, str], *, keep_tokens: bool) -> None:
    say = terminal.say
    say(f"restored; the last commit that is there is of {done.last_commit or 'the base backup'}")
    if done.old_cluster is not None:
        say(f"  before  {done.old_cluster}: delete it when you are sure; to undo, move it back to the name postgres")
    if not done.complete and not keep_tokens:
        say("  tokens  none is valid any more: players sign in again, game servers need new ones (make token)")
    if not done.complete:
        say("  blocked players whose block came after that time are free: block them again")
    if given.get("REDIS_URL"):
        say("  REDIS_URL is a server of your own: empty it before the start, it shows scores that are gone")
    say("  go on   make run")


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
