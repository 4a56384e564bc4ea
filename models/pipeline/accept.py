"""Accepts updates: checks what only we can check, then commits them to the inbox before anybody is told so (I1).

Only Postgres is needed here: a frozen Redis or a broker that is away does not stop a player.
"""

from __future__ import annotations

import math
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import lru_cache
from ipaddress import ip_address
from typing import Any, Final

import psycopg
import structlog

from models.accounts import signing
from models.accounts.users import Users
from models.boards.catalogue import Catalogue
from models.errors import (
    ActionIdConflict,
    NonceReused,
    NotFound,
    QueueUnavailable,
    RateLimited,
    ScoreboardError,
    SignatureInvalid,
    TimestampOutOfWindow,
    TokenInvalid,
)
from models.observers import nobody
from models.pipeline import inbox
from models.pipeline.group_commit import GroupCommit
from models.pipeline.inbox import Arrival, Key, KnownKey, shard_of
from models.pipeline.pressure import Pressure
from models.pipeline.updates import SignedUpdate
from models.storage.database import AWAY, CONNECT_TIMEOUT_SECONDS, BoundedConnection, open_connection

log = structlog.get_logger(__name__)

#: Tries of one write: the first may meet a connection that Postgres closed long ago.
WRITE_TRIES: Final = 2


@dataclass(frozen=True, slots=True)
class Receipt:
    """An accepted update: a committed row, now or at an earlier request with the same action_id."""

    action_id: str
    replayed: bool
    shard: int


@dataclass(frozen=True, slots=True)
class ServerUpdate:
    """An update that a game server vouches for."""

    user_id: str
    action_id: str
    action: str
    value: int


Verdict = Receipt | ScoreboardError


class Acceptor:
    """Admits updates to the inbox; one a process, shared by its threads."""

    def __init__(
        self, database_url: str, users: Users, catalogue: Catalogue, pressure: Pressure, *, shards: int
    ) -> None:
        self._database_url = database_url
        self._users = users
        self._catalogue = catalogue
        self._pressure = pressure
        self._shards = shards
        self._connection: BoundedConnection[tuple[Any, ...]] | None = None
        self._closing = threading.Lock()
        self._commits: GroupCommit[Arrival, Verdict] = GroupCommit(self._write)
        self.on_group: Callable[[int, float], None] = nobody

    def accept(self, user_id: str, update: SignedUpdate, *, address: str | None, request_id: str) -> Receipt:
        """Check a player's signed update and commit it; returns after the commit.

        Raises:
            What `admit` and `commit` raise: nothing was accepted.
        """
        return self.commit(self.admit(user_id, update, address=address, request_id=request_id))

    def admit(self, user_id: str, update: SignedUpdate, *, address: str | None, request_id: str) -> Arrival:
        """Check a player's signed update without a trace.

        Raises:
            TimestampOutOfWindow, SignatureInvalid, ActionUnknown, ValidationFailed, Overloaded, QueueUnavailable.
            TokenInvalid: the token names a player who does not exist.
        """
        if not signing.within_window(update.timestamp, int(time.time() * 1000)):
            raise TimestampOutOfWindow
        action = self._catalogue.action_for(update.action, update.value)
        try:
            key = self._users.secret_key(user_id)
        except NotFound:
            raise TokenInvalid("The token names a player who does not exist.") from None
        except AWAY as error:
            raise QueueUnavailable(retry_after_seconds=1) from error
        message = signing.action_message(
            user_id, update.action_id, update.action, update.value, update.nonce, update.timestamp
        )
        if not signing.matches(key, message, update.signature):
            raise SignatureInvalid
        self._pressure.refuse_if_high()
        return Arrival(
            user_id=user_id,
            action_id=update.action_id,
            action=update.action,
            value=update.value,
            nonce=update.nonce.lower(),
            signature=bytes.fromhex(update.signature),
            address=storable_address(address),
            request_id=request_id,
            shard=shard_of(user_id, self._shards),
            cooldown_seconds=action.cooldown_seconds,
        )

    def commit(self, arrival: Arrival) -> Receipt:
        """Commit an admitted update with all that arrive meanwhile; returns after the commit (I1).

        Raises:
            NonceReused, ActionIdConflict, RateLimited (a cool-down is running), Overloaded, QueueUnavailable: nothing
            was accepted, or for the last: it is not known whether.
        """
        verdict = self._commits.submit((arrival,))[0]
        if isinstance(verdict, ScoreboardError):
            raise verdict
        return verdict

    def accept_batch(self, updates: Sequence[ServerUpdate], *, address: str | None, request_id: str) -> list[Verdict]:
        """Commit a game server's updates in one go; a verdict for each, in order. One bad one refuses no other.

        Raises:
            Overloaded, QueueUnavailable: none was accepted, or for the latter: it is not known which.
        """
        self._pressure.refuse_if_high()
        storable = storable_address(address)
        try:
            known_users = self._users.existing(list({update.user_id for update in updates}))
        except AWAY as error:
            raise QueueUnavailable(retry_after_seconds=1) from error
        verdicts: list[Verdict | None] = [None] * len(updates)
        arrivals: list[Arrival] = []
        places: list[int] = []
        for place, update in enumerate(updates):
            try:
                action = self._catalogue.action_for(update.action, update.value)
                if update.user_id not in known_users:
                    raise NotFound("There is no such player.")
            except ScoreboardError as error:
                verdicts[place] = error
                continue
            places.append(place)
            arrivals.append(
                Arrival(
                    user_id=update.user_id,
                    action_id=update.action_id,
                    action=update.action,
                    value=update.value,
                    nonce=None,
                    signature=None,
                    address=storable,
                    request_id=request_id,
                    shard=shard_of(update.user_id, self._shards),
                    cooldown_seconds=action.cooldown_seconds,
                )
            )
        if arrivals:
            for place, verdict in zip(places, self._commits.submit(arrivals), strict=True):
                verdicts[place] = verdict
        return [verdict for verdict in verdicts if verdict is not None]

    def warm_up(self) -> None:
        """Open the connection and have Postgres prepare the statement, so that the first update need not wait.

        Raises:
            QueueUnavailable: Postgres is away.
        """
        self._commits.submit(())

    def close(self) -> None:
        """Close the connection; a write under way fails."""
        with self._closing:
            if self._connection is not None:
                self._connection.close()
                self._connection = None

    def _write(self, arrivals: list[Arrival], deadline: float) -> list[Verdict]:
        """One group's write. Safe to repeat: after a COMMIT in doubt the rows are simply found to be known."""
        for attempt in range(1, WRITE_TRIES + 1):
            try:
                started = time.monotonic()
                verdicts = self._write_once(arrivals, deadline)
                self.on_group(len(arrivals), time.monotonic() - started)
                return verdicts
            except psycopg.Error as error:
                log.warning(
                    "the inbox cannot be written", **{"event.action": "accept"}, attempt=attempt, error=str(error)
                )
                self.close()
            if time.monotonic() > deadline - CONNECT_TIMEOUT_SECONDS:
                break
        raise QueueUnavailable(retry_after_seconds=1)

    def _write_once(self, arrivals: list[Arrival], deadline: float) -> list[Verdict]:
        if self._connection is None:
            self._connection = open_connection(self._database_url)
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


@lru_cache(maxsize=4096)
def storable_address(address: str | None) -> str | None:
    """The caller's address if Postgres can keep it: what a proxy made up must not refuse a whole group."""
    try:
        return str(ip_address((address or "").partition("%")[0]))  # inet knows no zones
    except ValueError:
        return None


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
