"""The walk through all sockets twice a second: who is silent, stuck, late, or no longer allowed."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable
from typing import Final, Protocol

from models.accounts.tokens import Claims
from models.errors import NotReady, ScoreboardError
from web.live import closing
from web.live.session import Session

#: "Refused everywhere within one second": the replica of revocations is at most 0.25 s old, this adds 0.5 s (I10).
ROUND_SECONDS: Final = 0.5
SUBSCRIBE_SECONDS: Final = 10.0
#: Below the 30 s and 60 s after which gateways and proxies commonly drop a silent connection.
PING_SECONDS: Final = 25.0
SILENT_SECONDS: Final = 60.0
STUCK_SECONDS: Final = 10.0
CLOSE_SECONDS: Final = 5.0
SESSIONS_BEFORE_GIVING_WAY: Final = 500


class Holding(Protocol):
    """Whether whoever was let in still may be here."""

    def blocks_address(self, address: str) -> bool:
        """Whether an address is refused now."""

    def still_holds(self, claims: Claims) -> None:
        """Raises ScoreboardError when it does not, NotReady when that cannot be known now."""


class Rounds:
    """Looks after every session; `walk` is called each ROUND_SECONDS."""

    def __init__(self, sessions: Iterable[Session], admission: Holding, *, give_way: Callable[[], None]) -> None:
        self._sessions = sessions
        self._admission = admission
        self._give_way = give_way

    def walk(self) -> None:
        """Look after each session once."""
        can_tell = True
        for count, session in enumerate(self._sessions, 1):
            self._look_after(session, time.monotonic())
            if session.closing_since is None and self._admission.blocks_address(session.address):
                session.close(closing.ADDRESS_BLOCKED)
            if can_tell and session.claims is not None and session.closing_since is None:
                can_tell = self._check_token(session, session.claims)
            if count % SESSIONS_BEFORE_GIVING_WAY == 0:
                self._give_way()

    def _look_after(self, session: Session, now: float) -> None:
        if session.closing_since is not None:
            if now - session.closing_since >= CLOSE_SECONDS:
                session.cut()
        elif now - session.heard_at >= SILENT_SECONDS:
            session.cut()
        elif session.stuck_since is not None and now - session.stuck_since >= STUCK_SECONDS:
            session.close(closing.TOO_SLOW)
        elif not session.subscribed and now - session.opened_at >= SUBSCRIBE_SECONDS:
            session.close(closing.NOT_SUBSCRIBED)
        elif now - session.heard_at >= PING_SECONDS and now - session.pinged_at >= PING_SECONDS:
            session.ping(now)

    def _check_token(self, session: Session, claims: Claims) -> bool:
        """False when nobody's token can be judged now; every update asks again by itself, so none slips through."""
        try:
            self._admission.still_holds(claims)
        except NotReady:
            return False
        except ScoreboardError as error:
            session.close(closing.of_error(error))
        return True
