"""The `flask --app web` command line, one file a noun."""

from __future__ import annotations

from flask import Flask

from web.commands import (
    actions,
    audit,
    blocks,
    boards,
    dead_letters,
    demo,
    incidents,
    keys,
    leaderboard,
    moderation,
    quarantine,
    tokens,
    users,
)


def install_commands(app: Flask) -> None:
    """Add the operators' commands to the app."""
    for group in (
        users.users,
        tokens.tokens,
        keys.keys,
        boards.boards,
        actions.actions,
        leaderboard.leaderboard,
        incidents.incidents,
        blocks.blocks,
        quarantine.quarantine,
        dead_letters.dead_letters,
        moderation.moderation,
        audit.audit,
    ):
        app.cli.add_command(group)
    app.cli.add_command(demo.demo)
