"""What a player may ask for: a copy of what is kept of them, and to be forgotten.

Erasing takes the name, the e-mail address, the signature key and all addresses away. Scores, their history and the
chain over them stay, under an id that leads to nobody any more.
"""

from __future__ import annotations

from typing import Any, Final

from sqlalchemy import Connection, text

from models.accounts import tokens
from models.errors import NotFound
from models.guard import addresses

#: What stands in the place of a name: nobody can register it, as it begins with a character names may not have.
_NAME: Final = "~"


def copy_of(connection: Connection, user_id: str) -> dict[str, Any]:
    """Everything that is kept of a player but the signature key and the history, which has pages of its own.

    Raises:
        NotFound: no such player.
    """
    user = connection.execute(
        text("SELECT id::text, username, email, created_at, hidden_at FROM users WHERE id = :id"), {"id": user_id}
    ).first()
    if user is None:
        raise NotFound("There is no such player.")
    return {
        "user": dict(zip(user._fields, user, strict=True)),
        "scores": _rows(
            connection,
            "SELECT board, season, score, last_action_id, last_action_at FROM scores WHERE user_id = :id"
            " ORDER BY board, season",
            user_id,
        ),
        "sessions": _rows(
            connection, "SELECT family::text, expires_at FROM token_families WHERE user_id = :id ORDER BY 2", user_id
        ),
        "restrictions": _rows(
            connection,
            "SELECT kind, reason, imposed_at, ends_at, lifted_at FROM restrictions"
            " WHERE subject_kind = 'user' AND subject = CAST(:id AS text) ORDER BY imposed_at",
            user_id,
        ),
        "addresses": _rows(
            connection,
            "SELECT host(ip_address) AS address, count(*) AS updates, max(created_at) AS last_seen_at"
            " FROM score_history WHERE user_id = :id AND ip_address IS NOT NULL GROUP BY 1 ORDER BY 3 DESC",
            user_id,
        ),
    }


def erase(connection: Connection, user_id: str, sealed_key: tuple[str, bytes]) -> None:
    """Forget who a player is; all their sign-ins end.

    Args:
        sealed_key: a key that nobody knows, in the place of theirs.

    Raises:
        NotFound: no such player, or erased already.
    """
    kid, key = sealed_key
    erased = connection.execute(
        text(
            "UPDATE users SET username = :mark || substr(id::text, 1, 8), email = :mark || id::text, secret_key = :key,"
            " secret_key_kid = :kid, key_changed_at = clock_timestamp(), erased_at = clock_timestamp(),"
            " updated_at = now() WHERE id = :id AND erased_at IS NULL"
        ),
        {"id": user_id, "mark": _NAME, "key": key, "kid": kid},
    )
    if erased.rowcount == 0:
        raise NotFound("There is no such player.")
    tokens.revoke_families(connection, user_id, reason="erased")
    addresses.forget_of(connection, user_id)
    connection.execute(
        text(
            "UPDATE incidents SET evidence = (SELECT coalesce(jsonb_agg(e - 'address'), '[]')"
            "   FROM jsonb_array_elements(evidence) AS e)"
            " WHERE subject_kind = 'user' AND subject = CAST(:id AS text)"
        ),
        {"id": user_id},
    )


def _rows(connection: Connection, statement: str, user_id: str) -> list[dict[str, Any]]:
    return [dict(zip(row._fields, row, strict=True)) for row in connection.execute(text(statement), {"id": user_id})]
