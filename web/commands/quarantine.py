"""`flask --app web quarantine`: accepted updates that are held back from the boards."""

from __future__ import annotations

import click
from flask.cli import AppGroup

from models.guard import quarantine as store
from web.commands.acting import why, with_reason
from web.commands.output import table, told_plainly
from web.services import services

quarantine = AppGroup("quarantine", help="Look at what is held back; release or reject it.")


@quarantine.command("list")
@told_plainly
def list_held() -> None:
    """Players whose updates are held back."""
    with services().stores.engine.connect() as connection:
        found = store.players(connection)
    table(
        ["username", "updates", "oldest", "user_id"],
        [(h.username, h.updates, f"{h.oldest_accepted_at:%Y-%m-%d %H:%M:%S}", h.user_id) for h in found],
    )


@quarantine.command("show")
@click.argument("username")
@click.option("--limit", default=100, show_default=True, type=click.IntRange(1, 10_000), help="How many, oldest first.")
@told_plainly
def show(username: str, limit: int) -> None:
    """What is held back of one player."""
    stores = services().stores
    user = stores.users.by_name(username)
    with stores.engine.connect() as connection:
        found = store.updates(connection, user.user_id, limit=limit)
    table(
        ["action_id", "action", "value", "accepted", "request_id"],
        [(u.action_id, u.action, u.value, f"{u.accepted_at:%Y-%m-%d %H:%M:%S}", u.request_id) for u in found],
    )


@quarantine.command("release")
@click.argument("username")
@with_reason
@told_plainly
def release(username: str, reason: str, by: str) -> None:
    """End a player's quarantine, and let what was held back count."""
    here = services()
    released, shard = here.stores.desk.release(username, why(reason, by))
    here.wakeup.wake(shard)
    click.echo(f"{username}: {released} updates count now.")


@quarantine.command("reject")
@click.argument("username")
@with_reason
@told_plainly
def reject(username: str, reason: str, by: str) -> None:
    """Have what was held back never count. The quarantine goes on: end it with `blocks lift --kind quarantine`."""
    rejected = services().stores.desk.reject(username, why(reason, by))
    click.echo(f"{username}: {rejected} updates are rejected.")
