"""All sockets of this process: how many there may be, in all, from one address and of one player."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from typing import Final

from models.subjects import site_of
from web.live import metrics
from web.live.closing import FULL, GOING_AWAY, TOO_MANY_SOCKETS, Closing
from web.live.session import Session

#: A school or a phone company's gateway looks like one address; a single machine has 28,000 ports to attack with.
SOCKETS_OF_ADDRESS_MOST: Final = 10_000
#: Of one player: as many screens and tabs as anybody has, and some that a network left behind.
SOCKETS_OF_USER_MOST: Final = 64
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
        self._of_user: Counter[str] = Counter()
        self._user_of: dict[Session, str] = {}
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
        if self._of_address[site_of(address)] >= self._of_address_most:
            return TOO_MANY_SOCKETS
        return None

    def enter(self, session: Session) -> None:
        """Count it in."""
        self._sessions.add(session)
        self._of_address[site_of(session.address)] += 1
        metrics.SOCKETS.inc()

    def identify(self, session: Session, user_id: str | None) -> bool:
        """A socket says whose it is, or that it is nobody's any more; False when the player has all there may be."""
        known = self._user_of.get(session)
        if known == user_id or session not in self._sessions:
            return True
        if user_id is not None and self._of_user[user_id] >= SOCKETS_OF_USER_MOST:
            return False
        self._forget_user(session)
        if user_id is not None:
            self._user_of[session] = user_id
            self._of_user[user_id] += 1
        return True

    def _forget_user(self, session: Session) -> None:
        user_id = self._user_of.pop(session, None)
        if user_id is not None:
            self._of_user[user_id] -= 1
            if not self._of_user[user_id]:
                del self._of_user[user_id]

    def leave(self, session: Session) -> None:
        """Count it out. Repeatable."""
        if session not in self._sessions:
            return
        self._sessions.discard(session)
        site = site_of(session.address)
        self._of_address[site] -= 1
        if not self._of_address[site]:
            del self._of_address[site]
        self._forget_user(session)
        metrics.SOCKETS.dec()
