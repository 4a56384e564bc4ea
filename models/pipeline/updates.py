"""Reads a score update from JSON and says what is wrong with it; pure."""

from __future__ import annotations

import json
import re
from typing import Annotated, Any, Final, TypeVar

import msgspec
from msgspec import Meta

from models.errors import FieldError, MalformedJson, ValidationFailed

NESTING_MOST: Final = 32
INT64_LEAST: Final = -(2**63)
INT64_MOST: Final = 2**63 - 1

ActionId = Annotated[str, Meta(pattern=r"\A[A-Za-z0-9_.:\-]{1,64}\Z", description="your idempotency key, per user")]
ActionName = Annotated[str, Meta(pattern=r"\A[a-z0-9_]{1,64}\Z", description="a name in the catalogue")]
Int64 = Annotated[int, Meta(ge=INT64_LEAST, le=INT64_MOST)]
Nonce = Annotated[str, Meta(pattern=r"\A[0-9A-Fa-f]{16,64}\Z", description="once per user")]
UnixMilliseconds = Annotated[int, Meta(ge=0, le=2**53, description="Unix milliseconds, within 300 s of the server")]
Signature = Annotated[str, Meta(pattern=r"\A[0-9a-f]{64}\Z", description="HMAC-SHA256 in lower-case hex")]
UserId = Annotated[
    str, Meta(pattern=r"\A[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}\Z", description="a UUID")
]


class SignedUpdate(msgspec.Struct, frozen=True, forbid_unknown_fields=True, gc=False):
    """One action of a player, signed with the player's key."""

    action_id: ActionId
    action: ActionName
    nonce: Nonce
    timestamp: UnixMilliseconds
    signature: Signature
    value: Int64 = 1


T = TypeVar("T")
#: msgspec lets a string that is no UTF-8 surface as Python's own error.
_UNREADABLE: Final = (msgspec.DecodeError, UnicodeDecodeError, RecursionError)
_PATH = re.compile(r" - at `(?:key in )?`?\$(?P<path>[^`]*)`\Z")
_MISSING = re.compile(r"Object missing required field `(?P<name>[^`]*)`")
_UNKNOWN = re.compile(r"Object contains unknown field `(?P<name>[^`]*)`")
_PATTERN = re.compile(r"Expected `str` matching regex '\\\\A(?P<pattern>.*)\\\\Z'\Z")
_decode_update = msgspec.json.Decoder(SignedUpdate).decode


def parse_update(body: bytes) -> SignedUpdate:
    """One signed update.

    Raises:
        MalformedJson: the body is not JSON.
        ValidationFailed: it is not an update; says which member and why.
    """
    try:
        return _decode_update(body)
    except _UNREADABLE as error:
        raise refusal(body, error) from None


def parse(body: bytes, decoder: msgspec.json.Decoder[T]) -> T:
    """A body of another shape, with the same refusals as `parse_update`."""
    try:
        return decoder.decode(body)
    except _UNREADABLE as error:
        raise refusal(body, error) from None


def refusal(body: bytes, error: Exception) -> MalformedJson | ValidationFailed:
    """Tell a body that is no JSON from one that is, but not what was asked for."""
    if not body.strip():
        return MalformedJson("The body is empty.")
    if nesting(body) > NESTING_MOST:
        return MalformedJson(f"The body is nested deeper than {NESTING_MOST}.")
    try:
        # The grammar alone: numbers stay text, since one too large for us is still JSON.
        json.loads(body.decode("utf-8"), parse_int=str, parse_float=str, parse_constant=_no_constant)
    except ValueError as fault:
        return MalformedJson(f"The body is not JSON: {fault}.")
    return ValidationFailed(errors=(field_error(str(error)),))


def nesting(body: bytes) -> int:
    """How deep arrays and objects are nested, brackets inside strings left out."""
    deepest = depth = 0
    in_string = escaped = False
    for byte in body:
        if in_string:
            if escaped:
                escaped = False
            elif byte == 0x5C:
                escaped = True
            elif byte == 0x22:
                in_string = False
        elif byte == 0x22:
            in_string = True
        elif byte in b"[{":
            depth += 1
            deepest = max(deepest, depth)
        elif byte in b"]}":
            depth -= 1
    return deepest


def field_error(message: str) -> FieldError:
    """msgspec's sentence as a pointer and a message; it never repeats the caller's value."""
    path = ""
    if match := _PATH.search(message):
        path = match["path"]
        message = message[: match.start()]
    pointer = "".join(f"/{part}" for part in re.findall(r"[^.\[\]]+", path))
    for pattern, text in ((_MISSING, "is missing"), (_UNKNOWN, "is not a member of this request")):
        if match := pattern.match(message):
            return FieldError(f"{pointer}/{_escaped(match['name'])}", text)
    return FieldError(pointer, _readable(message))


def _no_constant(name: str) -> None:
    raise ValueError(f"{name} is not a JSON value")


def _escaped(name: str) -> str:
    """One reference token of RFC 6901 §3, cut to a sane length."""
    return name[:80].replace("~", "~0").replace("/", "~1")


def _readable(message: str) -> str:
    if match := _PATTERN.match(message):
        return f"must match ^{match['pattern'].replace(chr(92) * 2, chr(92))}$"
    return message[:1].lower() + message[1:] if message else "is not valid"


def json_value(value: Any) -> bytes:
    """Encode an answer; integers stay exact."""
    return msgspec.json.encode(value)
