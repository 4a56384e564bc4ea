"""Reading the boards, with ETags and Cache-Control that a CDN can use."""

from __future__ import annotations

from typing import Final

import msgspec
from flask import Blueprint, Response, request

from models.boards.ranking import Page
from web import access
from web.api import schemas
from web.api.answers import RANKS_BYTES_MOST, answer, parsed
from web.api.board_pages import CACHE, PAGE_MOST, Wanted, etag, told, wanted_around, wanted_page
from web.api.openapi import Operation, Parameter, operation
from web.services import services

blueprint = Blueprint("leaderboards", __name__, url_prefix="/api/v1/leaderboards")

_players: Final = msgspec.json.Decoder(schemas.Players)
_READ_CODES: Final = ("board_unknown", "validation_failed", "not_ready")


@blueprint.get("")
@operation(Operation("The boards and their settings", "leaderboards", answers={200: schemas.Boards}))
@access.public
def boards() -> Response:
    """What can be played for."""
    stores = services().stores
    seasons = stores.registry.seasons()
    listed = [
        schemas.BoardSettings(
            board=board.name,
            title=board.title,
            season=seasons[board.name],
            order="descending",
            actions=[
                schemas.BoardAction(a.name, a.points, a.value_least, a.value_most, a.cooldown_seconds)
                for a in stores.catalogue.actions.values()
                if board.name in a.boards
            ],
        )
        for board in stores.catalogue.boards.values()
    ]
    response = answer(schemas.Boards(listed), cache="public, max-age=60")
    response.add_etag()
    return response.make_conditional(request)  # type: ignore[return-value]


@blueprint.get("/<board>")
@operation(
    Operation(
        "A page of a board",
        "leaderboards",
        answers={200: schemas.LeaderboardPage, 304: None},
        codes=_READ_CODES,
        parameters=(
            Parameter("limit", "entries, 100 when left out", {"type": "integer", "minimum": 1, "maximum": PAGE_MOST}),
            Parameter("cursor", "`next_cursor` or `previous_cursor` of another page"),
        ),
    )
)
@access.public
def page(board: str) -> Response:
    """Entries in rank order from the top, or from where the cursor stands."""
    wanted = wanted_page(board, request.args)
    ranking = services().stores.ranking
    if "If-None-Match" in request.headers and (fresh := _not_modified(wanted, ranking.version(board))):
        return fresh
    return _page(wanted, ranking.top(board, wanted.limit, wanted.start))


@blueprint.get("/<board>/around/<user_id>")
@operation(
    Operation(
        "A player and the neighbours on a board",
        "leaderboards",
        answers={200: schemas.LeaderboardPage, 304: None},
        codes=(*_READ_CODES, "not_found"),
        parameters=(
            Parameter("limit", "entries, 11 when left out", {"type": "integer", "minimum": 1, "maximum": PAGE_MOST}),
        ),
    )
)
@access.public
def around(board: str, user_id: str) -> Response:
    """Entries with the player in the middle, as near to it as the ends of the board allow."""
    services().stores.catalogue.board(board)
    wanted = wanted_around(board, user_id, request.args)
    return _page(wanted, services().stores.ranking.around(board, user_id, wanted.limit))


@blueprint.post("/<board>/ranks")
@operation(
    Operation(
        "The ranks of up to 500 players",
        "leaderboards",
        body=schemas.Players,
        answers={200: schemas.LeaderboardPage},
        codes=(*_READ_CODES, "malformed_json", "unsupported_media_type", "payload_too_large", "rate_limited"),
    )
)
@access.limited
def ranks(board: str) -> Response:
    """The entries of those who have a score, highest first: friends, say."""
    services().stores.catalogue.board(board)
    wanted = parsed(_players, RANKS_BYTES_MOST)
    found = services().stores.ranking.ranks(board, wanted.user_ids)
    return answer(told(found))


def _page(wanted: Wanted, found: Page) -> Response:
    if fresh := _not_modified(wanted, found.version, season=found.season):
        return fresh
    response = answer(told(found, wanted), cache=CACHE)
    response.headers["ETag"] = etag(found.season, found.version, wanted.tag)
    return response


def _not_modified(wanted: Wanted, version: int | None, season: int | None = None) -> Response | None:
    if version is None or "If-None-Match" not in request.headers:
        return None
    season = services().stores.registry.seasons()[wanted.board] if season is None else season
    tag = etag(season, version, wanted.tag)
    if not request.if_none_match.contains_weak(tag.strip('"')):
        return None
    return Response(status=304, headers={"ETag": tag, "Cache-Control": CACHE})
