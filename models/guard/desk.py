"""What operators do to players and addresses: each is one transaction, with the act and its reason in it."""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Final

import redis
import structlog
from sqlalchemy import Connection, Engine
from sqlalchemy.exc import DataError

from models.accounts import restrictions, tokens
from models.accounts.restrictions import Kind, Restriction, Wanted
from models.accounts.revocation import Revocations
from models.accounts.users import User, Users
from models.errors import FieldError, NotFound, NotReady, ValidationFailed
from models.guard import acts, incidents, letters, moderation, privacy, quarantine
from models.guard.incidents import Incident
from models.guard.letters import Key
from models.guard.moderation import Counted, Mark, Span
from models.pipeline.inbox import shard_of
from models.pipeline.shard_lock import lock_shard
from models.subjects import THROTTLE, SubjectKind, network_of, subject_of

#: Updates that one act voids or restores; a longer span is done in several.
VOIDED_MOST: Final = 10_000

log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class Why:
    """Who acts, and why."""

    operator: str
    reason: str


class Desk:
    """One a process. Every method raises NotFound where there is no such player, incident or restriction."""

    def __init__(
        self,
        engine: Engine,
        users: Users,
        revocations: Revocations,
        *,
        shards: int,
        vouch_key: bytes,
        tell: Callable[[str], object],
    ) -> None:
        """`tell` tells Redis and the sockets of a player's committed scores; when it cannot, the sweeper does."""
        self._engine = engine
        self._users = users
        self._revocations = revocations
        self._shards = shards
        self._vouch_key = vouch_key
        self._tell = tell

    def restrict(
        self,
        subject_kind: SubjectKind,
        subject: str,
        kind: Kind,
        why: Why,
        *,
        seconds: float | None = None,
        throttle_to: str | None = None,
    ) -> Restriction:
        """Block, throttle or quarantine a player (by name) or an address, everywhere within a second (I10).

        Raises:
            ValidationFailed: a throttle without a limit that reads, or an address in quarantine.
        """
        if (kind == "throttle") != (throttle_to is not None):
            raise ValidationFailed(errors=(FieldError("/throttle_to", "belongs to a throttle, and only there"),))
        if throttle_to is not None and not re.match(THROTTLE, throttle_to):
            raise ValidationFailed(errors=(FieldError("/throttle_to", "must look like 1/second or 10/5minute"),))
        if kind == "quarantine" and subject_kind != "user":
            raise ValidationFailed(errors=(FieldError("/subject_kind", "only a user can be in quarantine"),))
        with self._engine.begin() as connection:
            name = self._subject(subject_kind, subject)
            imposed = restrictions.impose(
                connection,
                Wanted(subject_kind, name, kind, seconds, why.reason, why.operator, throttle_to=throttle_to),
            )
            self._note(connection, why, f"{kind} {subject_kind}", name, seconds=seconds)
        self._revocations.renew()
        return imposed

    def lift(self, subject_kind: SubjectKind, subject: str, kind: Kind, why: Why) -> Restriction:
        """End a restriction; what was held back by a quarantine stays there until it is released or rejected."""
        with self._engine.begin() as connection:
            name = self._subject(subject_kind, subject)
            lifted = restrictions.lift(connection, subject_kind, name, kind, by=why.operator, reason=why.reason)
            self._note(connection, why, f"lift {kind} {subject_kind}", name)
        self._revocations.renew()
        return lifted

    def release(self, username: str, why: Why) -> tuple[int, int]:
        """End a player's quarantine and let what it held count; returns how many updates, and the shard to wake."""
        user = self._users.by_name(username)
        shard = shard_of(user.user_id, self._shards)
        with self._engine.begin() as connection:
            lock_shard(connection, shard)
            released = quarantine.release(connection, user.user_id, shard)
            self._end_quarantine(connection, user, why)
            self._note(connection, why, "release", user.user_id, updates=released)
        return released, shard

    def reject(self, username: str, why: Why) -> int:
        """Have what a player's quarantine holds never count; the quarantine goes on. Returns how many updates."""
        user = self._users.by_name(username)
        with self._engine.begin() as connection:
            lock_shard(connection, shard_of(user.user_id, self._shards))
            rejected = quarantine.reject(connection, user.user_id, by=why.operator, reason=why.reason)
            self._note(connection, why, "reject", user.user_id, updates=rejected)
        return rejected

    def retry(self, keys: Sequence[Key], why: Why) -> tuple[list[Key], set[int]]:
        """Give dead letters, waiting or dropped, another try under the ids they have; returns those that were there,
        and the shards to wake. What was said of them until now stays in the act.
        """
        with self._engine.begin() as connection:
            found = letters.retry(connection, [(key, shard_of(key.user_id, self._shards)) for key in keys])
            told = defaultdict(list)
            for letter in found:
                parked = {"code": letter.code, "attempts": letter.attempts, "parked_at": letter.parked_at.isoformat()}
                told[letter.user_id].append({"action_id": letter.action_id, **parked})
            for user_id, those in told.items():
                self._note(connection, why, "retry dead letters", user_id, updates=those)
            retried = _letters([Key(letter.user_id, letter.action_id) for letter in found])
        return retried, {shard_of(key.user_id, self._shards) for key in retried}

    def drop(self, keys: Sequence[Key], why: Why) -> list[Key]:
        """Have dead letters wait for nobody any more; returns those that did."""
        with self._engine.begin() as connection:
            dropped = _letters(letters.drop(connection, keys, by=why.operator, reason=why.reason))
            self._note_letters(connection, why, "drop dead letters", dropped)
        return dropped

    def keep(self, keys: Sequence[Key], why: Why) -> list[Key]:
        """Undo that; returns those that were dropped."""
        with self._engine.begin() as connection:
            kept = _letters(letters.keep(connection, keys))
            self._note_letters(connection, why, "keep dead letters", kept)
        return kept

    def hide(self, username: str, why: Why, *, hidden: bool) -> bool:
        """Take a player off all boards, or put them back; False when that is so already."""
        user_id = self._users.by_name(username).user_id
        with self._moderating(user_id, why, "hide" if hidden else "show") as (connection, mark):
            return moderation.set_hidden(connection, user_id, hidden=hidden, mark=mark)

    def void(self, username: str, span: Span, why: Why) -> list[Counted]:
        """Take back what these updates brought; returns them.

        Raises:
            NotFound: none of them counts.
        """
        user_id = self._users.by_name(username).user_id
        with self._moderating(user_id, why, "void") as (connection, mark):
            those = _some(moderation.countable(connection, user_id, span), "that counts")
            moderation.void(connection, user_id, those, mark)
        return those

    def restore(self, username: str, span: Span, why: Why) -> list[Counted]:
        """Let voided updates count again; returns them.

        Raises:
            NotFound: none of them is void.
        """
        user_id = self._users.by_name(username).user_id
        with self._moderating(user_id, why, "restore") as (connection, mark):
            those = _some(moderation.voided(connection, user_id, span), "that is void")
            moderation.restore(connection, user_id, those, mark)
        return those

    def close_incident(self, incident_id: str, why: Why) -> Incident:
        """End an incident; what was imposed for it goes on until its end, or until it is lifted."""
        with self._engine.begin() as connection:
            closed = incidents.close(connection, incident_id, by=why.operator, reason=why.reason)
            self._note(connection, why, "close incident", incident_id)
        return closed

    def sign_out(self, username: str, why: Why) -> int:
        """End all sign-ins of a player everywhere within a second (I10); returns how many. They may sign in again."""
        user = self._users.by_name(username)
        with self._engine.begin() as connection:
            ended = tokens.revoke_families(connection, user.user_id, reason="signed out by an operator")
            self._note(connection, why, "sign out", user.user_id, sign_ins=ended)
        self._revocations.renew()
        return ended

    def change_key(self, username: str, why: Why) -> bytes:
        """Give a player a new signature key; the old one is refused everywhere within a second (I10)."""
        user = self._users.by_name(username)
        with self._engine.begin() as connection:
            key = self._users.change_key(connection, user.user_id)
            self._note(connection, why, "change key", user.user_id)
        self._revocations.renew()
        return key

    def erase(self, username: str, why: Why) -> None:
        """Forget who a player is; boards show the id's beginning in the place of the name (privacy.py)."""
        self._erase(self._users.by_name(username).user_id, why)

    def erase_own(self, user_id: str) -> None:
        """The same at the player's own wish."""
        self._erase(user_id, Why("the player", "asked for it"))

    def _erase(self, user_id: str, why: Why) -> None:
        with self._moderating(user_id, why, "erase") as (connection, mark):
            privacy.erase(connection, user_id, self._users.nobodys_key(user_id))
            moderation.rename(connection, user_id, mark)
        self._revocations.renew()

    @contextmanager
    def _moderating(self, user_id: str, why: Why, act: str) -> Iterator[tuple[Connection, Mark]]:
        """A transaction that changes a player's scores, alone in the shard; Redis and sockets are told after it."""
        try:
            with self._engine.begin() as connection:
                lock_shard(connection, shard_of(user_id, self._shards))
                yield connection, Mark(self._note(connection, why, act, user_id), self._vouch_key)
                moderation.tell(connection, user_id)
        except DataError as error:
            raise ValidationFailed("The score would leave the range of signed 64-bit integers.") from error
        try:
            self._tell(user_id)
        except (NotReady, redis.RedisError) as error:
            log.warning("a change is told later", **{"event.action": "moderate"}, error=type(error))

    def _end_quarantine(self, connection: Connection, user: User, why: Why) -> None:
        try:
            restrictions.lift(connection, "user", user.user_id, "quarantine", by=why.operator, reason=why.reason)
        except NotFound:
            return  # it has ended by itself; what it held waited for this

    def _subject(self, subject_kind: SubjectKind, subject: str) -> str:
        if subject_kind == "user":
            return self._users.by_name(subject).user_id
        try:
            return subject_of(subject) or str(network_of(subject))
        except ValueError as error:
            fault = FieldError("/address", "is neither an address nor a network")
            raise ValidationFailed(errors=(fault,)) from error

    def _note_letters(self, connection: Connection, why: Why, act: str, keys: Sequence[Key]) -> None:
        of = defaultdict(list)
        for key in keys:
            of[key.user_id].append(key.action_id)
        for user_id, action_ids in of.items():
            self._note(connection, why, act, user_id, action_ids=action_ids)

    def _note(self, connection: Connection, why: Why, act: str, subject: str, **details: object) -> str:
        return acts.append(
            connection, operator=why.operator, act=act, subject=subject, reason=why.reason, details=details
        )


def _letters(those: list[Key]) -> list[Key]:
    if not those:
        raise NotFound("There is no dead letter among those of which that can be done.")
    return those


def _some(those: list[Counted], which: str) -> list[Counted]:
    if not those:
        raise NotFound(f"There is no update {which} among those.")
    if len(those) > VOIDED_MOST:
        raise ValidationFailed(
            f"That is {len(those)} updates; at most {VOIDED_MOST} go in one act: name a shorter span."
        )
    return those
