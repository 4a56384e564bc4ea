"""What a verified token says, and the families of refresh tokens with their one unspent member."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Final, Literal

from sqlalchemy import Connection, text

ACCESS_SECONDS: Final = 15 * 60
REFRESH_SECONDS: Final = 30 * 24 * 3600
SERVICE_SECONDS: Final = 365 * 24 * 3600

Kind = Literal["access", "refresh", "service", "ticket"]
SCOPES: Final = ("scores:write", "users:write", "boards:read", "moderation", "admin")


@dataclass(frozen=True, slots=True)
class Claims:
    """A verified token: signature, issuer, audience, kind and times were right when it was read."""

    subject: str
    jti: str
    family: str
    kind: Kind
    scopes: frozenset[str]
    expires_at: int

    @property
    def user_id(self) -> str | None:
        """The player, or None for a game server's token."""
        return None if self.kind == "service" else self.subject


def start_family(connection: Connection, *, family: str, user_id: str, refresh_jti: str, expires_at: int) -> None:
    """Remember the first refresh token of a sign-in."""
    connection.execute(
        text(
            "INSERT INTO token_families (family, user_id, refresh_jti, expires_at)"
            " VALUES (:family, :user_id, :jti, :expires_at)"
        ),
        {"family": family, "user_id": user_id, "jti": refresh_jti, "expires_at": _instant(expires_at)},
    )


def spend_refresh_token(connection: Connection, *, family: str, spent_jti: str, next_jti: str, expires_at: int) -> bool:
    """Put the next refresh token in the spent one's place; False when it was not the unspent one, or is revoked.

    One statement, so of two requests with the same token one wins (RFC 9700 §4.14.2, refresh token rotation). It
    asks Postgres of the revocation too: here the truth costs nothing more than a replica that is a moment old.
    """
    result = connection.execute(
        text(
            "UPDATE token_families SET refresh_jti = :next_jti, expires_at = :expires_at"
            " WHERE family = :family AND refresh_jti = :spent_jti"
            " AND NOT EXISTS (SELECT FROM revoked_tokens WHERE token IN (:family, :spent_jti))"
        ),
        {"family": family, "spent_jti": spent_jti, "next_jti": next_jti, "expires_at": _instant(expires_at)},
    )
    return result.rowcount == 1


def revoke(connection: Connection, token: str, *, reason: str, expires_at: int) -> None:
    """Revoke a jti, or all of a family, until the last token it stands for has expired. Repeatable.

    Args:
        expires_at: Unix seconds after which no such token can be valid.
    """
    connection.execute(
        text(
            "INSERT INTO revoked_tokens (token, reason, expires_at, revoked_at)"
            " VALUES (:token, :reason, :expires_at, clock_timestamp()) ON CONFLICT (token) DO NOTHING"
        ),
        {"token": token, "reason": reason, "expires_at": _instant(expires_at)},
    )


def revoke_families(connection: Connection, user_id: str, *, reason: str) -> int:
    """Revoke all of a player's that are not revoked; returns how many.

    For as long as a token could live that is made at this moment: a refresh under way may make one more.
    """
    return connection.execute(
        text(
            "INSERT INTO revoked_tokens (token, reason, expires_at, revoked_at)"
            " SELECT family, :reason, now() + make_interval(secs => :seconds), clock_timestamp() FROM token_families"
            " WHERE user_id = :user_id AND expires_at > now() ON CONFLICT (token) DO NOTHING"
        ),
        {"reason": reason, "user_id": user_id, "seconds": REFRESH_SECONDS + 60},
    ).rowcount


def forget_families(connection: Connection, most: int) -> int:
    """Delete up to `most` families whose last token has expired; returns how many."""
    return _forget(connection, "token_families", most)


def forget_revocations(connection: Connection, most: int) -> int:
    """Delete up to `most` revocations of tokens that have expired by now; returns how many."""
    return _forget(connection, "revoked_tokens", most)


def _forget(connection: Connection, table: str, most: int) -> int:
    return connection.execute(
        text(
            f"DELETE FROM {table} WHERE ctid = ANY (ARRAY("  # noqa: S608 - one of the names above
            f"  SELECT ctid FROM {table} WHERE expires_at < now() - interval '1 minute'"
            "  ORDER BY expires_at LIMIT :most FOR UPDATE SKIP LOCKED))"
        ),
        {"most": most},
    ).rowcount


def _instant(unix_seconds: int) -> datetime:
    return datetime.fromtimestamp(unix_seconds, UTC)
