"""Pages of a board: which one is asked for, and how it is told; the same for Flask's views and the event loop."""

from __future__ import annotations

import base64
import binascii
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

import msgspec

from models.boards.ranking import Page, around_arguments, top_arguments
from models.errors import FieldError, NotFound, ValidationFailed
from models.pipeline.updates import UserId
from web.api import schemas
from web.api.answers import known_query, query_integer, rfc3339

#: A crowd of any size costs one read a second; who revalidates gets a 304 while nothing moved. While nobody can answer,
#: a cache may show what it has for a minute: old places are better than none.
CACHE: Final = "public, max-age=1, stale-while-revalidate=5, stale-if-error=60"
PAGE_MOST: Final = 1000
PAGE_RULE: Final = "/api/v1/leaderboards/<board>"
AROUND_RULE: Final = "/api/v1/leaderboards/<board>/around/<user_id>"
_CURSOR: Final = re.compile(rb"\Ar(\d{1,12})\Z")


@dataclass(frozen=True, slots=True)
class Wanted:
    """A page that is asked for: from `start`, or around a player."""

    board: str
    limit: int
    start: int = 0
    user_id: str | None = None

    @property
    def tag(self) -> str:
        """What tells its ETag from those of other pages of the same version."""
        return f"{self.limit}.{self.start}" if self.user_id is None else f"around.{self.user_id}.{self.limit}"

    @property
    def rule(self) -> str:
        """Flask's rule of the route."""
        return PAGE_RULE if self.user_id is None else AROUND_RULE

    @property
    def arguments(self) -> list[Any]:
        """What read.lua takes."""
        if self.user_id is None:
            return top_arguments(self.limit, self.start)
        return around_arguments(self.user_id, self.limit)


def wanted_page(board: str, query: Mapping[str, str]) -> Wanted:
    """The page of a query string.

    Raises:
        ValidationFailed: a parameter is unknown or out of bounds.
    """
    known_query(query, "limit", "cursor")
    return Wanted(board, query_integer(query, "limit", 100, 1, PAGE_MOST), _offset(query.get("cursor")))


def wanted_around(board: str, user_id: str, query: Mapping[str, str]) -> Wanted:
    """The neighbours of a player.

    Raises:
        ValidationFailed: a parameter is unknown or out of bounds.
        NotFound: that is no player's id.
    """
    known_query(query, "limit")
    limit = query_integer(query, "limit", 11, 1, PAGE_MOST)
    try:
        msgspec.convert(user_id, UserId)
    except msgspec.ValidationError:
        raise NotFound("This player has no score on this board.") from None
    return Wanted(board, limit, user_id=user_id)


def etag(season: int, version: int, tag: str) -> str:
    """The same version of a board is the same list, so its version is what identifies the answer."""
    return f'"{season}.{version}.{tag}"'


def told(found: Page, wanted: Wanted | None = None) -> schemas.LeaderboardPage:
    """The answer, with cursors to the pages before and after it when it is a stretch of the board."""
    next_cursor, previous_cursor = (None, None) if wanted is None else _cursors(found, wanted)
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


def _cursors(found: Page, wanted: Wanted) -> tuple[str | None, str | None]:
    if wanted.user_id is None:
        first, last = wanted.start + 1, wanted.start + wanted.limit
    else:
        first, last = found.entries[0].rank, found.entries[-1].rank
    after = _cursor(last) if last < found.total else None
    return after, _cursor(max(0, first - 1 - wanted.limit)) if first > 1 else None


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
