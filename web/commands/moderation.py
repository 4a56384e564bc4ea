"""`flask --app web moderation`: hide players, undo updates; all of it can be undone."""

from __future__ import annotations

from datetime import datetime

import click
from flask.cli import AppGroup

from models.guard import acts
from models.guard.moderation import Span
from web.commands.acting import INSTANT, F, why, with_reason
from web.commands.output import table, told_plainly
from web.services import services

moderation = AppGroup("moderation", help="Hide and show players, void and restore updates; list what was done.")


@moderation.command("hide")
@click.argument("username")
@with_reason
@told_plainly
def hide(username: str, reason: str, by: str) -> None:
    """Take a player off all boards; scores go on counting meanwhile."""
    changed = services().stores.desk.hide(username, why(reason, by), hidden=True)
    click.echo(f"{username} is hidden." if changed else f"{username} was hidden already.")


@moderation.command("show")
@click.argument("username")
@with_reason
@told_plainly
def show(username: str, reason: str, by: str) -> None:
    """Put a hidden player back on the boards."""
    changed = services().stores.desk.hide(username, why(reason, by), hidden=False)
    click.echo(f"{username} is on the boards again." if changed else f"{username} was not hidden.")


def _with_span(command: F) -> F:
    """Adds the options that say which updates; `_span` takes them."""
    command = click.option("--until", type=INSTANT, help="Before this moment.")(command)
    command = click.option("--since", type=INSTANT, help="From this moment on, as 2026-11-25T10:00:00Z.")(command)
    return click.option("--action-id", "action_ids", multiple=True, help="An update; repeatable.")(command)


@moderation.command("void")
@click.argument("username")
@_with_span
@with_reason
@told_plainly
def void(
    username: str, action_ids: tuple[str, ...], since: datetime | None, until: datetime | None, reason: str, by: str
) -> None:
    """Take back what updates brought: one, several, or all of a span of time."""
    those = services().stores.desk.void(username, _span(action_ids, since, until), why(reason, by))
    click.echo(f"{username}: {len(those)} results are void, {sum(c.increment for c in those)} points.")


@moderation.command("restore")
@click.argument("username")
@_with_span
@with_reason
@told_plainly
def restore(
    username: str, action_ids: tuple[str, ...], since: datetime | None, until: datetime | None, reason: str, by: str
) -> None:
    """Let voided updates count again."""
    those = services().stores.desk.restore(username, _span(action_ids, since, until), why(reason, by))
    click.echo(f"{username}: {len(those)} results count again, {sum(c.increment for c in those)} points.")


@moderation.command("log")
@click.option("--subject", help="Of one player's id, address or incident only.")
@click.option("--limit", default=50, show_default=True, type=click.IntRange(1, 1000), help="How many, newest first.")
@told_plainly
def log(subject: str | None, limit: int) -> None:
    """What operators and rules did."""
    with services().stores.engine.connect() as connection:
        found = acts.newest(connection, subject=subject, limit=limit)
    table(
        ["when", "who", "what", "to whom", "why"],
        [(f"{a.created_at:%Y-%m-%d %H:%M:%S}", a.operator, a.act, a.subject, a.reason) for a in found],
    )


def _span(action_ids: tuple[str, ...], since: datetime | None, until: datetime | None) -> Span:
    if not action_ids and since is None and until is None:
        raise click.UsageError("Say which updates: --action-id, or --since and --until.")
    return Span(action_ids or None, since, until)
