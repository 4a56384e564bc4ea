"""Who is blocked, throttled or in quarantine, and until when: the rows in Postgres, and each process's replica of them.

Like revocations (`accounts/revocation.py`, which reads both in one go) they hold everywhere within a second, with or
without Redis (I10), and end by themselves.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from datetime import datetime
from ipaddress import ip_address
from typing import Any, Final, Literal

from sqlalchemy import Connection, Row, text

from models.errors import NotFound
from models.subjects import Network, SubjectKind, network_of, subject_of

Kind = Literal["block", "throttle", "quarantine"]
KINDS: Final[tuple[Kind, ...]] = ("block", "throttle", "quarantine")

_COLUMNS: Final = (
    "id::text, subject_kind, subject, kind, throttle_to, reason, imposed_by, incident::text, imposed_at, ends_at,"
    " lifted_at, lifted_by, lifted_reason"
)
_STANDS: Final = "lifted_at IS NULL AND (ends_at IS NULL OR ends_at > clock_timestamp())"


@dataclass(frozen=True, slots=True)
class Restriction:
    """One of them, as operators see it."""

    id: str
    subject_kind: SubjectKind
    subject: str
    kind: Kind
    throttle_to: str | None
    reason: str
    imposed_by: str
    incident: str | None
    imposed_at: datetime
    ends_at: datetime | None
    lifted_at: datetime | None
    lifted_by: str | None
    lifted_reason: str | None


@dataclass(frozen=True, slots=True)
class Wanted:
    """One that is to be imposed; `seconds` is None for one without an end."""

    subject_kind: SubjectKind
    subject: str
    kind: Kind
    seconds: float | None
    reason: str
    imposed_by: str
    incident: str | None = None
    throttle_to: str | None = None


def impose(connection: Connection, wanted: Wanted) -> Restriction:
    """Impose it, or extend the one of its kind that the subject has: the later end stands."""
    row = connection.execute(
        text(
            "INSERT INTO restrictions AS r"  # noqa: S608 - constants
            " (subject_kind, subject, kind, throttle_to, reason, imposed_by, incident, ends_at)"
            " VALUES (:subject_kind, :subject, :kind, :throttle_to, :reason, :imposed_by, CAST(:incident AS uuid),"
            "   clock_timestamp() + make_interval(secs => CAST(:seconds AS double precision)))"
            " ON CONFLICT (subject_kind, subject, kind) WHERE lifted_at IS NULL DO UPDATE SET"
            "   ends_at = CASE WHEN r.ends_at IS NULL OR excluded.ends_at IS NULL THEN NULL"
            "     ELSE greatest(r.ends_at, excluded.ends_at) END,"
            "   throttle_to = excluded.throttle_to, reason = excluded.reason, imposed_by = excluded.imposed_by,"
            "   incident = coalesce(excluded.incident, r.incident), changed_at = clock_timestamp(),"
            "   imposed_at = CASE WHEN r.ends_at < clock_timestamp() THEN clock_timestamp() ELSE r.imposed_at END"
            f" RETURNING {_COLUMNS}"
        ),
        {
            "subject_kind": wanted.subject_kind,
            "subject": wanted.subject,
            "kind": wanted.kind,
            "throttle_to": wanted.throttle_to,
            "reason": wanted.reason,
            "imposed_by": wanted.imposed_by,
            "incident": wanted.incident,
            "seconds": wanted.seconds,
        },
    ).one()
    return Restriction(*row)


def lift(
    connection: Connection, subject_kind: SubjectKind, subject: str, kind: Kind, *, by: str, reason: str
) -> Restriction:
    """End one before its time.

    Raises:
        NotFound: there is none, or it has ended.
    """
    row = connection.execute(
        text(
            "UPDATE restrictions SET lifted_at = clock_timestamp(), lifted_by = :by,"  # noqa: S608 - constants
            " lifted_reason = :reason,"
            " changed_at = clock_timestamp()"
            f" WHERE subject_kind = :subject_kind AND subject = :subject AND kind = :kind AND {_STANDS}"
            f" RETURNING {_COLUMNS}"
        ),
        {"by": by, "reason": reason, "subject_kind": subject_kind, "subject": subject, "kind": kind},
    ).first()
    if row is None:
        raise NotFound(f"There is no {kind} of that {subject_kind}.")
    return Restriction(*row)


def standing(
    connection: Connection, *, kind: Kind | None = None, before: str | None = None, limit: int = 100
) -> list[Restriction]:
    """Those in force, newest first; `before` is the id of the last one told."""
    rows = connection.execute(
        text(
            f"SELECT {_COLUMNS} FROM restrictions"  # noqa: S608 - constants
            f" WHERE {_STANDS} AND (CAST(:kind AS text) IS NULL OR kind = :kind)"
            " AND (CAST(:before AS uuid) IS NULL OR id < CAST(:before AS uuid)) ORDER BY id DESC LIMIT :limit"
        ),
        {"kind": kind, "before": before, "limit": limit},
    )
    return [Restriction(*row) for row in rows]


def of_subject(connection: Connection, subject_kind: SubjectKind, subject: str) -> list[Restriction]:
    """All that a subject ever had, newest first."""
    rows = connection.execute(
        text(
            f"SELECT {_COLUMNS} FROM restrictions"  # noqa: S608 - constants
            " WHERE subject_kind = :subject_kind AND subject = :subject ORDER BY id DESC LIMIT 100"
        ),
        {"subject_kind": subject_kind, "subject": subject},
    )
    return [Restriction(*row) for row in rows]


class Restrictions:
    """A process's replica: a check costs a look into a dictionary."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._blocked_users: dict[str, float] = {}  # until when, by the monotonic clock
        self._blocked_addresses: dict[str, float] = {}
        self._blocked_networks: dict[Network, float] = {}
        self._throttled: dict[tuple[SubjectKind, str], tuple[str, float]] = {}

    def blocks_user(self, user_id: str) -> bool:
        """Whether this player is refused now."""
        until = self._blocked_users.get(user_id)
        return until is not None and self._clock() < until

    def blocks_address(self, address: str | None) -> bool:
        """Whether this address, or a network it is in, is refused now."""
        if not self._blocked_addresses and not self._blocked_networks:
            return False
        name = subject_of(address)
        if name is None or address is None:
            return False
        until = self._blocked_addresses.get(name)
        if until is not None and self._clock() < until:
            return True
        networks = self._blocked_networks
        return bool(networks) and any(
            ip_address(address.partition("%")[0]) in network and self._clock() < until
            for network, until in networks.items()
        )

    def throttle_of(self, kind: SubjectKind, subject: str | None) -> str | None:
        """The limit that a subject is held to now beside those of all."""
        if not self._throttled or subject is None:
            return None
        found = self._throttled.get((kind, subject))
        return found[0] if found is not None and self._clock() < found[1] else None

    def take(self, rows: Iterable[Row[Any]], *, anew: bool) -> None:
        """Take in what was read; `anew` when that is all there is."""
        users = {} if anew else dict(self._blocked_users)
        addresses = {} if anew else dict(self._blocked_addresses)
        networks = {} if anew else dict(self._blocked_networks)
        throttled = {} if anew else dict(self._throttled)
        now = self._clock()
        for row in rows:
            until = float("inf") if row.seconds is None else now + row.seconds
            if row.kind == "throttle":
                _put(throttled, (row.subject_kind, row.subject), (row.throttle_to, until), stands=row.stands)
            elif row.kind == "block" and row.subject_kind == "user":
                _put(users, row.subject, until, stands=row.stands)
            elif row.kind == "block" and ("/" not in row.subject or row.subject.endswith("/64")):  # `subject_of` one
                _put(addresses, row.subject, until, stands=row.stands)
            elif row.kind == "block":
                _put(networks, network_of(row.subject), until, stands=row.stands)
        self._blocked_users, self._blocked_addresses = users, addresses
        self._blocked_networks, self._throttled = networks, throttled


def read(connection: Connection, *, since_seconds: int | None) -> list[Row[Any]]:
    """What the replica takes: all that stand, or all that changed of late, in the order in which they were imposed."""
    which = _STANDS if since_seconds is None else "changed_at > clock_timestamp() - make_interval(secs => :since)"
    return list(
        connection.execute(
            text(
                "SELECT subject_kind, subject, kind, throttle_to,"  # noqa: S608 - constants
                f" ({_STANDS}) AS stands, extract(epoch FROM ends_at - clock_timestamp())::float8 AS seconds"
                f" FROM restrictions WHERE {which} ORDER BY id"
            ),
            {} if since_seconds is None else {"since": since_seconds},
        )
    )


def _put(held: dict[Any, Any], key: Any, value: Any, *, stands: bool) -> None:
    if stands:
        held[key] = value
    else:
        held.pop(key, None)
