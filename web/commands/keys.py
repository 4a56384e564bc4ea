"""`flask --app web keys`: the keys of the deployment, and changing them."""

from __future__ import annotations

import json
import secrets
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Final

import click
from flask.cli import AppGroup

from models.accounts.tokens import REFRESH_SECONDS
from models.private_file import write_private
from web.commands.acting import SECONDS
from web.commands.output import progress, table, told_plainly
from web.services import services

keys = AppGroup("keys", help="List and rotate the keys that tokens are signed and players' keys are sealed with.")

_NAMES: Final = {"tokens": "TOKEN_KEYS", "encryption": "ENCRYPTION_KEYS"}
_KEY_BYTES: Final = 32
_RESEALED_AT_ONCE: Final = 500


@keys.command("list")
@told_plainly
def list_keys() -> None:
    """The names of the keys in use, and until when old ones hold; never the keys."""
    settings = services().settings
    found = (("tokens", settings.token_keys), ("encryption", settings.encryption_keys), ("audit", settings.audit_keys))
    table(
        ["for", "name", "state"],
        [
            (what, key.kid, "in use" if at == 0 else _state(key.until))
            for what, those in found
            for at, key in enumerate(those)
        ],
    )


@keys.command("rotate")
@click.argument("what", type=click.Choice(tuple(_NAMES)), default="tokens")
@click.option(
    "--keep", type=SECONDS, default=REFRESH_SECONDS, help="How long tokens of the old keys hold; 30d when left out."
)
@told_plainly
def rotate(what: str, keep: int) -> None:
    """Put a fresh key in use. Takes effect when the processes are started anew: `make reload`."""
    settings = services().settings
    path, in_use = settings.secrets_file, settings.token_keys if what == "tokens" else settings.encryption_keys
    if path is None or in_use[0].kid != _first_in(path, _NAMES[what]):
        raise click.ClickException(
            f"{_NAMES[what]} is not in a SECRETS_FILE: put a new key before the others there by hand."
        )
    content = json.loads(path.read_text("utf-8"))
    kid = f"k{datetime.now(UTC):%Y%m%d%H%M%S}"
    old = content[_NAMES[what]].split(",")
    if what == "tokens":  # old encryption keys are needed until `reseal` has been through
        until = datetime.now(UTC) + timedelta(seconds=keep)
        old = [part if "@" in part else f"{part}@{until:%Y-%m-%dT%H:%M:%SZ}" for part in old]
    content[_NAMES[what]] = ",".join([f"{kid}:{secrets.token_hex(_KEY_BYTES)}", *old])
    write_private(path, content)
    click.echo(f"{kid} is the first of {_NAMES[what]} in {path}.")
    click.echo(
        "Now start the processes anew: make reload"
        + ("" if what == "tokens" else ", then: flask --app web keys reseal")
    )


@keys.command("reseal")
@told_plainly
def reseal() -> None:
    """Put all players' keys under the first encryption key, so that the others can go."""
    stores = services().stores
    done = 0
    with progress(None, "resealing", "keys") as on_done:
        while True:
            with stores.engine.begin() as connection:
                some = stores.users.reseal(connection, _RESEALED_AT_ONCE)
            done += some
            on_done(done)
            if some < _RESEALED_AT_ONCE:
                break
    click.echo(f"{done} keys were put under {services().settings.encryption_keys[0].kid}.")


def _state(until: float | None) -> str:
    return "holds" if until is None else f"holds until {datetime.fromtimestamp(until, UTC):%Y-%m-%d %H:%M:%S}"


def _first_in(path: Path, name: str) -> str | None:
    """The name of the first key in the file; the environment may have others, which come before."""
    keys: str = json.loads(path.read_text("utf-8")).get(name, "")
    return keys.partition(":")[0].strip() or None
