"""Parks what cannot be applied, with its reason, so that the rest of its shard goes on.

Two kinds cannot be. What Postgres refuses says so itself, and is counted when it did. What kills whoever applies it
says nothing: a row that waits though somebody must have tried it is counted *before* it is tried again, in smaller and
smaller company, until it stands alone.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final

import psycopg
from psycopg import errors as pg

#: Tries of one update before it is parked: a fault that passes by itself has passed by then.
ATTEMPTS_MOST: Final = 3

#: How many rows are tried together, by how often somebody died trying the first of them.
TOGETHER: Final = (500, 25, 1)
#: Deaths after which a row is parked: twice in company, twice alone.
DEATHS_MOST: Final = 4
#: Broken connections, one after the other, of a row tried alone; fewer may be the network's fault.
CUTS_MOST: Final = 8
#: A connection that broke longer ago says nothing against the rows of now.
FORGIVEN_SECONDS: Final = 10.0

_OLDEST: Final = "SELECT seq FROM inbox WHERE shard = %s ORDER BY seq LIMIT %s"
_COUNT: Final = "UPDATE inbox SET attempts = attempts + 1 WHERE shard = %s AND seq = %s RETURNING attempts"
#: Unless the update turns out to be applied already, it becomes a dead letter in the transaction that settles it (I3).
#: A count and no anti-join: the drain's planner settings would have that read all of history, and here only the months
#: since its acceptance are looked into, by their indexes (a day more, for clocks that were set back).
_PARK: Final = """
WITH settled AS (DELETE FROM inbox WHERE shard = %(shard)s AND seq = %(seq)s RETURNING *)
INSERT INTO dead_letters (user_id, action_id, code, detail, attempts, shard, action, value, signature, nonce,
    ip_address, request_id, vouch, accepted_at)
SELECT user_id, action_id, %(code)s, %(detail)s, attempts, shard, action, value, signature, nonce, ip_address,
    request_id, vouch, accepted_at
FROM settled s
WHERE 0 = (SELECT count(*) FROM score_history h WHERE h.user_id = s.user_id AND h.action_id = s.action_id
    AND h.created_at >= s.accepted_at - interval '1 day')
ON CONFLICT (user_id, action_id) DO NOTHING
"""


_HEAD: Final = "SELECT seq, attempts FROM inbox WHERE shard = %s ORDER BY seq LIMIT %s"
_ADD: Final = "UPDATE inbox SET attempts = greatest(attempts + %s, 0) WHERE shard = %s AND seq = ANY(%s)"
_DEADLY: Final = ("apply_failed", "Whoever tried to apply the update was cut off each time; operators can look at it.")


@dataclass(slots=True)
class Cuts:
    """Connections that broke while this process applied a shard; one that lives to count is no death of the row's."""

    in_a_row: int = 0
    alone: int = 0  # of these, how many hit the same row on its own
    suspect: int = 0  # that row
    noted_at: float = float("-inf")

    @property
    def recent(self) -> bool:
        """Whether one broke lately."""
        return time.monotonic() - self.noted_at < FORGIVEN_SECONDS

    def note(self, seqs: Sequence[int]) -> None:
        """One more broke, with these rows under way."""
        self.in_a_row = self.in_a_row + 1 if self.recent else 1
        self.noted_at = time.monotonic()
        if len(seqs) == 1:
            self.alone = self.alone + 1 if self.suspect == seqs[0] else 1
            self.suspect = seqs[0]

    def deadly(self, seq: int) -> bool:
        """Whether this row, on its own, has broken all it touched."""
        return self.suspect == seq and self.alone >= CUTS_MOST


def take_up(connection: psycopg.Connection[Any], shard: int, cuts: Cuts) -> tuple[list[int], int]:
    """Choose the rows to try next and count the try; within the caller's transaction, who holds the shard's lock.

    Returns:
        Their sequence numbers, and how many were parked instead, 0 or 1.
    """
    head = connection.execute(_HEAD, (shard, TOGETHER[0])).fetchall()
    if not head:
        return [], 0
    seq, deaths = head[0]
    if deaths >= DEATHS_MOST or cuts.deadly(seq):
        code, detail = _DEADLY
        connection.execute(_PARK, {"shard": shard, "seq": seq, "code": code, "detail": detail})
        return [], 1
    broken = cuts.in_a_row // 2 if cuts.recent else 0
    together = TOGETHER[min(max(deaths, broken), len(TOGETHER) - 1)]
    seqs = [row[0] for row in head[:together]]
    connection.execute(_ADD, (1, shard, seqs))
    return seqs, 0


def take_back(connection: psycopg.Connection[Any], shard: int, seqs: Sequence[int]) -> None:
    """Count a try no longer whose process lived to say so."""
    connection.execute(_ADD, (-1, shard, list(seqs)))


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
