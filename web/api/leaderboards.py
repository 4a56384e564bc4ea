"""Reading the boards, with ETags and Cache-Control that a CDN can use."""

from __future__ import annotations

import base64
import binascii
import re
from typing import Final

import msgspec
from flask import Blueprint, Response, request

from models.boards.ranking import Page
from models.errors import FieldError, NotFound, ValidationFailed
from models.pipeline.updates import UserId
from web import access
from web.api import schemas
from web.api.answers import RANKS_BYTES_MOST, answer, known_query, parsed, query_integer, rfc3339
from web.api.openapi import Operation, Parameter, operation
from web.services import services

blueprint = Blueprint("leaderboards", __name__, url_prefix="/api/v1/leaderboards")

#: A crowd of any size costs one read a second; who revalidates gets a 304 while nothing moved.
CACHE: Final = "public, max-age=1, stale-while-revalidate=5"
PAGE_MOST: Final = 1000
_players: Final = msgspec.json.Decoder(schemas.Players)
_CURSOR: Final = re.compile(rb"\Ar(\d{1,12})\Z")
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
    known_query("limit", "cursor")
    limit = query_integer("limit", 100, 1, PAGE_MOST)
    start = _offset(request.args.get("cursor"))
    ranking = services().stores.ranking
    tag = f"{limit}.{start}"
    if "If-None-Match" in request.headers and (fresh := _not_modified(board, ranking.version(board), tag)):
        return fresh
    found = ranking.top(board, limit, start)
    next_cursor = _cursor(start + limit) if start + limit < found.total else None
    previous_cursor = _cursor(max(0, start - limit)) if start else None
    return _page(found, tag, next_cursor, previous_cursor)


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
    known_query("limit")
    limit = query_integer("limit", 11, 1, PAGE_MOST)
    services().stores.catalogue.board(board)
    try:
        msgspec.convert(user_id, UserId)
    except msgspec.ValidationError:
        raise NotFound("This player has no score on this board.") from None
    found = services().stores.ranking.around(board, user_id, limit)
    first, last = found.entries[0].rank, found.entries[-1].rank
    next_cursor = _cursor(last) if last < found.total else None
    previous_cursor = _cursor(max(0, first - 1 - limit)) if first > 1 else None
    return _page(found, f"around.{user_id}.{limit}", next_cursor, previous_cursor)


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
    return answer(_as_schema(found, None, None))


def _page(found: Page, tag: str, next_cursor: str | None, previous_cursor: str | None) -> Response:
    if fresh := _not_modified(found.board, found.version, tag, season=found.season):
        return fresh
    response = answer(_as_schema(found, next_cursor, previous_cursor), cache=CACHE)
    response.headers["ETag"] = _etag(found.season, found.version, tag)
    return response


def _not_modified(board: str, version: int | None, tag: str, season: int | None = None) -> Response | None:
    if version is None or "If-None-Match" not in request.headers:
        return None
    season = services().stores.registry.seasons()[board] if season is None else season
    etag = _etag(season, version, tag)
    if not request.if_none_match.contains_weak(etag.strip('"')):
        return None
    return Response(status=304, headers={"ETag": etag, "Cache-Control": CACHE})


def _etag(season: int, version: int, tag: str) -> str:
    """The same version of a board is the same list, so its version is what identifies the answer."""
    return f'"{season}.{version}.{tag}"'


def _as_schema(found: Page, next_cursor: str | None, previous_cursor: str | None) -> schemas.LeaderboardPage:
    return schemas.LeaderboardPage(
        board=found.board,
        season=found.season,
        version=found.version,
        total=found.total,
        entries=[
            schemas.RankedEntry(e.rank, e.user_id, e.username, e.score, rfc3339(e.reached_at)) for e in found.entries
        ],
        next_cursor=next_cursor,
        previous_cursor=previous_cursor,
    )


def _cursor(offset: int) -> str:
    return base64.urlsafe_b64encode(b"r%d" % offset).decode().rstrip("=")


def _offset(cursor: str | None) -> int:
    if not cursor:
        return 0
    try:
        match = _CURSOR.match(base64.urlsafe_b64decode(cursor + "=" * (-len(cursor) % 4)))
    except (binascii.Error, ValueError):
        match = None
    if match is None:
        raise ValidationFailed(errors=(FieldError("/cursor", "is not one of ours"),))
    return int(match[1])
