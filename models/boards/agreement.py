"""When what Redis holds of a player agrees with Postgres, though both change meanwhile; pure.

Redis is looked at, then Postgres is read, then Redis is looked at again. Redis only changes after the commit (I5): so
the first look can hold nothing that Postgres does not have later, and the second must hold what Postgres had, unless a
batch's mark says that Redis is still to be told.
"""

from __future__ import annotations

from enum import StrEnum

from models.boards.places import Held, Standing


class Cause(StrEnum):
    """How a player on a board differs; by these names it is counted."""

    MISSING = "missing"  # Postgres has a score, Redis none
    BEHIND = "behind"  # Redis holds an earlier version of it
    AHEAD = "ahead"  # Redis holds a version that Postgres never reached
    DIFFERING = "differing"  # the same version with another score, time, name, or place in the order
    SURPLUS = "surplus"  # Redis has a player whom Postgres does not know there


#: What a refresh mends; the guard by version keeps it from anything else.
REFRESHABLE = frozenset({Cause.MISSING, Cause.BEHIND})


def disagreement(before: Held, standing: Standing | None, after: Held, *, under_way: bool) -> Cause | None:
    """How a player differs, None for not at all.

    Args:
        before: as Redis held the player before `standing` was read; `after`: and after that.
        standing: None when Postgres has no score of the player on this board.
        under_way: whether Redis was not surely told of `standing` when that was read.
    """
    if standing is None:
        return None if before.value is None and before.place is None else Cause.SURPLUS
    if (before.version or 0) > standing.version:
        return Cause.AHEAD
    if after.value is None:
        return None if under_way else Cause.MISSING
    is_placed = after.place is not None or standing.hidden
    if after.version is None or (after.version <= standing.version and not is_placed):
        return Cause.DIFFERING
    if after.version < standing.version:
        return None if under_way else Cause.BEHIND
    if after.version > standing.version or after.shows(standing):
        return None
    return Cause.DIFFERING
