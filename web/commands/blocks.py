"""`flask --app web blocks`: who is blocked, throttled or in quarantine."""

from __future__ import annotations

from typing import cast

import click
from flask.cli import AppGroup

from models.accounts import restrictions
from models.accounts.restrictions import KINDS, Kind, Restriction
from models.subjects import SubjectKind
from web.commands.acting import SECONDS, why, with_reason
from web.commands.output import table, told_plainly
from web.services import services

blocks = AppGroup("blocks", help="List, impose and lift blocks, throttles and quarantines.")

_SUBJECTS = click.Choice(("user", "address"))
_KINDS = click.Choice(KINDS)


@blocks.command("list")
@click.option("--kind", type=_KINDS, help="Only these.")
@click.option("--limit", default=50, show_default=True, type=click.IntRange(1, 1000), help="How many, newest first.")
@told_plainly
def list_blocks(kind: str | None, limit: int) -> None:
    """Who is restricted now."""
    with services().stores.engine.connect() as connection:
        found = restrictions.standing(connection, kind=cast(Kind | None, kind), limit=limit)
    table(
        ["kind", "who", "until", "by", "reason"],
        [(r.kind, f"{r.subject_kind} {r.subject}", _until(r), r.imposed_by, r.reason) for r in found],
    )


@blocks.command("add")
@click.argument("who", type=_SUBJECTS)
@click.argument("subject")
@click.option("--kind", type=_KINDS, default="block", show_default=True, help="What to impose.")
@click.option("--for", "seconds", type=SECONDS, help="How long, as 10m or 7d; without an end when left out.")
@click.option("--to", "throttle_to", help="For a throttle: the limit, as 1/second.")
@with_reason
@told_plainly
def add(who: str, subject: str, kind: str, seconds: int | None, throttle_to: str | None, reason: str, by: str) -> None:
    """Impose it on a player (by name) or on an address or network, everywhere within a second."""
    imposed = services().stores.desk.restrict(
        cast(SubjectKind, who), subject, cast(Kind, kind), why(reason, by), seconds=seconds, throttle_to=throttle_to
    )
    click.echo(f"{subject}: {imposed.kind} {_until(imposed)}.")


@blocks.command("lift")
@click.argument("who", type=_SUBJECTS)
@click.argument("subject")
@click.option("--kind", type=_KINDS, default="block", show_default=True, help="What to lift.")
@with_reason
@told_plainly
def lift(who: str, subject: str, kind: str, reason: str, by: str) -> None:
    """End it now."""
    services().stores.desk.lift(cast(SubjectKind, who), subject, cast(Kind, kind), why(reason, by))
    click.echo(f"{subject}: the {kind} is lifted.")


def _until(restriction: Restriction) -> str:
    return f"until {restriction.ends_at:%Y-%m-%d %H:%M:%S}" if restriction.ends_at else "without an end"
