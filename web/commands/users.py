"""`flask --app web users`: players."""

from __future__ import annotations

import json

import click
from flask.cli import AppGroup

from models.guard import privacy
from web.commands.acting import SECONDS, why, with_reason
from web.commands.output import table, told_plainly
from web.services import services

users = AppGroup("users", help="List players, look at one; block, unblock, change a key, export, erase.")


@users.command("list")
@click.option("--limit", default=20, show_default=True, help="How many, newest first.")
@told_plainly
def list_users(limit: int) -> None:
    """The players who registered last."""
    found = services().stores.users.newest(limit)
    table(
        ["user_id", "username", "registered", "blocked"],
        [(u.user_id, u.username, f"{u.created_at:%Y-%m-%d %H:%M}", "yes" if u.blocked_since else "") for u in found],
    )


@users.command("show")
@click.argument("username")
@told_plainly
def show(username: str) -> None:
    """A player and the standing on each board."""
    stores = services().stores
    user = stores.users.by_name(username)
    click.echo(f"{user.username}  {user.user_id}  registered {user.created_at:%Y-%m-%d %H:%M}")
    for what, since in (("blocked", user.blocked_since), ("hidden", user.hidden_at), ("erased", user.erased_at)):
        if since:
            click.echo(f"{what} since {since:%Y-%m-%d %H:%M}")
    rows: list[tuple[str, int, int]] = []
    for board in stores.catalogue.boards:
        entries = stores.ranking.ranks(board, [user.user_id]).entries
        rows.extend((board, entry.rank, entry.score) for entry in entries)
    table(["board", "rank", "score"], rows)


@users.command("block")
@click.argument("username")
@click.option("--for", "seconds", type=SECONDS, help="How long, as 10m or 7d; without an end when left out.")
@with_reason
@told_plainly
def block(username: str, seconds: int | None, reason: str, by: str) -> None:
    """Refuse a player everywhere within a second."""
    services().stores.desk.restrict("user", username, "block", why(reason, by), seconds=seconds)
    click.echo(f"{username} is blocked.")


@users.command("unblock")
@click.argument("username")
@with_reason
@told_plainly
def unblock(username: str, reason: str, by: str) -> None:
    """Let a blocked player in again."""
    services().stores.desk.lift("user", username, "block", why(reason, by))
    click.echo(f"{username} is not blocked any more.")


@users.command("sign-out")
@click.argument("username")
@with_reason
@told_plainly
def sign_out(username: str, reason: str, by: str) -> None:
    """End all sign-ins of a player everywhere within a second. They may sign in again: to prevent that, block."""
    ended = services().stores.desk.sign_out(username, why(reason, by))
    click.echo(f"{username}: {ended} sign-ins are ended.")


@users.command("change-key")
@click.argument("username")
@with_reason
@told_plainly
def change_key(username: str, reason: str, by: str) -> None:
    """Give a player a new signature key; the old one is refused everywhere within a second. Printed once, alone on the
    last line: to revoke a key, tell nobody the new one.
    """
    key = services().stores.desk.change_key(username, why(reason, by))
    click.echo(f"The new key of {username}:")
    click.echo(key.hex())


@users.command("export")
@click.argument("username")
@told_plainly
def export(username: str) -> None:
    """Everything that is kept of a player but the key and the history (`audit export`), in JSON."""
    stores = services().stores
    user = stores.users.by_name(username)
    with stores.engine.connect() as connection:
        click.echo(json.dumps(privacy.copy_of(connection, user.user_id), indent=1, default=str))


@users.command("erase")
@click.argument("username")
@with_reason
@told_plainly
def erase(username: str, reason: str, by: str) -> None:
    """Forget who a player is: name, e-mail, key, addresses. Scores and their sealed history stay, under an id alone."""
    services().stores.desk.erase(username, why(reason, by))
    click.echo(f"{username} is erased.")
