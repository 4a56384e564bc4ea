"""Signing in with a signature, refreshing and signing out: each one transaction."""

from __future__ import annotations

import time
from dataclasses import dataclass

from sqlalchemy import Connection, Engine, text

from models.accounts import signing, tokens
from models.accounts.revocation import Revocations
from models.accounts.signing import SIGN_IN_KEY_PREFIX
from models.accounts.tokens import REFRESH_SECONDS, Claims
from models.accounts.users import Users
from models.errors import NonceReused, SignatureInvalid, TimestampOutOfWindow, TokenRevoked

#: Keeps the time of a refusal the same for names that do not exist.
_NO_KEY = bytes(32)


@dataclass(frozen=True, slots=True)
class SignedRequest:
    """A player's wish for tokens."""

    username: str
    nonce: str
    timestamp: int
    signature: str


class SignIn:
    """Who gets tokens, and who loses them."""

    def __init__(self, engine: Engine, users: Users, revocations: Revocations) -> None:
        self._engine = engine
        self._users = users
        self._revocations = revocations

    def check(self, wish: SignedRequest) -> str:
        """The user id of who signed the wish; its nonce is spent by that.

        Raises:
            TimestampOutOfWindow, SignatureInvalid (also for a name that does not exist), UserBlocked, NonceReused.
        """
        if not signing.within_window(wish.timestamp, int(time.time() * 1000)):
            raise TimestampOutOfWindow
        user = self._users.find(wish.username)
        key = self._users.secret_key(user.user_id) if user else _NO_KEY
        message = signing.token_message(wish.username, wish.nonce, wish.timestamp)
        if not signing.matches(key, message, wish.signature) or user is None:
            raise SignatureInvalid("The signature does not match the username and its key.")
        self._revocations.refuse_if_blocked(user.user_id)
        with self._engine.begin() as connection:
            if not _spend_nonce(connection, user.user_id, wish.nonce.lower()):
                raise NonceReused
        return user.user_id

    def check_purpose(self, purpose: str, user_id: str, *, nonce: str, timestamp: int, signature: str) -> None:
        """Let pass what a player signed for this purpose; its nonce is spent by that.

        Raises:
            TimestampOutOfWindow, SignatureInvalid, NonceReused.
        """
        if not signing.within_window(timestamp, int(time.time() * 1000)):
            raise TimestampOutOfWindow
        message = signing.purpose_message(purpose, user_id, nonce, timestamp)
        if not signing.matches(self._users.secret_key(user_id), message, signature):
            raise SignatureInvalid("The signature does not match the purpose and the player's key.")
        with self._engine.begin() as connection:
            if not _spend_nonce(connection, user_id, nonce.lower()):
                raise NonceReused

    def start(self, *, family: str, user_id: str, refresh_jti: str, expires_at: int) -> None:
        """Remember the refresh token of a new family."""
        with self._engine.begin() as connection:
            tokens.start_family(
                connection, family=family, user_id=user_id, refresh_jti=refresh_jti, expires_at=expires_at
            )

    def refresh(self, spent: Claims, *, next_jti: str, expires_at: int) -> None:
        """Put the next refresh token in the place of the one presented.

        Raises:
            TokenRevoked: it is revoked; or it was spent before: then somebody has a copy, so the whole family is
                revoked (RFC 9700 §4.14.2).
        """
        with self._engine.begin() as connection:
            rotated = tokens.spend_refresh_token(
                connection, family=spent.family, spent_jti=spent.jti, next_jti=next_jti, expires_at=expires_at
            )
        if not rotated:
            self.revoke(spent.family, reason="a refresh token was used twice")
            raise TokenRevoked

    def revoke(self, token: str, *, reason: str, lifetime_seconds: int = REFRESH_SECONDS) -> None:
        """Revoke a token by its jti, or all of a family; refused everywhere within a second (I10).

        Args:
            lifetime_seconds: how long the longest-lived of these tokens could still be valid.
        """
        with self._engine.begin() as connection:
            tokens.revoke(connection, token, reason=reason, expires_at=int(time.time()) + lifetime_seconds + 60)
        self._revocations.renew()


def _spend_nonce(connection: Connection, user_id: str, nonce: str) -> bool:
    """Note the nonce among those of actions."""
    result = connection.execute(
        text(
            "INSERT INTO inbox_keys (user_id, action_id, nonce, action, value)"
            " VALUES (:user_id, :action_id, :nonce, 'token', 0) ON CONFLICT DO NOTHING"
        ),
        {"user_id": user_id, "action_id": SIGN_IN_KEY_PREFIX + nonce, "nonce": nonce},
    )
    return result.rowcount == 1
