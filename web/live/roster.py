"""All sockets of this process: how many there may be, in all and from one address."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from typing import Final

from web.live import metrics
from web.live.closing import FULL, GOING_AWAY, TOO_MANY_SOCKETS, Closing
from web.live.session import Session

#: A school or a phone company's gateway looks like one address; a single machine has 28,000 ports to attack with.
SOCKETS_OF_ADDRESS_MOST: Final = 10_000
#: Of one process: at 8 µs a frame a broadcast to all of them takes 0.4 s. More want more processes.
SOCKETS_MOST: Final = 50_000
#: Descriptors kept free for stores, logs and requests that are no sockets.
DESCRIPTORS_RESERVED: Final = 256


class Roster:
    """Who is here."""

    def __init__(self, *, most: int, of_address_most: int = SOCKETS_OF_ADDRESS_MOST) -> None:
        self._most = most
        self._of_address_most = of_address_most
        self._sessions: set[Session] = set()
        self._of_address: Counter[str] = Counter()
        self.leaving = False

    def __len__(self) -> int:
        return len(self._sessions)

    def __iter__(self) -> Iterator[Session]:
        """A copy, so that sessions may end while one walks through it."""
        return iter(list(self._sessions))

    def refusal(self, address: str) -> Closing | None:
        """Why one more socket from this address cannot be taken, or None."""
        if self.leaving:
            return GOING_AWAY
        if len(self._sessions) >= self._most:
            return FULL
        if self._of_address[address] >= self._of_address_most:
            return TOO_MANY_SOCKETS
        return None

    def enter(self, session: Session) -> None:
        """Count it in."""
        self._sessions.add(session)
        self._of_address[session.address] += 1
        metrics.SOCKETS.inc()

    def leave(self, session: Session) -> None:
        """Count it out. Repeatable."""
        if session not in self._sessions:
            return
        self._sessions.discard(session)
        self._of_address[session.address] -= 1
        if not self._of_address[session.address]:
            del self._of_address[session.address]
        metrics.SOCKETS.dec()
