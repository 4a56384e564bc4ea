"""Parks what cannot be applied, with its reason, so that the rest of its shard goes on."""

from __future__ import annotations

from typing import Any, Final

import psycopg
from psycopg import errors as pg

#: Tries of one update before it is parked: a fault that passes by itself has passed by then.
ATTEMPTS_MOST: Final = 3

_OLDEST: Final = "SELECT seq FROM inbox WHERE shard = %s ORDER BY seq LIMIT %s"
_COUNT: Final = "UPDATE inbox SET attempts = attempts + 1 WHERE shard = %s AND seq = %s RETURNING attempts"
#: Unless the update turns out to be applied already, it becomes a dead letter in the transaction that settles it (I3).
_PARK: Final = """
WITH settled AS (DELETE FROM inbox WHERE shard = %(shard)s AND seq = %(seq)s RETURNING *)
INSERT INTO dead_letters (user_id, action_id, code, detail, attempts, shard, action, value, signature, nonce,
    ip_address, request_id, accepted_at)
SELECT user_id, action_id, %(code)s, %(detail)s, attempts, shard, action, value, signature, nonce, ip_address,
    request_id, accepted_at
FROM settled s
WHERE NOT EXISTS (SELECT FROM score_history h WHERE h.user_id = s.user_id AND h.action_id = s.action_id)
ON CONFLICT (user_id, action_id) DO NOTHING
"""


def oldest(connection: psycopg.Connection[Any], shard: int, most: int) -> list[int]:
    """The sequence numbers of a shard's oldest rows."""
    return [seq for (seq,) in connection.execute(_OLDEST, (shard, most)).fetchall()]


def count_failure(connection: psycopg.Connection[Any], shard: int, seq: int, error: psycopg.Error) -> int:
    """Count a failed try; after the last one park the update. Returns how many were parked, 0 or 1."""
    with connection.transaction():
        row = connection.execute(_COUNT, (shard, seq)).fetchone()
        if row is None or row[0] < ATTEMPTS_MOST:
            return 0
        code, detail = reason(error)
        connection.execute(_PARK, {"shard": shard, "seq": seq, "code": code, "detail": detail})
        return 1


def reason(error: psycopg.Error) -> tuple[str, str]:
    """What to tell the player: a stable code and a sentence without internals."""
    if isinstance(error, pg.NumericValueOutOfRange):
        return "score_out_of_range", "The score would leave the range of signed 64-bit integers."
    return "apply_failed", f"The update could not be applied (SQLSTATE {error.sqlstate}); operators can look at it."
