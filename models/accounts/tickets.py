"""Tickets that open one socket within half a minute: what a page can hand over without handing over its token.

A ticket is a token of its own kind and audience; that it is used once is decided by the table of revoked tokens, where
using it puts it.
"""

from __future__ import annotations

from typing import Final

from sqlalchemy import Connection, text

TICKET_SECONDS: Final = 30


def spend(connection: Connection, jti: str) -> bool:
    """Use a ticket; False when it was used before."""
    return (
        connection.execute(
            text(
                "INSERT INTO revoked_tokens (token, reason, expires_at, revoked_at)"
                " VALUES (:jti, 'a ticket that was used', clock_timestamp() + make_interval(secs => :seconds),"
                "   clock_timestamp())"
                " ON CONFLICT (token) DO NOTHING"
            ),
            {"jti": jti, "seconds": TICKET_SECONDS + 60},
        ).rowcount
        == 1
    )
