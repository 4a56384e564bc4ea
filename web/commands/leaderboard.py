"""`flask --app web leaderboard`: look at a board, rebuild it, hold it against Postgres."""

from __future__ import annotations

import click
from flask.cli import AppGroup
from sqlalchemy import text

from models.pipeline import repair
from models.stores import Stores
from web.commands.output import progress, table, told_plainly
from web.services import services

leaderboard = AppGroup("leaderboard", help="Show, rebuild and verify boards.")


@leaderboard.command("show")
@click.argument("board", default="global")
@click.option("--top", default=10, show_default=True, type=click.IntRange(1, 1000), help="How many entries.")
@told_plainly
def show(board: str, top: int) -> None:
    """The top of a board."""
    page = services().stores.ranking.top(board, top)
    table(["rank", "username", "score", "user_id"], [(e.rank, e.username, e.score, e.user_id) for e in page.entries])
    click.echo(f"\n{page.total} players, version {page.version}")


@leaderboard.command("rebuild")
@click.argument("board", default="global")
@told_plainly
def rebuild(board: str) -> None:
    """Build a board anew from Postgres beside the one that is served, then replace it."""
    stores = services().stores
    with progress(_players(stores, board), f"rebuilding {board}", "players") as done:
        version = stores.ranking.rebuild(board, done)
    if version is None:
        raise click.ClickException(f"{board} is being rebuilt by somebody else right now; try again in a moment.")
    click.echo(f"{board} was rebuilt: {_players(stores, board)} players, version {version}.")


@leaderboard.command("verify")
@click.argument("board", default="global")
@told_plainly
def verify(board: str) -> None:
    """Compare every player's score in Redis with Postgres. Exit status 1 when they differ."""
    stores = services().stores
    with progress(_players(stores, board), f"comparing {board}", "players") as done:
        found = repair.compare(stores.engine, stores.ranking, stores.registry, board, done)
    if found.agrees:
        click.echo(f"{board} agrees with Postgres: {found.players} players.")
        return
    click.echo(f"missing in Redis: {len(found.missing)}, differing: {len(found.differing)}, surplus: {found.surplus}")
    raise click.ClickException(f"{board} differs from Postgres. Mend it: flask --app web leaderboard rebuild {board}")


def _players(stores: Stores, board: str) -> int:
    stores.catalogue.board(board)
    with stores.engine.connect() as connection:
        count: int = connection.execute(
            text("SELECT count(*) FROM scores WHERE board = :board AND season = :season"),
            {"board": board, "season": stores.registry.seasons()[board]},
        ).scalar_one()
    return count
