"""`flask --app web audit`: check the sealed history, export a player's record with its proofs."""

from __future__ import annotations

import json
import sys
from typing import IO

import click
from flask.cli import AppGroup

from models.guard.audit_check import Report
from web.commands.output import progress, told_plainly
from web.services import services

audit = AppGroup("audit", help="Verify the sealed history; seal it now; export a player's record with its proofs.")


class _Anchor(click.ParamType[tuple[int, bytes]]):
    """A seal that was written down, as `verify` prints it."""

    name = "number:hash"

    def convert(self, value: object, param: click.Parameter | None, ctx: click.Context | None) -> tuple[int, bytes]:
        """Its number and hash."""
        if isinstance(value, tuple):
            return value
        number, _, digits = str(value).partition(":")
        try:
            return int(number), bytes.fromhex(digits)
        except ValueError:
            self.fail("write it as verify prints it: 17:5f3a…", param, ctx)


@audit.command("verify")
@click.option("--anchor", type=_Anchor(), help="A seal from an earlier run: shows that no later ones were taken away.")
@told_plainly
def verify(anchor: tuple[int, bytes] | None) -> None:
    """Check every seal and every row of history and acts. Exit status 1 when something does not fit."""
    with progress(None, "checking", "rows") as done:
        report = services().stores.audit_check.check(anchor, done)
    _tell(report)
    if report.faults_in_all:
        raise click.ClickException(f"{report.faults_in_all} faults: the history is not as it was written.")


@audit.command("seal")
@told_plainly
def seal() -> None:
    """Seal what was written until now, without waiting for the worker to do it."""
    seals = sum(1 for _ in services().stores.sealer.seal())
    click.echo(f"{seals} seals made.")


@audit.command("export")
@click.option("--user", "username", required=True, help="Whose record.")
@click.option("--output", type=click.File("w"), default=sys.stdout, help="A file; standard output when left out.")
@told_plainly
def export(username: str, output: IO[str]) -> None:
    """A player's whole record in JSON, with each row's way to a signed seal; docs/security.md says how to check it."""
    stores = services().stores
    user = stores.users.by_name(username)
    json.dump(stores.audit_export.of(user.user_id), output, indent=1)
    output.write("\n")


def _tell(report: Report) -> None:
    for fault in report.faults:
        click.echo(f"{fault.what}: {fault.where} {fault.how}")
    if report.faults_in_all > len(report.faults):
        click.echo(f"… and {report.faults_in_all - len(report.faults)} more")
    click.echo(f"{report.rows} rows, {report.seals} seals; {report.unsealed} rows written since the last one.")
    if report.detached:
        click.echo(f"{report.detached} sealed rows are in months that are not attached: attach them to check those.")
    if report.last_seal is not None:
        click.echo(f"last seal {report.last_seal.number}:{report.last_seal.hash.hex()}")
