"""The messages of `scoreboard.v1`: read strictly, written as the contract spells them."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from datetime import UTC, datetime, timedelta
from typing import Annotated, Any, Final

import msgspec
from msgspec import Meta, Struct

from models.boards.deltas import Delta, Line
from models.errors import ScoreboardError, ValidationFailed
from models.pipeline.updates import SignedUpdate, refusal
from web.live.closing import MALFORMED, MEMBERS_INVALID, TYPE_UNKNOWN, Closing
from web.live.frames import text_frame

SUBPROTOCOL: Final = "scoreboard.v1"
TOP_MOST: Final = 1000
TOP_DEFAULT: Final = 100
ACTION_ID_CHARACTERS_MOST: Final = 64

_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)


class MessageRefused(Exception):
    """The message ends the socket; `closing` says how."""

    def __init__(self, closing: Closing) -> None:
        super().__init__(closing.reason)
        self.closing = closing


class ScoreRefused(Exception):
    """The score message is answered by `error`; the socket goes on."""

    def __init__(self, cause: ScoreboardError, action_id: str | None) -> None:
        super().__init__(cause.detail)
        self.cause = cause
        self.action_id = action_id


class Resume(Struct, frozen=True, forbid_unknown_fields=True):
    """What the client still holds."""

    version: Annotated[int, Meta(ge=0, le=2**63 - 1)]


class Subscribe(Struct, frozen=True, forbid_unknown_fields=True, tag="subscribe"):
    """Push me this board's top; with a token, my own half too."""

    top: Annotated[int, Meta(ge=1, le=TOP_MOST)] = TOP_DEFAULT
    token: str | None = None
    ticket: str | None = None
    resume: Resume | None = None


class Ping(Struct, frozen=True, forbid_unknown_fields=True, tag="ping"):
    """Answer with `pong`."""


class Score(SignedUpdate, frozen=True, forbid_unknown_fields=True, tag="score", gc=False):
    """A signed update, as in the body of `POST /api/v1/scores/update`."""


class _Head(Struct, frozen=True):
    type: str
    action_id: Any = None


_read_head: Final = msgspec.json.Decoder(_Head).decode
_read_by_type: Final[dict[str, Callable[[str], Subscribe | Ping]]] = {
    "subscribe": msgspec.json.Decoder(Subscribe).decode,
    "ping": msgspec.json.Decoder(Ping).decode,
}
_read_score: Final = msgspec.json.Decoder(Score).decode


def read_message(text: str) -> Subscribe | Ping | Score:
    """What a client says.

    Raises:
        MessageRefused: it is no message of this protocol.
        ScoreRefused: it is a score message whose members are not those of an update.
    """
    head = _head(text)
    if head.type == "score":
        return _score(text, head)
    try:
        read = _read_by_type[head.type]
    except KeyError:
        raise MessageRefused(TYPE_UNKNOWN) from None
    try:
        return read(text)
    except (msgspec.DecodeError, RecursionError):
        raise MessageRefused(MEMBERS_INVALID) from None


def _head(text: str) -> _Head:
    try:
        return _read_head(text)
    except (msgspec.DecodeError, RecursionError):
        raise MessageRefused(MALFORMED) from None


def _score(text: str, head: _Head) -> Score:
    try:
        return _read_score(text)
    except (msgspec.DecodeError, RecursionError) as error:
        cause = refusal(text.encode(), error)
        if not isinstance(cause, ValidationFailed):
            raise MessageRefused(MALFORMED) from None
        action_id = head.action_id
        named = isinstance(action_id, str) and len(action_id) <= ACTION_ID_CHARACTERS_MOST
        raise ScoreRefused(cause, action_id if named else None) from None


def signed_update(score: Score) -> SignedUpdate:
    """The update a score message carries, as the acceptor knows it."""
    return SignedUpdate(**{name: getattr(score, name) for name in SignedUpdate.__struct_fields__})


def snapshot(version: int, total: int, lines: Sequence[Line]) -> bytes:
    """A frame with the whole top."""
    return _frame({"type": "snapshot", "version": version, "total": total, "entries": _entries(enumerate(lines, 1))})


def delta(from_version: int, version: int, total: int, change: Delta) -> bytes:
    """A frame that leads from the top at one version to the top at another."""
    return _frame(
        {
            "type": "delta",
            "from_version": from_version,
            "version": version,
            "total": total,
            "removals": change.removals,
            "upserts": _entries(change.upserts),
        }
    )


def you(score: int | None, rank: int | None) -> bytes:
    """A frame with a player's own score and rank; both null while there is no score."""
    return _frame({"type": "you", "score": score, "rank": rank})


class Result(Struct, frozen=True):
    """What an applied action did on one board; the rank is None when it is not known."""

    board: str
    previous_score: int
    score_increment: int
    new_score: int
    rank: int | None


def applied(action_id: str, results: Sequence[Result]) -> bytes:
    """A frame that says an action counts now."""
    return _frame({"type": "applied", "action_id": action_id, "status": "applied", "results": results})


def ack(action_id: str) -> bytes:
    """A frame that means what a 202 means."""
    return _frame({"type": "ack", "action_id": action_id, "status": "queued"})


def error(cause: ScoreboardError, action_id: str | None) -> bytes:
    """A frame that says why an update was not accepted; `retry_after` is in seconds."""
    message: dict[str, Any] = {"type": "error", "code": cause.code, "detail": cause.detail, "action_id": action_id}
    if cause.errors:
        message["errors"] = [{"pointer": fault.pointer, "message": fault.message} for fault in cause.errors]
    if cause.retry_after_seconds is not None:
        message["retry_after"] = cause.retry_after_seconds
    return _frame(message)


PONG: Final = text_frame(b'{"type":"pong"}')


def rfc3339(unix_microseconds: int) -> str:
    """A time in UTC with all its microseconds; exact, no float on the way."""
    instant = _EPOCH + timedelta(microseconds=unix_microseconds)
    return instant.replace(tzinfo=None).isoformat(timespec="microseconds") + "Z"


def _entries(ranked: Iterable[tuple[int, Line]]) -> list[dict[str, str | int]]:
    return [
        {
            "rank": rank,
            "user_id": line.user_id,
            "username": line.username,
            "score": line.score,
            "reached_at": rfc3339(line.reached_at),
        }
        for rank, line in ranked
    ]


def _frame(message: dict[str, Any]) -> bytes:
    return text_frame(msgspec.json.encode(message))
