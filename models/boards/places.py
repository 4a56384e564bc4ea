"""How a score is written in the ranking so that Redis sorts it exactly; pure.

A sorted set orders members by a double, then by bytes. A double holds 53 bits, so the double alone would
mix up large scores. Rounding never swaps two numbers, though: with the rounded score as the double, and the exact
score, the time it was reached and the user id as the member's bytes, the order is exact over all of int64, and at
equal scores who came first stands higher, then the lower user id.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass
from typing import Final
from uuid import UUID

_INT64_MOST: Final = 2**63 - 1
_PLACE: Final = struct.Struct(">QQ")
_VERSION: Final = struct.Struct(">Q")
PLACE_BYTES: Final = _PLACE.size


@dataclass(frozen=True, slots=True)
class Standing:
    """A player's absolute score on a board, as Postgres has it."""

    user_id: str
    username: str
    score: int
    reached_at: int  # Unix µs
    version: int  # counts this score's changes


def place_of(score: int, reached_at: int) -> bytes:
    """16 bytes that sort the higher score first, then the earlier time (Unix µs)."""
    return _PLACE.pack(_INT64_MOST - score, reached_at)


def read_member(member: bytes) -> tuple[int, int, str]:
    """Score, time reached (Unix µs) and user id of a member of the ranking."""
    inverted, reached_at = _PLACE.unpack_from(member)
    return _INT64_MOST - inverted, reached_at, str(UUID(bytes=member[PLACE_BYTES:]))


def refresh_arguments(standing: Standing) -> tuple[bytes, bytes, str, bytes, str]:
    """What refresh.lua takes for one player."""
    return (
        UUID(standing.user_id).bytes,
        place_of(standing.score, standing.reached_at),
        repr(float(-standing.score)),
        _VERSION.pack(standing.version),
        standing.username,
    )
