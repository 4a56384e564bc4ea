"""Keeps each process's replica of what Postgres says is revoked or restricted (I10).

A check costs a look into a set: no round trip, no Redis. A replica that could not be renewed for a second is not
believed: the check then asks Postgres itself, and refuses the request when that fails too.
"""

from __future__ import annotations

import threading
import time
from typing import Final

import structlog
from sqlalchemy import Connection, Engine, text
from sqlalchemy.exc import SQLAlchemyError

from models import deadlines
from models.accounts import restrictions
from models.accounts.restrictions import Restrictions
from models.accounts.tokens import Claims
from models.accounts.users import Users
from models.errors import Forbidden, NotReady, TokenRevoked, UserBlocked

#: Four looks a second keep "revoked everywhere within one second" with room for two that fail.
POLL_SECONDS: Final = 0.25
BELIEVED_SECONDS: Final = 1.0
#: A revocation becomes visible at its commit, which may be later than its `revoked_at`; transactions here are
#: bounded by the statement time-out of 5 s, so this overlap misses none.
OVERLAP_SECONDS: Final = 30
#: Everything is read anew this often, which also forgets what has expired.
RELOAD_SECONDS: Final = 60.0

log = structlog.get_logger(__name__)


class Revocations:
    """The tokens and families that are refused, and in `restrictions` the players and addresses; keys that were changed
    are forgotten.
    """

    def __init__(self, engine: Engine, users: Users) -> None:
        self._engine = engine
        self._users = users
        self.restrictions = Restrictions()
        self._tokens: set[str] = set()
        self._read_at = float("-inf")
        self._reloaded_at = float("-inf")
        self._failed_at = float("-inf")
        self._reading = threading.Lock()
        self._stopping = threading.Event()
        self._thread: threading.Thread | None = None

    def start(self) -> None:
        """Read once, then keep the replica fresh from a daemon thread."""
        if self._thread is None:
            self._thread = threading.Thread(target=self._poll, name="revocations", daemon=True)
            self._thread.start()

    def stop(self) -> None:
        """End the thread; checks go on by asking Postgres."""
        self._stopping.set()
        if self._thread is not None:
            self._thread.join(timeout=2 * POLL_SECONDS + 1)

    def refuse_if_revoked(self, claims: Claims) -> None:
        """Let a token pass that is neither revoked itself nor of a revoked family.

        Raises:
            TokenRevoked: it is.
            NotReady: that cannot be known now; never fails open.
        """
        self._be_fresh()
        if claims.jti in self._tokens or claims.family in self._tokens:
            raise TokenRevoked

    def refuse_if_blocked(self, user_id: str) -> None:
        """Let a player pass who is not blocked.

        Raises:
            UserBlocked: this player is.
            NotReady: that cannot be known now.
        """
        self._be_fresh()
        if self.restrictions.blocks_user(user_id):
            raise UserBlocked

    def refuse_if_address_is_blocked(self, address: str) -> None:
        """Let an address pass that is not blocked. As fresh as the replica is: nobody is kept out for want of it.

        Raises:
            Forbidden: it is blocked.
        """
        if self.restrictions.blocks_address(address):
            raise Forbidden("This address is blocked for now.")

    @property
    def are_fresh(self) -> bool:
        """Whether a check needs no Postgres now."""
        return time.monotonic() - self._read_at <= BELIEVED_SECONDS / 2

    def lets_pass(self, claims: Claims) -> bool:
        """Whether the replica is fresh and has nothing against this token or its player; waits for nothing."""
        tokens = self._tokens
        return (
            time.monotonic() - self._read_at <= BELIEVED_SECONDS
            and claims.jti not in tokens
            and claims.family not in tokens
            and not self.restrictions.blocks_user(claims.subject)
        )

    def renew(self) -> None:
        """Read what changed from Postgres at once, as after a revocation of our own."""
        with self._reading:
            self._read()

    def _be_fresh(self) -> None:
        asked_at = time.monotonic()
        if asked_at - self._read_at <= BELIEVED_SECONDS:
            return
        unknown = NotReady("Whether the token was revoked cannot be checked now.", retry_after_seconds=1)
        if not self._reading.acquire(timeout=min(deadlines.remaining(), threading.TIMEOUT_MAX)):
            raise unknown
        try:
            if time.monotonic() - self._read_at <= BELIEVED_SECONDS:
                return  # another request renewed it while we waited
            if self._failed_at >= asked_at:  # or could not; then neither could we, and the next waits behind us (I8)
                raise unknown
            self._read()
        except SQLAlchemyError as error:
            raise unknown from error
        finally:
            self._reading.release()

    def _read(self) -> None:
        try:
            self._read_from_postgres()
        except SQLAlchemyError:
            self._failed_at = time.monotonic()
            raise

    def _read_from_postgres(self) -> None:
        started = time.monotonic()
        reload = started - self._reloaded_at > RELOAD_SECONDS
        since = None if reload else OVERLAP_SECONDS
        with self._engine.connect() as connection:
            tokens = _revoked(connection, since_seconds=since)
            restricted = restrictions.read(connection, since_seconds=since)
            changed_keys = _changed_keys(connection)
        self._tokens = tokens if reload else self._tokens | tokens
        self.restrictions.take(restricted, anew=reload)
        self._users.forget_keys(changed_keys)
        self._read_at = started
        if reload:
            self._reloaded_at = started

    def _poll(self) -> None:
        while not self._stopping.is_set():
            try:
                self.renew()
            except SQLAlchemyError as error:
                log.warning("revocations cannot be read", **{"event.action": "revocations-stale"}, error=error)
            self._stopping.wait(POLL_SECONDS)


def _revoked(connection: Connection, *, since_seconds: int | None) -> set[str]:
    if since_seconds is None:
        rows = connection.execute(text("SELECT token FROM revoked_tokens WHERE expires_at > now()"))
    else:
        rows = connection.execute(
            text(
                "SELECT token FROM revoked_tokens WHERE revoked_at > clock_timestamp() - make_interval(secs => :since)"
            ),
            {"since": since_seconds},
        )
    return {str(token) for token in rows.scalars()}


def _changed_keys(connection: Connection) -> list[str]:
    """Players whose signature key is another than it was. For as long as a process may have read the old one before the
    change was committed, and kept it after it heard of it, it hears of it again.
    """
    rows = connection.execute(
        text("SELECT id FROM users WHERE key_changed_at > clock_timestamp() - make_interval(secs => :since)"),
        {"since": OVERLAP_SECONDS},
    )
    return [str(user_id) for user_id in rows.scalars()]
