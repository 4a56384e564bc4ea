"""How whatever changes tables waits for its locks: never long enough to queue the service behind itself."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

#: Two migrations at the same moment (two hosts that start) go one after the other.
LOCK_KEY: Final = 5_049_001
#: Who waits for a lock has everybody wait behind it: so it is not for long, and then again. Half of what statements of
#: the service allow (LOCK_TIMEOUT_MS), so that none of them fails by it.
LOCK_SECONDS: Final = 1.0
#: How long another host's migration is waited for: an index over many millions of rows takes minutes.
TURN_SECONDS: Final = 900.0
_FIRST_PAUSE_SECONDS: Final = 0.5
_PAUSE_SECONDS_MOST: Final = 8.0
#: With the pauses, a minute: a transaction of the service ends long before that.
TRIES: Final = 12


def pauses(tries: int = TRIES) -> Iterator[float | None]:
    """What to pause after each try that met a lock, in seconds; None after the last."""
    for number in range(tries - 1):
        yield min(_FIRST_PAUSE_SECONDS * 2**number, _PAUSE_SECONDS_MOST)
    yield None
