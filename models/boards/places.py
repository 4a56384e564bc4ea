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

import msgspec

_INT64_MOST: Final = 2**63 - 1
_PLACE: Final = struct.Struct(">QQ")
_VERSION: Final = struct.Struct(">Q")
PLACE_BYTES: Final = _PLACE.size
#: In the place of a player who is hidden: sorts behind all, and is in no ranking.
_HIDDEN: Final = b"\xff" * PLACE_BYTES


class Standing(msgspec.Struct, frozen=True, gc=False):
    """A player's absolute score on a board, as Postgres has it."""

    user_id: str
    username: str
    score: int
    reached_at: int  # Unix µs
    version: int  # counts this score's changes
    hidden: bool = False  # on no board, until an operator says otherwise


@dataclass(frozen=True, slots=True)
class Held:
    """What a board in Redis holds of a player, part by part: each may have been lost or changed without the others."""

    user_id: str
    value: bytes | None  # in `players`: place, version, name
    place: bytes | None  # that the player has in the ranking; of a look at players, only if it is the value's
    sorts_as: float | None  # the double that Redis sorts it by

    @property
    def version(self) -> int | None:
        """The version of the score it holds; None without a value."""
        if self.value is None or len(self.value) < PLACE_BYTES + _VERSION.size:
            return None
        version: int = _VERSION.unpack_from(self.value, PLACE_BYTES)[0]
        return version

    @property
    def is_astray(self) -> bool:
        """Whether the ranking has it at another place than its value says, which no refresh or build ever leaves."""
        return self.place is not None and (self.value or b"")[:PLACE_BYTES] != self.place

    def shows(self, standing: Standing) -> bool:
        """Whether all parts are what a refresh with this standing leaves."""
        rest = _VERSION.pack(standing.version) + standing.username.encode()
        if standing.hidden:
            return (self.value, self.place) == (_HIDDEN + rest, None)
        place = place_of(standing.score, standing.reached_at)
        value = place + rest
        return (self.value, self.place, self.sorts_as) == (value, place, float(-standing.score))


def place_of(score: int, reached_at: int) -> bytes:
    """16 bytes that sort the higher score first, then the earlier time (Unix µs)."""
    return _PLACE.pack(_INT64_MOST - score, reached_at)


def read_member(member: bytes) -> tuple[int, int, str]:
    """Score, time reached (Unix µs) and user id of a member of the ranking."""
    inverted, reached_at = _PLACE.unpack_from(member)
    digits = member[PLACE_BYTES:].hex()  # str(UUID(…)) takes six times as long, and a page is full of them
    user_id = f"{digits[:8]}-{digits[8:12]}-{digits[12:16]}-{digits[16:20]}-{digits[20:]}"
    return _INT64_MOST - inverted, reached_at, user_id


def refresh_arguments(standing: Standing) -> tuple[bytes, bytes, str, bytes, str]:
    """What refresh.lua takes for one player."""
    return (
        bytes.fromhex(standing.user_id.replace("-", "")),  # UUID(…).bytes takes four times as long
        b"" if standing.hidden else place_of(standing.score, standing.reached_at),
        repr(float(-standing.score)),
        _VERSION.pack(standing.version),
        standing.username,
    )
