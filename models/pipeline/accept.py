"""Accepts updates: checks what only we can check, then commits them to the inbox before anybody is told so (I1).

Only Postgres is needed here: a frozen Redis or a broker that is away does not stop a player.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from functools import lru_cache
from ipaddress import ip_address
from typing import NamedTuple

from models.accounts import signing
from models.accounts.users import Users
from models.boards.catalogue import Catalogue
from models.errors import (
    NotFound,
    QueueUnavailable,
    ScoreboardError,
    SignatureInvalid,
    TimestampOutOfWindow,
    TokenInvalid,
)
from models.pipeline.group_commit import GroupCommit
from models.pipeline.inbox import Arrival, shard_of
from models.pipeline.inbox_writer import InboxWriter, Receipt, Verdict
from models.pipeline.pressure import Pressure
from models.pipeline.updates import SignedUpdate
from models.pipeline.vouching import vouch
from models.settings import Pooling
from models.storage.database import AWAY, open_connection


class ServerUpdate(NamedTuple):
    """An update that a game server vouches for."""

    user_id: str
    action_id: str
    action: str
    value: int


class Acceptor:
    """Admits updates to the inbox; one a process, shared by its threads."""

    def __init__(
        self,
        database_url: str,
        users: Users,
        catalogue: Catalogue,
        pressure: Pressure,
        *,
        shards: int,
        vouch_key: bytes,
        pooling: Pooling = "none",
    ) -> None:
        self._users = users
        self._catalogue = catalogue
        self._pressure = pressure
        self._shards = shards
        self._vouch_key = vouch_key
        self.writer = InboxWriter(lambda: open_connection(database_url, pooling=pooling))
        self._commits: GroupCommit[Arrival, Verdict] = GroupCommit(self.writer.write)

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
        nonce, signature = update.nonce.lower(), bytes.fromhex(update.signature)
        return Arrival(
            user_id=user_id,
            action_id=update.action_id,
            action=update.action,
            value=update.value,
            nonce=nonce,
            signature=signature,
            address=storable_address(address),
            request_id=request_id,
            shard=shard_of(user_id, self._shards),
            vouch=vouch(
                self._vouch_key, user_id, update.action_id, update.action, update.value, nonce, signature, request_id
            ),
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
        self._pressure.hold_back()
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
                    vouch=vouch(
                        self._vouch_key,
                        update.user_id,
                        update.action_id,
                        update.action,
                        update.value,
                        None,
                        None,
                        request_id,
                    ),
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
        self.writer.close()


@lru_cache(maxsize=4096)
def storable_address(address: str | None) -> str | None:
    """The caller's address if Postgres can keep it: what a proxy made up must not refuse a whole group."""
    try:
        return str(ip_address((address or "").partition("%")[0]))  # inet knows no zones
    except ValueError:
        return None
