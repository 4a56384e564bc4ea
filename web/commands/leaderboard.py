"""`flask --app web leaderboard`: look at a board, rebuild it, hold it against Postgres."""

from __future__ import annotations

from functools import partial

import click
from flask.cli import AppGroup

from models.boards import events, standings
from models.pipeline.repair import Comparison, Repair
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
@click.option("--mend", is_flag=True, help="Also mend what differs: single players, or the board as a whole.")
@told_plainly
def verify(board: str, mend: bool) -> None:
    """Compare every player's score, time and name in Redis with Postgres. Exit status 1 when they differ."""
    stores = services().stores
    repair = Repair(stores.engine, stores.ranking, stores.registry, partial(events.publish, stores.redis))
    with progress(_players(stores, board), f"comparing {board}", "players") as done:
        found = repair.compare(board, done, mend=mend)
    if found.agrees:
        click.echo(f"{board} agrees with Postgres: {found.players} players.")
        return
    for fault in _faults(found):
        click.echo(fault)
    if not mend:
        raise click.ClickException(
            f"{board} differs from Postgres. Mend it: flask --app web leaderboard verify {board} --mend"
        )
    how = f"{found.refreshed} players were refreshed"
    click.echo(f"{board} was mended: {'it was rebuilt' if found.rebuilt else how}.")


def _faults(found: Comparison) -> list[str]:
    faults = [f"{cause}: {players}" for cause, players in sorted(found.causes.items())]
    if found.is_missing:
        faults.append("the board is not in Redis, or only a part of it")
    if found.is_of_the_past:
        faults.append("the board is older than the last one built: Redis was set back")
    return faults


def _players(stores: Stores, board: str) -> int:
    season = stores.registry.keys(board).season
    with stores.engine.connect() as connection:
        return standings.count(connection, board, season)
