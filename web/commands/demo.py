"""`flask --app web demo`: players who play, so that the page lives; and a check that every point was counted once."""

from __future__ import annotations

import time
from typing import Final

import click
from flask.cli import with_appcontext

from models.stores import Stores
from web.commands import demo_check
from web.commands.demo_check import Follower
from web.commands.demo_game import Game
from web.commands.demo_players import Player, Seat, gather
from web.commands.output import progress, told_plainly
from web.services import services

BOARD: Final = "global"
TOP: Final = 100


@click.command("demo")
@click.option("--players", default=40, show_default=True, type=click.IntRange(1, 10_000), help="How many play.")
@click.option("--updates", default=0, type=click.IntRange(0), help="End after so many, and check; 0: until Ctrl-C.")
@click.option("--rate", default=8.0, show_default=True, help="Updates a second; 0: as fast as it goes.")
@with_appcontext
@told_plainly
def demo(players: int, updates: int, rate: float) -> None:
    """Have players play on the running service.

    With --updates the demo ends by itself and holds its own ledger against the history, the scores, the ranking in
    Redis and a socket that used deltas alone.
    """
    here = services()
    stores, settings = here.stores, here.settings
    cast = gather(stores, here.identity, players)
    follower = Follower(settings.sockets_url, BOARD, TOP)
    click.echo(f"{players} players on {settings.api_url}" + ("" if updates else "; Ctrl-C ends it"), err=True)
    started = time.monotonic()
    game = Game([Seat(settings.api_url, here.identity, player) for player in cast], updates, rate)
    with progress(updates or None, "playing", "updates") as done:
        accepted = game.run(done)
    seconds = time.monotonic() - started
    click.echo(f"{accepted} updates accepted in {seconds:.1f} s ({accepted / seconds:.0f}/s).")
    if updates:
        _check(stores, cast, follower, game, updates)
    follower.close()


def _check(stores: Stores, cast: list[Player], follower: Follower, game: Game, updates: int) -> None:
    """Say whether every accepted update counted once, everywhere.

    Raises:
        click.ClickException: it did not, and for whom.
    """
    if not demo_check.wait_until_drained(stores):
        raise click.ClickException("The inbox did not drain in time; see /readyz.")
    faults = demo_check.unlike_history(stores, BOARD, game.run_id, game.ledger)
    faults += demo_check.disagreements(stores, BOARD, cast)
    if len(game.ledger) != updates:
        faults.append(f"{updates - len(game.ledger)} updates were never accepted")
    if not demo_check.same_top(stores, BOARD, TOP, follower):
        faults.append(f"the socket's list (version {follower.version}) is not the board's top")
    if faults:
        raise click.ClickException("\n".join(["Not everything counted once:", *faults[:20]]))
    click.echo(
        f"ledger = history = scores = Redis for {len(cast)} players, row for row;"
        f" the socket's top {len(follower.entries)} by {follower.deltas} deltas"
        f" ({follower.reconnections} reconnections) is the board's."
    )
