"""Forgets the addresses of who sent what: of a player at once, of everybody after ADDRESS_DAYS."""

from __future__ import annotations

import time
from typing import Final

from sqlalchemy import Connection, Engine, text

#: At full speed 60,000 rows.
STRETCH_SECONDS: Final = 10
_NEXT: Final = text(
    "SELECT since, least(since + make_interval(secs => :seconds), now() - make_interval(days => :days)) AS upto"
    " FROM (SELECT coalesce((SELECT upto FROM progress WHERE name = 'addresses' FOR UPDATE),"
    "   (SELECT min(created_at) - interval '1 microsecond' FROM score_history)) AS since) AS begun"
    " WHERE since IS NOT NULL"
)
_FORGET: Final = text(
    "UPDATE score_history SET ip_address = NULL"
    " WHERE created_at > :since AND created_at <= :upto AND ip_address IS NOT NULL"
)
_UPTO: Final = text(
    "INSERT INTO progress (name, upto) VALUES ('addresses', :upto)"
    " ON CONFLICT (name) DO UPDATE SET upto = excluded.upto"
)
#: What else holds addresses, each in small portions. An operator's act on one keeps it: it is sealed.
_ELSEWHERE: Final = (
    text(
        "UPDATE dead_letters SET ip_address = NULL WHERE ctid = ANY (ARRAY(SELECT ctid FROM dead_letters"
        " WHERE ip_address IS NOT NULL AND accepted_at < now() - make_interval(days => :days) LIMIT :most))"
    ),
    text(
        "UPDATE quarantine SET ip_address = NULL WHERE ctid = ANY (ARRAY(SELECT ctid FROM quarantine"
        " WHERE ip_address IS NOT NULL AND accepted_at < now() - make_interval(days => :days) LIMIT :most))"
    ),
    text(
        "UPDATE incidents SET evidence = (SELECT coalesce(jsonb_agg(e - 'address'), '[]')"
        "   FROM jsonb_array_elements(evidence) AS e) WHERE id = ANY (ARRAY(SELECT id FROM incidents"
        " WHERE last_seen_at < now() - make_interval(days => :days) AND jsonb_path_exists(evidence, '$[*].address')"
        " LIMIT :most))"
    ),
    text(
        "DELETE FROM incidents WHERE id = ANY (ARRAY(SELECT id FROM incidents WHERE subject_kind = 'address'"
        " AND closed_at < now() - make_interval(days => :days) LIMIT :most))"
    ),
    text(
        "DELETE FROM restrictions WHERE id = ANY (ARRAY(SELECT id FROM restrictions WHERE subject_kind = 'address'"
        " AND coalesce(lifted_at, ends_at) < now() - make_interval(days => :days) LIMIT :most))"
    ),
)
_ROWS_AT_ONCE: Final = 1_000
_TABLES: Final = ("score_history", "dead_letters", "quarantine", "inbox")


def forget_of(connection: Connection, user_id: str) -> int:
    """Forget all addresses of a player; returns of how many rows."""
    return sum(
        connection.execute(
            text(f"UPDATE {table} SET ip_address = NULL WHERE user_id = :id AND ip_address IS NOT NULL"),  # noqa: S608
            {"id": user_id},
        ).rowcount
        for table in _TABLES
    )


def forget_old(engine: Engine, *, days: int, seconds: float) -> int:
    """Forget addresses that are older than that, for so many seconds at most; returns of how many rows.

    Of history a stretch of time is a transaction, and where the last one ended is kept: it is gone through once.
    """
    deadline, gone = time.monotonic() + seconds, 0
    for statement in _ELSEWHERE:
        with engine.begin() as connection:
            gone += connection.execute(statement, {"days": days, "most": _ROWS_AT_ONCE}).rowcount
    while time.monotonic() < deadline:
        with engine.begin() as connection:
            stretch = connection.execute(_NEXT, {"days": days, "seconds": STRETCH_SECONDS}).first()
            if stretch is None or stretch.upto <= stretch.since:
                return gone
            gone += connection.execute(_FORGET, {"since": stretch.since, "upto": stretch.upto}).rowcount
            connection.execute(_UPTO, {"upto": stretch.upto})
    return gone
