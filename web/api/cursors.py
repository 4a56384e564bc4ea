"""Cursors of pages: the place of the last row told, as text that callers hand back and need not understand."""

from __future__ import annotations

import base64
import binascii
from collections.abc import Mapping
from datetime import datetime
from typing import Any, TypeVar

import msgspec

from models.errors import FieldError, ValidationFailed

T = TypeVar("T")


def cursor_of(*place: object) -> str:
    """The cursor that leads on from a place; times keep their microseconds."""
    parts = [part.isoformat() if isinstance(part, datetime) else part for part in place]
    return base64.urlsafe_b64encode(msgspec.json.encode(parts)).decode().rstrip("=")


def cursor_in(query: Mapping[str, str], kind: type[T]) -> T | None:
    """The place that the call's `cursor` stands for; None without one.

    Args:
        kind: a tuple of the types of its parts.

    Raises:
        ValidationFailed: it is not one of ours.
    """
    text = query.get("cursor")
    if not text:
        return None
    try:
        content = base64.urlsafe_b64decode(text + "=" * (-len(text) % 4))
        found: T = msgspec.json.decode(content, type=kind)
    except (msgspec.DecodeError, binascii.Error, ValueError) as error:
        raise not_ours() from error
    _refuse_impossible(found)
    return found


def not_ours() -> ValidationFailed:
    """The refusal of a cursor."""
    return ValidationFailed(errors=(FieldError("/cursor", "is not one of ours"),))


def _refuse_impossible(parts: Any) -> None:
    """What no row has: PostgreSQL would refuse it as well, but not as the caller's fault."""
    for part in parts:
        if isinstance(part, str) and "\0" in part:
            raise not_ours()
        if isinstance(part, datetime) and part.tzinfo is None:
            raise not_ours()
        if isinstance(part, int) and not -(2**63) <= part < 2**63:
            raise not_ours()
