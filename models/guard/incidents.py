"""Incidents: who went over a rule's threshold, with the evidence, from the first event to the end."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final

import msgspec
from sqlalchemy import Connection, text

from models.errors import NotFound
from models.guard.rules import Answer
from models.subjects import SubjectKind

#: Pieces of evidence that one keeps: what led to it, and what followed first.
EVIDENCE_MOST: Final = 50
#: Open ones of a rule; what comes on top is counted in metrics and logged, and opens none (I8).
OPEN_MOST: Final = 1_000
#: Nothing more for so long, and no restriction left of it: it is over.
QUIET_SECONDS: Final = 3600

_COLUMNS: Final = (
    "id::text, rule, subject_kind, subject, answer, opened_at, last_seen_at, events, suspicion, evidence, told_at,"
    " closed_at, closed_by, closed_reason"
)


class Evidence(msgspec.Struct, frozen=True, omit_defaults=True):
    """One event: what, when (Unix seconds), under which request, from where and by whom, as far as that is known."""

    event: str
    at: float
    request_id: str
    user_id: str | None = None
    address: str | None = None


@dataclass(frozen=True, slots=True)
class Incident:
    """One of them, as operators see it."""

    id: str
    rule: str
    subject_kind: SubjectKind
    subject: str
    answer: str
    opened_at: datetime
    last_seen_at: datetime
    events: int
    suspicion: float
    evidence: list[dict[str, Any]]
    told_at: datetime | None
    closed_at: datetime | None
    closed_by: str | None
    closed_reason: str | None


@dataclass(frozen=True, slots=True)
class Sighting:
    """What one process saw of a subject that is over a threshold."""

    rule: str
    subject_kind: SubjectKind
    subject: str
    answer: Answer | str
    events: int  # since this process last said something of the subject
    events_in_all: int  # of all processes, that made the suspicion
    suspicion: float
    evidence: Sequence[Evidence]


def note(connection: Connection, seen: Sighting) -> tuple[str, bool] | None:
    """Open an incident, or add to the open one: its id, and whether it is new. None when too many are open."""
    row = connection.execute(
        text(
            "INSERT INTO incidents AS i (rule, subject_kind, subject, answer, events, suspicion, evidence)"
            " SELECT :rule, :subject_kind, :subject, :answer, :events_in_all, :suspicion, CAST(:evidence AS jsonb)"
            " WHERE (SELECT count(*) FROM incidents WHERE rule = :rule AND closed_at IS NULL) < :most"
            "   OR EXISTS (SELECT FROM incidents WHERE rule = :rule AND subject_kind = :subject_kind"
            "     AND subject = :subject AND closed_at IS NULL)"
            " ON CONFLICT (rule, subject_kind, subject) WHERE closed_at IS NULL DO UPDATE SET"
            "   events = i.events + :events, last_seen_at = clock_timestamp(),"
            "   suspicion = greatest(i.suspicion, excluded.suspicion),"
            "   evidence = CASE WHEN jsonb_array_length(i.evidence) < :evidence_most"
            "     THEN i.evidence || excluded.evidence ELSE i.evidence END"
            " RETURNING id::text, xmax = 0 AS is_new"
        ),
        {
            "rule": seen.rule,
            "subject_kind": seen.subject_kind,
            "subject": seen.subject,
            "answer": seen.answer,
            "events": seen.events,
            "events_in_all": seen.events_in_all,
            "suspicion": seen.suspicion,
            "evidence": msgspec.json.encode(list(seen.evidence)).decode(),
            "most": OPEN_MOST,
            "evidence_most": EVIDENCE_MOST,
        },
    ).first()
    return None if row is None else (row.id, row.is_new)


def listed(
    connection: Connection, *, open_only: bool, subject: str | None = None, before: str | None = None, limit: int = 50
) -> list[Incident]:
    """The newest, all or only open ones, of one subject or of all; `before` is the id of the last one told."""
    rows = connection.execute(
        text(
            f"SELECT {_COLUMNS} FROM incidents WHERE (NOT :open_only OR closed_at IS NULL)"  # noqa: S608 - constants
            " AND (CAST(:subject AS text) IS NULL OR subject = :subject)"
            " AND (CAST(:before AS uuid) IS NULL OR id < CAST(:before AS uuid))"
            " ORDER BY id DESC LIMIT :limit"
        ),
        {"open_only": open_only, "subject": subject, "before": before, "limit": limit},
    )
    return [Incident(*row) for row in rows]


def found(connection: Connection, incident_id: str) -> Incident:
    """The one of that id.

    Raises:
        NotFound: there is none.
    """
    row = connection.execute(
        text(f"SELECT {_COLUMNS} FROM incidents WHERE id = CAST(:id AS uuid)"),  # noqa: S608 - constants
        {"id": incident_id},
    ).first()
    if row is None:
        raise NotFound("There is no such incident.")
    return Incident(*row)


def close(connection: Connection, incident_id: str, *, by: str, reason: str) -> Incident:
    """End one: what the subject does from now on opens another.

    Raises:
        NotFound: there is none that is open.
    """
    row = connection.execute(
        text(
            "UPDATE incidents SET closed_at = clock_timestamp(), closed_by = :by, closed_reason = :reason"  # noqa: S608
            f" WHERE id = CAST(:id AS uuid) AND closed_at IS NULL RETURNING {_COLUMNS}"
        ),
        {"id": incident_id, "by": by, "reason": reason},
    ).first()
    if row is None:
        raise NotFound("There is no open incident of that id.")
    return Incident(*row)


def close_quiet(connection: Connection, most: int) -> int:
    """End those of which nothing was seen for an hour and whose restriction is over; returns how many."""
    return connection.execute(
        text(
            "UPDATE incidents SET closed_at = clock_timestamp(), closed_by = 'time',"
            " closed_reason = 'nothing more came'"
            " WHERE id = ANY (ARRAY(SELECT id FROM incidents i WHERE closed_at IS NULL"
            "   AND last_seen_at < clock_timestamp() - make_interval(secs => :quiet)"
            "   AND NOT EXISTS (SELECT FROM restrictions r WHERE r.incident = i.id AND r.lifted_at IS NULL"
            "     AND (r.ends_at IS NULL OR r.ends_at > clock_timestamp()))"
            "   ORDER BY last_seen_at LIMIT :most FOR UPDATE SKIP LOCKED))"
        ),
        {"quiet": QUIET_SECONDS, "most": most},
    ).rowcount
