"""`python -m deploy.local.restore`: the command that puts the stopped stack's database back to a moment."""

import argparse
import sys
from collections.abc import Mapping
from datetime import UTC, datetime

import psycopg

from deploy.local import environment, terminal
from deploy.local.errors import StackError
from deploy.local.restoration import Restored, restore


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
        environment.require_embedded_postgres(given, folders)
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
        say(f"  before  {done.old_cluster}: delete it when you are sure")
        say("  undo    stop, give that one the name postgres again, and make restore once more")
    if not done.complete and not keep_tokens:
        say("  tokens  none is valid any more: players sign in again, game servers need new ones (make token)")
    if not done.complete:
        say("  blocked players whose block came after that time are free: block them again")
    if given.get("REDIS_URL"):
        say("  REDIS_URL is a server of your own: empty it before the start, it shows scores that are gone")
    say("  go on   make run")


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
