"""`flask --app web tokens`: tokens for game servers and operators."""

from __future__ import annotations

import click
from flask.cli import AppGroup

from models.accounts.tokens import SCOPES, SERVICE_SECONDS
from web.commands.output import told_plainly
from web.services import services

tokens = AppGroup("tokens", help="Make and revoke service tokens.")


@tokens.command("create")
@click.option(
    "--scope", "scopes", multiple=True, required=True, type=click.Choice(SCOPES), help="What it may do; repeatable."
)
@click.option("--name", default="game-server", show_default=True, help="Who it is for, as logs name it.")
@click.option("--days", default=365, show_default=True, type=click.IntRange(1, 3650), help="How long it is valid.")
@told_plainly
def create(scopes: tuple[str, ...], name: str, days: int) -> None:
    """Make a service token. It is printed once, alone on the last line, and kept nowhere."""
    token, jti = services().identity.issue_service(name, list(scopes), days * 86_400)
    click.echo(f"A token for {name} with {' '.join(scopes)}, valid for {days} days.")
    click.echo(f"To revoke it: flask --app web tokens revoke {jti}")
    click.echo(token)


@tokens.command("revoke")
@click.argument("jti", type=click.UUID)
@told_plainly
def revoke(jti: object) -> None:
    """Refuse a token, or all tokens of a family, everywhere within a second."""
    services().stores.sign_in.revoke(str(jti), reason="operator", lifetime_seconds=10 * SERVICE_SECONDS)
    click.echo(f"{jti} is revoked.")
