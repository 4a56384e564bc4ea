"""What all calls of operators have in common: who acts and why, and the pages of their lists."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from datetime import datetime
from typing import Any, Final, TypeVar
from uuid import UUID

from flask import request

from models.errors import NotFound
from models.guard.desk import Why
from web import access
from web.api.answers import query_integer, rfc3339_of
from web.api.cursors import cursor_in, cursor_of, not_ours
from web.api.openapi import Parameter

T = TypeVar("T")

SCOPE: Final = "moderation"
BODY: Final = ("malformed_json", "validation_failed", "unsupported_media_type", "payload_too_large")
READ: Final = ("forbidden", "validation_failed")
WRITE: Final = (*BODY, "forbidden", "not_found", "rate_limited")
PAGE: Final = (
    Parameter("cursor", "`next_cursor` of the page before"),
    Parameter("limit", "how many, 50 when left out", {"type": "integer", "minimum": 1, "maximum": 500}),
)


def why(reason: str) -> Why:
    """Who acts, as the token names them, and why."""
    return Why(f"token {access.claims().subject}", reason)


def when(instant: datetime | None) -> str | None:
    """A time that may not have come, as it is told."""
    return None if instant is None else rfc3339_of(instant)


def limit() -> int:
    """How many rows the call wants.

    Raises:
        ValidationFailed: it is no number, or out of bounds.
    """
    return query_integer(request.args, "limit", 50, 1, 500)


def page(rows: Sequence[T], most: int, place: Callable[[T], tuple[Any, ...]]) -> tuple[Sequence[T], str | None]:
    """The rows of a page, of which one more than `most` was read, and the cursor that leads on from its last."""
    return rows[:most], cursor_of(*place(rows[most - 1])) if len(rows) > most else None


def id_in_cursor() -> str | None:
    """The id that the call's cursor stands for, in lists whose order is that of their ids.

    Raises:
        ValidationFailed: it is none.
    """
    place = cursor_in(request.args, tuple[str])
    return None if place is None else uuid_of(place[0])


def uuid_of(text: str) -> str:
    """An id in the place of a cursor.

    Raises:
        ValidationFailed: it is none.
    """
    try:
        return str(UUID(text))
    except ValueError as error:
        raise not_ours() from error


def found_uuid(text: str, what: str) -> str:
    """An id in an address.

    Raises:
        NotFound: it is none, so there is no such thing.
    """
    try:
        return str(UUID(text))
    except ValueError:
        raise NotFound(f"There is no such {what}.") from None
