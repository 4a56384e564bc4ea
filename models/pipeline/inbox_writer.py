"""Writes groups of admitted updates to the inbox over a connection of its own, whatever the network does (I1, I2)."""

from __future__ import annotations

import math
import threading
import time
from collections.abc import Callable
from typing import Any, Final, NamedTuple

import psycopg
import structlog

from models.errors import ActionIdConflict, NonceReused, QueueUnavailable, RateLimited, ScoreboardError
from models.observers import nobody
from models.pipeline import inbox
from models.pipeline.inbox import Arrival, Key, KnownKey
from models.storage.database import CONNECT_TIMEOUT_SECONDS, BoundedConnection

log = structlog.get_logger(__name__)

#: Tries of one write: the first may meet a connection that Postgres closed long ago.
WRITE_TRIES: Final = 2


class Receipt(NamedTuple):
    """An accepted update: a committed row, now or at an earlier request with the same action_id."""

    action_id: str
    replayed: bool
    shard: int


Verdict = Receipt | ScoreboardError
Opener = Callable[[], BoundedConnection[tuple[Any, ...]]]


class InboxWriter:
    """One connection, one write at a time: who calls sees to that (`group_commit.py`, `loop_groups.py`)."""

    def __init__(self, open_connection: Opener) -> None:
        self._open = open_connection
        self._connection: BoundedConnection[tuple[Any, ...]] | None = None
        self._closing = threading.Lock()
        self.on_group: Callable[[int, float], None] = nobody

    def close(self) -> None:
        """Close the connection; a write under way fails."""
        with self._closing:
            if self._connection is not None:
                self._connection.close()
                self._connection = None

    def write(self, arrivals: list[Arrival], deadline: float) -> list[Verdict]:
        """One group's write: a verdict for each, after the commit. Safe to repeat: after a COMMIT in doubt the rows
        are simply found to be known.

        Raises:
            QueueUnavailable: it is not known whether they were written; `deadline` is by the monotonic clock.
        """
        for attempt in range(1, WRITE_TRIES + 1):
            try:
                started = time.monotonic()
                verdicts = self._write_once(arrivals, deadline)
                self.on_group(len(arrivals), time.monotonic() - started)
                return verdicts
            except psycopg.Error as error:
                log.warning("the inbox cannot be written", **{"event.action": "accept"}, attempt=attempt, error=error)
                self.close()
            if time.monotonic() > deadline - CONNECT_TIMEOUT_SECONDS:
                break
        raise QueueUnavailable(retry_after_seconds=1)

    def _write_once(self, arrivals: list[Arrival], deadline: float) -> list[Verdict]:
        if self._connection is None:
            self._connection = self._open()
            self._connection.autocommit = True  # a group is one statement: one round trip, one commit
        self._connection.answer_by = deadline
        new: set[Key] = set()
        fresh: dict[Key, Arrival] = {}
        for arrival in arrivals:
            fresh.setdefault(arrival.key, arrival)  # the first of equal ones goes in; the order stays
        waits: dict[Key, float] = {}
        paced = any(arrival.cooldown_seconds for arrival in arrivals)
        if not paced:
            new = inbox.accept(self._connection, list(fresh.values()))
            if len(new) == len(arrivals):  # as nearly always
                return [Receipt(arrival.action_id, False, arrival.shard) for arrival in arrivals]
        with self._connection.cursor() as cursor:
            if paced:
                with self._connection.transaction():
                    waits, started = _pace(cursor, fresh)
                    new = inbox.accept(self._connection, [a for key, a in fresh.items() if key not in waits])
                    # Refused after all, for its nonce: then it must not cost the player the cool-down either (I9).
                    inbox.stop_cooldowns(cursor, [arrival for arrival in started if arrival.key not in new])
            verdicts: list[Verdict | None] = []
            for arrival in arrivals:
                is_new = arrival.key in new and fresh[arrival.key] is arrival
                verdicts.append(Receipt(arrival.action_id, False, arrival.shard) if is_new else None)
            others = [arrival for arrival, verdict in zip(arrivals, verdicts, strict=True) if verdict is None]
            if others:
                known = inbox.known_keys(cursor, others)
                verdicts = [
                    verdict or judge(arrival, known, waits) for arrival, verdict in zip(arrivals, verdicts, strict=True)
                ]
        return [verdict for verdict in verdicts if verdict is not None]


def _pace(cursor: psycopg.Cursor[Any], fresh: dict[Key, Arrival]) -> tuple[dict[Key, float], list[Arrival]]:
    """Seconds to wait of those whose cool-down runs, and those whose cool-down was started now.

    Of two for one action in a group, the second waits.
    """
    first: dict[tuple[str, str], Arrival] = {}
    waits: dict[Key, float] = {}
    for arrival in fresh.values():
        if arrival.cooldown_seconds and first.setdefault((arrival.user_id, arrival.action), arrival) is not arrival:
            waits[arrival.key] = arrival.cooldown_seconds
    running = inbox.start_cooldowns(cursor, list(first.values()))
    waits |= {key: seconds for key, seconds in running.items() if seconds is not None}
    return waits, [fresh[key] for key, seconds in running.items() if seconds is None]


def judge(arrival: Arrival, known: list[KnownKey], waits: dict[Key, float]) -> Verdict:
    """What to answer to an update that did not go in: a repeat, a conflict, a nonce used elsewhere, or a wait."""
    for other in known:
        if (other.user_id, other.action_id) == arrival.key and (other.action, other.value) != (
            arrival.action,
            arrival.value,
        ):
            return ActionIdConflict()
    for other in known:
        same_nonce = other.user_id == arrival.user_id and other.nonce is not None and other.nonce == arrival.nonce
        if same_nonce and other.action_id != arrival.action_id:
            return NonceReused()
    if any((other.user_id, other.action_id) == arrival.key for other in known):
        return Receipt(arrival.action_id, True, arrival.shard)
    if arrival.key in waits:
        return RateLimited(retry_after_seconds=max(1, math.ceil(waits[arrival.key])), limit=1)
    return QueueUnavailable(retry_after_seconds=1)
