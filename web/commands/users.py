"""`flask --app web users`: players."""

from __future__ import annotations

import click
from flask.cli import AppGroup

from models.errors import NotFound
from web.commands.output import table, told_plainly
from web.services import services

users = AppGroup("users", help="List players, look at one, block and unblock.")


@users.command("list")
@click.option("--limit", default=20, show_default=True, help="How many, newest first.")
@told_plainly
def list_users(limit: int) -> None:
    """The players who registered last."""
    found = services().stores.users.newest(limit)
    table(
        ["user_id", "username", "registered", "blocked"],
        [(u.user_id, u.username, f"{u.created_at:%Y-%m-%d %H:%M}", "yes" if u.blocked_at else "") for u in found],
    )


@users.command("show")
@click.argument("username")
@told_plainly
def show(username: str) -> None:
    """A player and the standing on each board."""
    stores = services().stores
    user = stores.users.find(username)
    if user is None:
        raise NotFound(f"There is no player named {username!r}.")
    click.echo(f"{user.username}  {user.user_id}  registered {user.created_at:%Y-%m-%d %H:%M}")
    if user.blocked_at:
        click.echo(f"blocked since {user.blocked_at:%Y-%m-%d %H:%M}")
    rows: list[tuple[str, int, int]] = []
    for board in stores.catalogue.boards:
        entries = stores.ranking.ranks(board, [user.user_id]).entries
        rows.extend((board, entry.rank, entry.score) for entry in entries)
    table(["board", "rank", "score"], rows)


@users.command("block")
@click.argument("username")
@click.option("--reason", required=True, help="Why; kept with the player.")
@told_plainly
def block(username: str, reason: str) -> None:
    """Refuse a player everywhere within a second."""
    _set_blocked(username, blocked=True, reason=reason)
    click.echo(f"{username} is blocked.")


@users.command("unblock")
@click.argument("username")
@click.option("--reason", required=True, help="Why; kept with the player.")
@told_plainly
def unblock(username: str, reason: str) -> None:
    """Let a blocked player in again."""
    _set_blocked(username, blocked=False, reason=reason)
    click.echo(f"{username} is not blocked any more.")


def _set_blocked(username: str, *, blocked: bool, reason: str) -> None:
    stores = services().stores
    with stores.engine.begin() as connection:
        stores.users.set_blocked(connection, username, blocked=blocked, reason=reason)
