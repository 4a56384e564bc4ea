"""`flask --app web dead-letters`: accepted updates that could not be applied."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import cast

import click
from flask.cli import AppGroup

from models.errors import NotFound
from models.guard import letters as store
from models.guard.letters import Key, Letter, State
from web.commands.acting import F, why, with_reason
from web.commands.output import table, told_plainly
from web.services import services

dead_letters = AppGroup("dead-letters", help="Look at what could not be applied; retry or drop it.")

#: Letters that one act is about: each has its line in the act's record.
_AT_ONCE = 500


@dead_letters.command("list")
@click.option("--dropped", "state", flag_value="dropped", help="Those that were dropped, instead of those that wait.")
@click.option("--code", help="Of one cause only.")
@click.option("--player", help="Of one player only.")
@click.option(
    "--limit", default=50, show_default=True, type=click.IntRange(1, 10_000), help="How many, last parked first."
)
@told_plainly
def list_letters(state: str | None, code: str | None, player: str | None, limit: int) -> None:
    """What waits for somebody to look, or was dropped."""
    stores = services().stores
    user_id = None if player is None else stores.users.by_name(player).user_id
    wanted = cast(State, state or "waiting")
    with stores.engine.connect() as connection:
        found = store.listed(connection, state=wanted, code=code, user_id=user_id, limit=limit)
        waiting = store.waiting(connection)
    table(
        ["parked", "player", "action_id", "action", "value", "code", "detail"],
        [
            (f"{x.parked_at:%Y-%m-%d %H:%M:%S}", _who(x), x.action_id, x.action, x.value, x.code, x.detail)
            for x in found
        ],
    )
    click.echo(f"\n{waiting} wait in all.")


@dead_letters.command("show")
@click.argument("username")
@click.argument("action_id")
@told_plainly
def show(username: str, action_id: str) -> None:
    """One of them, with all that is known."""
    user_id = services().stores.users.by_name(username).user_id
    with services().stores.engine.connect() as connection:
        found = store.found(connection, Key(user_id, action_id))
    click.echo(f"{found.action_id} of {_who(found)} ({found.user_id}): {found.action}, value {found.value}")
    click.echo(f"accepted {found.accepted_at:%Y-%m-%d %H:%M:%S} under the request {found.request_id}")
    click.echo(f"parked {found.parked_at:%Y-%m-%d %H:%M:%S} after {found.attempts} tries: {found.code}")
    click.echo(found.detail)
    if found.dropped_at is not None:
        click.echo(f"dropped {found.dropped_at:%Y-%m-%d %H:%M:%S} by {found.dropped_by}: {found.dropped_reason}")


def _with_choice(command: F) -> F:
    """Adds what says which letters; `_chosen` takes them."""
    command = click.option("--code", help="All of one cause.")(command)
    command = click.option("--player", help="All of one player, or those of --action-id.")(command)
    return click.option("--action-id", "action_ids", multiple=True, help="An update of --player; repeatable.")(command)


@dead_letters.command("retry")
@_with_choice
@with_reason
@told_plainly
def retry(action_ids: tuple[str, ...], player: str | None, code: str | None, reason: str, by: str) -> None:
    """Put them back into the inbox, each under its own action_id. A dropped one is named by its --action-id."""
    here, done = services(), 0
    for keys in _chosen(action_ids, player, code):
        retried, shards = here.stores.desk.retry(keys, why(reason, by))
        for shard in shards:
            here.wakeup.wake(shard)
        done += len(retried)
    click.echo(f"{done} updates are tried again.")


@dead_letters.command("drop")
@_with_choice
@with_reason
@told_plainly
def drop(action_ids: tuple[str, ...], player: str | None, code: str | None, reason: str, by: str) -> None:
    """Have them wait for nobody any more. They stay, and their players are told `rejected` as before."""
    dropped = [services().stores.desk.drop(keys, why(reason, by)) for keys in _chosen(action_ids, player, code)]
    click.echo(f"{sum(map(len, dropped))} updates are dropped.")


@dead_letters.command("keep")
@click.option("--player", required=True, help="Whose they are.")
@click.option("--action-id", "action_ids", multiple=True, required=True, help="An update; repeatable.")
@with_reason
@told_plainly
def keep(player: str, action_ids: tuple[str, ...], reason: str, by: str) -> None:
    """Undo a drop: they wait again for somebody to look."""
    kept = [services().stores.desk.keep(keys, why(reason, by)) for keys in _chosen(action_ids, player, None)]
    click.echo(f"{sum(map(len, kept))} updates wait again.")


def _chosen(action_ids: Sequence[str], player: str | None, code: str | None) -> Iterator[list[Key]]:
    """The letters that the options name, so many at a time."""
    if action_ids and player is None:
        raise click.UsageError("Say whose updates these are: --player.")
    if player is None and code is None:
        raise click.UsageError("Say which letters: --player, --player with --action-id, or --code.")
    stores = services().stores
    user_id = None if player is None else stores.users.by_name(player).user_id
    if action_ids and user_id is not None:
        yield [Key(user_id, each) for each in dict.fromkeys(action_ids)]
        return
    with stores.engine.connect() as connection:
        keys = store.keys_waiting(connection, code=code, user_id=user_id)
    if not keys:
        raise NotFound("No dead letter waits among those.")
    for at in range(0, len(keys), _AT_ONCE):
        yield keys[at : at + _AT_ONCE]


def _who(letter: Letter) -> str:
    return letter.username or "nobody"
