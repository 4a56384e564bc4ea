"""What operators and rules did, each with its reason: appended, never changed, and sealed with the history."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final

import msgspec
from sqlalchemy import Connection, text

#: First half of the advisory lock that who appends holds until the commit, so that a seal misses no act (audit.py).
LOCK_SPACE: Final = 0x5C0_AC7


@dataclass(frozen=True, slots=True)
class Act:
    """One of them."""

    id: str
    operator: str
    act: str
    subject: str
    reason: str
    details: dict[str, Any]
    created_at: datetime


def append(
    connection: Connection,
    *,
    operator: str,
    act: str,
    subject: str,
    reason: str,
    details: Mapping[str, Any] | None = None,
) -> str:
    """Note an act in the transaction that does it; returns its id.

    Args:
        operator: who; `rule <name>` for a rule.
        act: a verb and what it is done to, as `block user`.
        subject: a user id, an address, an incident's id.
    """
    connection.execute(text("SELECT pg_advisory_xact_lock_shared(:space, 0)"), {"space": LOCK_SPACE})
    return str(
        connection.execute(
            text(
                "INSERT INTO acts (operator, act, subject, reason, details, created_at)"
                " VALUES (:operator, :act, :subject, :reason, CAST(:details AS jsonb),"
                "   greatest(statement_timestamp(), (SELECT upto FROM progress WHERE name = 'sealing')"
                "     + interval '1 microsecond'))"
                " RETURNING id"
            ),
            {
                "operator": operator,
                "act": act,
                "subject": subject,
                "reason": reason,
                "details": msgspec.json.encode(dict(details or {})).decode(),
            },
        ).scalar_one()
    )


def newest(
    connection: Connection,
    *,
    subject: str | None = None,
    operator: str | None = None,
    act: str | None = None,
    before: str | None = None,
    limit: int = 50,
) -> list[Act]:
    """The last acts, of one subject, operator and kind or of all; `before` is the id of the last one told.

    Args:
        act: how the kind begins: `block` is `block user` and `block address`.
    """
    rows = connection.execute(
        text(
            "SELECT id::text, operator, act, subject, reason, details, created_at FROM acts"
            " WHERE (CAST(:subject AS text) IS NULL OR subject = :subject)"
            " AND (CAST(:operator AS text) IS NULL OR operator = :operator)"
            " AND (CAST(:act AS text) IS NULL OR starts_with(act, :act))"
            " AND (CAST(:before AS uuid) IS NULL OR id < CAST(:before AS uuid))"
            " ORDER BY id DESC LIMIT :limit"
        ),
        {"subject": subject, "operator": operator, "act": act, "before": before, "limit": limit},
    )
    return [Act(*row) for row in rows]
