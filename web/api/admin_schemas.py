"""The shapes of operators' requests and answers."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Any, Literal

from msgspec import Meta, Struct

from models.pipeline.updates import ActionId
from models.subjects import THROTTLE
from web.api.schemas import Instant

Reason = Annotated[str, Meta(min_length=1, max_length=1000, description="why; kept for good, and sealed")]
SubjectKind = Literal["user", "address"]
RestrictionKind = Literal["block", "throttle", "quarantine"]
Subject = Annotated[str, Meta(min_length=1, max_length=64, description="a username, or an address or network")]
Limit = Annotated[str, Meta(pattern=THROTTLE)]
ACTION_IDS_MOST = 1000


class Because(Struct, frozen=True, forbid_unknown_fields=True):
    """Why something is done."""

    reason: Reason


class NewRestriction(Struct, frozen=True, forbid_unknown_fields=True):
    """Block, throttle or quarantine; `seconds` is left out for one without an end."""

    subject_kind: SubjectKind
    subject: Subject
    kind: RestrictionKind
    reason: Reason
    seconds: Annotated[int, Meta(ge=1, le=366 * 86_400)] | None = None
    throttle_to: Limit | None = None


class Lift(Struct, frozen=True, forbid_unknown_fields=True):
    """Which restriction is to end."""

    subject_kind: SubjectKind
    subject: Subject
    kind: RestrictionKind
    reason: Reason


class Updates(Struct, frozen=True, forbid_unknown_fields=True):
    """Which updates of a player: of these ids, or from `since` on and before `until`."""

    reason: Reason
    action_ids: Annotated[list[ActionId], Meta(min_length=1, max_length=ACTION_IDS_MOST)] | None = None
    since: Annotated[datetime, Meta(tz=True)] | None = None
    until: Annotated[datetime, Meta(tz=True)] | None = None


class Incident(Struct, frozen=True):
    """Who went over a rule's threshold."""

    id: str
    rule: str
    subject_kind: SubjectKind
    subject: str
    answer: str
    opened_at: Instant
    last_seen_at: Instant
    events: int
    suspicion: float
    evidence: list[dict[str, Any]]
    closed_at: Instant | None
    closed_by: str | None
    closed_reason: str | None


class Incidents(Struct, frozen=True):
    """The newest first."""

    incidents: list[Incident]


class Restriction(Struct, frozen=True):
    """What is imposed on a player or an address."""

    id: str
    subject_kind: SubjectKind
    subject: str
    kind: RestrictionKind
    throttle_to: str | None
    reason: str
    imposed_by: str
    incident: str | None
    imposed_at: Instant
    ends_at: Instant | None
    lifted_at: Instant | None


class Restrictions(Struct, frozen=True):
    """Those in force, the newest first."""

    restrictions: list[Restriction]


class HeldPlayer(Struct, frozen=True):
    """Whose updates are held back."""

    user_id: str
    username: str
    updates: int
    oldest_accepted_at: Instant


class HeldPlayers(Struct, frozen=True):
    """The longest waiting first."""

    players: list[HeldPlayer]


class HeldUpdate(Struct, frozen=True):
    """An update that is held back."""

    action_id: str
    action: str
    value: int
    accepted_at: Instant
    request_id: str


class HeldUpdates(Struct, frozen=True):
    """In the order of acceptance."""

    updates: list[HeldUpdate]


class Done(Struct, frozen=True):
    """How many updates an act was about."""

    updates: int


class Changed(Struct, frozen=True):
    """Whether anything was to be done."""

    changed: bool


class Moderated(Struct, frozen=True):
    """What an update had brought on a board."""

    action_id: str
    board: str
    season: int
    score_increment: int


class ModeratedUpdates(Struct, frozen=True):
    """In the order in which they were applied."""

    updates: list[Moderated]


class NewKey(Struct, frozen=True):
    """A player's new signature key, shown this once."""

    secret_key: Annotated[str, Meta(description="hex")]


class Act(Struct, frozen=True):
    """What was done by an operator or a rule."""

    id: str
    operator: str
    act: str
    subject: str
    reason: str
    details: dict[str, Any]
    created_at: Instant


class Acts(Struct, frozen=True):
    """The newest first."""

    acts: list[Act]
