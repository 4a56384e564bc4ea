"""`flask --app web boards`: what there is to play for."""

from __future__ import annotations

from flask.cli import AppGroup

from web.commands.output import table, told_plainly
from web.services import services

boards = AppGroup("boards", help="List the boards.")


@boards.command("list")
@told_plainly
def list_boards() -> None:
    """Each board with its season, players and version."""
    stores = services().stores
    seasons = stores.registry.seasons()
    rows = []
    for board in stores.catalogue.boards.values():
        page = stores.ranking.top(board.name, 1)
        leader = f"{page.entries[0].username} ({page.entries[0].score})" if page.entries else ""
        rows.append((board.name, board.title, seasons[board.name], page.total, page.version, leader))
    table(["board", "title", "season", "players", "version", "leader"], rows)
