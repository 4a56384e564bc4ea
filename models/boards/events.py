"""What is published after a commit: one event a batch and board, a hint to look, with the players' own results."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Final

import msgspec
import redis

#: Every event goes by a channel of this prefix, so that one pattern finds them all.
CHANNEL_PREFIX: Final = "sb:events:"


class Applied(msgspec.Struct, frozen=True, array_like=True, gc=False):
    """One applied update, for its player."""

    user_id: str
    action_id: str
    previous_score: int
    score_increment: int
    new_score: int


class BoardChanged(msgspec.Struct, frozen=True, gc=False, omit_defaults=True):
    """A batch changed a board. Times are Unix µs; `traces` are those of its traced updates (`models/tracing/`)."""

    board: str
    season: int
    version: int
    published_at: int
    oldest_accepted_at: int
    request_ids: tuple[str, ...]
    applied: tuple[Applied, ...]
    traces: tuple[str, ...] = ()


Publisher = Callable[[BoardChanged], object]

_decode: Final = msgspec.json.Decoder(BoardChanged).decode
_encode: Final = msgspec.json.Encoder().encode


def channel_of(board: str) -> str:
    """The pub/sub channel of a board."""
    return CHANNEL_PREFIX + board


def decode(payload: bytes) -> BoardChanged:
    """Read an event.

    Raises:
        msgspec.DecodeError: it is not one of ours.
    """
    return _decode(payload)


def publish(client: redis.Redis, event: BoardChanged) -> int:
    """Publish; returns how many processes listen. May be lost or doubled: listeners re-read the board (I6).

    Raises:
        redis.RedisError: Redis did not answer in time.
    """
    return int(client.publish(channel_of(event.board), _encode(event)))


def now() -> int:
    """Unix µs."""
    return time.time_ns() // 1000
