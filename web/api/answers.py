"""Reading bodies and writing answers: JSON in UTF-8, exact integers, times in RFC 3339."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime
from functools import lru_cache
from typing import Any, Final, TypeVar

import msgspec
from flask import Response, request

from models.errors import FieldError, MalformedJson, PayloadTooLarge, UnsupportedMediaType, ValidationFailed
from models.pipeline.updates import parse

BODY_BYTES_MOST: Final = 16 * 1024
BATCH_BYTES_MOST: Final = 1024 * 1024
#: 500 ids of 36 characters with their quotes, commas and white space.
RANKS_BYTES_MOST: Final = 32 * 1024

T = TypeVar("T")
_encode: Final = msgspec.json.Encoder().encode


def json_body(most_bytes: int = BODY_BYTES_MOST) -> bytes:
    """The request's body, of the right type and size.

    Raises:
        UnsupportedMediaType, PayloadTooLarge, MalformedJson.
    """
    if request.mimetype != "application/json":
        if not request.mimetype and not (request.content_length or request.headers.get("Transfer-Encoding")):
            raise MalformedJson("The body is empty.")
        raise UnsupportedMediaType
    if request.content_length is not None and request.content_length > most_bytes:
        raise PayloadTooLarge(f"The body may have {most_bytes} bytes.")
    # For chunked bodies, which do not say their length: Werkzeug cuts them at the limit and does not tell.
    request.max_content_length = most_bytes + 1
    body = request.get_data(cache=False)
    if len(body) > most_bytes:
        raise PayloadTooLarge(f"The body may have {most_bytes} bytes.")
    return body


def parsed(decoder: msgspec.json.Decoder[T], most_bytes: int = BODY_BYTES_MOST) -> T:
    """The request's body as the decoder's type."""
    return parse(json_body(most_bytes), decoder)


def answer(value: Any, status: int = 200, *, cache: str = "no-store") -> Response:
    """A JSON answer; `cache` is its Cache-Control."""
    response = Response(_encode(value), status, content_type="application/json")
    response.headers["Cache-Control"] = cache
    return response


def rfc3339(microseconds: int) -> str:
    """Unix µs as RFC 3339 in UTC, exact."""
    seconds, rest = divmod(microseconds, 1_000_000)
    return f"{_to_the_second(seconds)}.{rest:06d}Z"


@lru_cache(maxsize=8192)
def _to_the_second(seconds: int) -> str:
    return f"{datetime.fromtimestamp(seconds, UTC):%Y-%m-%dT%H:%M:%S}"


def rfc3339_of(instant: datetime) -> str:
    """A time of the database as RFC 3339 in UTC."""
    return instant.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ")


def query_integer(query: Mapping[str, str], name: str, default: int, least: int, most: int) -> int:
    """A whole number from the query string.

    Raises:
        ValidationFailed: it is none, or out of bounds.
    """
    text = query.get(name)
    if text is None:
        return default
    if not (text.isascii() and text.isdigit() and len(text) < 20 and least <= int(text) <= most):
        raise ValidationFailed(errors=(FieldError(f"/{name}", f"must be a whole number from {least} to {most}"),))
    return int(text)


def query_text(query: Mapping[str, str], name: str, most: int = 64) -> str | None:
    """A text from the query string; None when it is left out or empty.

    Raises:
        ValidationFailed: it is longer than `most` characters, or has a character that no text of ours has.
    """
    found = query.get(name)
    if not found:
        return None
    if len(found) > most or not found.isprintable():
        raise ValidationFailed(errors=(FieldError(f"/{name}", f"must be up to {most} printable characters"),))
    return found


def known_query(query: Mapping[str, str], *names: str) -> None:
    """Refuse parameters this call does not know, so that a typing error is seen.

    Raises:
        ValidationFailed: there are some.
    """
    unknown = sorted(set(query) - set(names))
    if unknown:
        raise ValidationFailed(
            errors=tuple(FieldError(f"/{name[:80]}", "is not a parameter of this call") for name in unknown)
        )
