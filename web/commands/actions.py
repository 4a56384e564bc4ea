"""`flask --app web actions`: the catalogue."""

from __future__ import annotations

from pathlib import Path

import click
from flask.cli import AppGroup

from models.boards.catalogue import load_catalogue
from models.errors import CatalogueInvalid
from web.commands.output import table, told_plainly
from web.services import services

actions = AppGroup("actions", help="List the catalogue of actions, or check an edited one.")


@actions.command("list")
@told_plainly
def list_actions() -> None:
    """Each action with what it is worth."""
    here = services()
    rows = [
        (a.name, a.points, f"{a.value_least}–{a.value_most}", ", ".join(a.boards), a.cooldown_seconds or "")
        for a in here.stores.catalogue.actions.values()
    ]
    table(["action", "points", "value", "boards", "cool-down (s)"], rows)
    click.echo(f"\nfrom {here.settings.catalogue_file}")


@actions.command("check")
@click.argument("file", type=click.Path(path_type=Path))
def check(file: Path) -> None:
    """Say whether a catalogue file can be used, or which line is wrong."""
    try:
        catalogue = load_catalogue(file)
    except CatalogueInvalid as error:
        raise click.ClickException(str(error)) from error
    click.echo(f"{file} is good: {len(catalogue.boards)} boards, {len(catalogue.actions)} actions.")
