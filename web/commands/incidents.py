"""`flask --app web incidents`: who went over a rule's threshold."""

from __future__ import annotations

import json
import time

import click
from flask.cli import AppGroup

from models.guard import incidents as store
from models.guard.incidents import Incident
from web.commands.acting import why, with_reason
from web.commands.output import table, told_plainly
from web.services import services

incidents = AppGroup("incidents", help="List incidents, look at one, close it; show the rules.")


@incidents.command("list")
@click.option("--all", "everything", is_flag=True, help="Also those that are closed.")
@click.option("--limit", default=20, show_default=True, type=click.IntRange(1, 1000), help="How many, newest first.")
@told_plainly
def list_incidents(everything: bool, limit: int) -> None:
    """The newest incidents."""
    with services().stores.engine.connect() as connection:
        found = store.listed(connection, open_only=not everything, limit=limit)
    table(
        ["id", "rule", "who", "answer", "events", "last seen", "state"],
        [
            (
                i.id,
                i.rule,
                f"{i.subject_kind} {i.subject}",
                i.answer,
                i.events,
                f"{i.last_seen_at:%Y-%m-%d %H:%M}",
                _state(i),
            )
            for i in found
        ],
    )


@incidents.command("show")
@click.argument("incident", type=click.UUID)
@told_plainly
def show(incident: object) -> None:
    """One incident with its evidence."""
    with services().stores.engine.connect() as connection:
        found = store.found(connection, str(incident))
    click.echo(f"{found.id}  {found.rule}  {_state(found)}")
    click.echo(f"{found.subject_kind} {found.subject}, {found.events} events, suspicion {found.suspicion:.1f}")
    click.echo(f"opened {found.opened_at:%Y-%m-%d %H:%M:%S}, last seen {found.last_seen_at:%Y-%m-%d %H:%M:%S}")
    click.echo(f"answer: {found.answer}\n")
    for each in found.evidence:
        at = time.strftime("%Y-%m-%d %H:%M:%S", time.gmtime(each["at"]))
        rest = {name: value for name, value in each.items() if name not in ("at", "event")}
        click.echo(f"{at}  {each['event']}  {json.dumps(rest)}")


@incidents.command("close")
@click.argument("incident", type=click.UUID)
@with_reason
@told_plainly
def close(incident: object, reason: str, by: str) -> None:
    """End an incident. What was imposed for it goes on: lift it with `blocks lift`."""
    services().stores.desk.close_incident(str(incident), why(reason, by))
    click.echo(f"{incident} is closed.")


@incidents.command("rules")
@told_plainly
def rules() -> None:
    """The rules in force."""
    found = services().stores.rules.rules
    table(
        ["rule", "of", "events", "half-life", "threshold", "answer", "for", "mode"],
        [
            (
                rule.name,
                rule.subject,
                " ".join(f"{event}×{weight:g}" for event, weight in rule.weights.items()),
                f"{rule.half_life_seconds:g} s",
                f"{rule.threshold:g}",
                rule.answer,
                f"{rule.for_seconds:g} s" if rule.for_seconds else "",
                rule.mode,
            )
            for rule in found
        ],
    )
    click.echo(f"\nfrom {services().settings.rules_file}")


def _state(incident: Incident) -> str:
    return "open" if incident.closed_at is None else f"closed by {incident.closed_by}: {incident.closed_reason}"
