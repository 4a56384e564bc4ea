"""The shapes of operators' requests and answers."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Any, Literal

from msgspec import Meta, Struct

from models.pipeline.updates import ActionId, UserId
from models.subjects import THROTTLE
from web.api.schemas import Instant, PartState

Reason = Annotated[str, Meta(min_length=1, max_length=1000, description="why; kept for good, and sealed")]
SubjectKind = Literal["user", "address"]
RestrictionKind = Literal["block", "throttle", "quarantine"]
Subject = Annotated[str, Meta(min_length=1, max_length=64, description="a username, or an address or network")]
Limit = Annotated[str, Meta(pattern=THROTTLE)]
ACTION_IDS_MOST = 400  # whose body still fits, RANKS_BYTES_MOST
#: Dead letters that one act is about; their names fit into the body's 16 KiB a hundred at a time.
LETTERS_MOST = 100


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
    username: str | None
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
    next_cursor: str | None


class Restriction(Struct, frozen=True):
    """What is imposed on a player or an address."""

    id: str
    subject_kind: SubjectKind
    subject: str
    username: str | None
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
    next_cursor: str | None


class HeldPlayer(Struct, frozen=True):
    """Whose updates are held back."""

    user_id: str
    username: str
    updates: int
    oldest_accepted_at: Instant


class HeldPlayers(Struct, frozen=True):
    """The longest waiting first."""

    players: list[HeldPlayer]
    next_cursor: str | None


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
    next_cursor: str | None


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
    username: Annotated[str | None, Meta(description="of the subject, where that is a player")]
    reason: str
    details: dict[str, Any]
    created_at: Instant


class Acts(Struct, frozen=True):
    """The newest first."""

    acts: list[Act]
    next_cursor: str | None


class Seal(Struct, frozen=True):
    """A link of the chain: it closes over the rows of history and acts up to a moment."""

    number: int
    rows: int
    upto: Instant
    sealed_at: Instant
    hash: Annotated[str, Meta(description="hex; to be kept elsewhere")]
    key_id: str


class Seals(Struct, frozen=True):
    """The newest first."""

    seals: list[Seal]
    next_cursor: str | None


class Player(Struct, frozen=True):
    """A player as operators see one."""

    user_id: str
    username: str
    registered_at: Instant
    hidden_at: Instant | None
    blocked_since: Instant | None
    erased_at: Instant | None


class FoundPlayers(Struct, frozen=True):
    """In the order of their names."""

    players: list[Player]
    next_cursor: str | None


class PlayersPlace(Struct, frozen=True):
    """A player's score in a board's season; the rank is there for the season of now, unless hidden."""

    board: str
    season: int
    score: int
    version: int
    rank: int | None
    last_action_id: str
    last_action_at: Instant


class PlayerFile(Struct, frozen=True):
    """A player with what concerns operators; lists hold the newest, and have pages of their own elsewhere."""

    player: Player
    places: list[PlayersPlace]
    restrictions: Annotated[list[Restriction], Meta(description="all there ever were, the newest hundred")]
    open_incidents: int
    held_updates: int
    dead_letters: int


class ModeratedRow(Struct, frozen=True):
    """One change of a player's score."""

    action_id: str
    action: str
    value: int
    board: str
    season: int
    version: int
    score_increment: int
    previous_score: int
    new_score: int
    created_at: Instant
    void: Annotated[bool, Meta(description="whether it was taken back, and may be restored")]


class ModeratedHistory(Struct, frozen=True):
    """A player's changes, newest first."""

    entries: list[ModeratedRow]
    next_cursor: str | None


class SignIns(Struct, frozen=True):
    """How many sign-ins were ended."""

    sign_ins: int


class LetterKey(Struct, frozen=True, forbid_unknown_fields=True):
    """Which dead letter: an `action_id` is one player's."""

    user_id: UserId
    action_id: ActionId


class LetterKeys(Struct, frozen=True, forbid_unknown_fields=True):
    """Which dead letters, and why."""

    reason: Reason
    letters: Annotated[list[LetterKey], Meta(min_length=1, max_length=LETTERS_MOST)]


class Letter(Struct, frozen=True):
    """An accepted update that could not be applied."""

    user_id: str
    username: str | None
    action_id: str
    action: str
    value: int
    code: str
    detail: str
    attempts: int
    request_id: str
    accepted_at: Instant
    parked_at: Instant
    state: Literal["waiting", "dropped"]
    dropped_at: Instant | None
    dropped_by: str | None
    dropped_reason: str | None


class LetterCause(Struct, frozen=True):
    """How many wait for the same reason."""

    code: str
    updates: int
    oldest_parked_at: Instant
    newest_parked_at: Instant


class Letters(Struct, frozen=True):
    """The last parked first; `causes` are those of all that wait."""

    letters: list[Letter]
    causes: list[LetterCause]
    next_cursor: str | None


class LettersDone(Struct, frozen=True):
    """Which letters an act was about; others were not there, or in another state."""

    letters: list[LetterKey]


class ShardState(Struct, frozen=True):
    """What waits in a shard."""

    shard: int
    depth: int
    oldest_age_seconds: float


class LatencyState(Struct, frozen=True):
    """From the inbox to the ledger, of updates that were applied within the last ten seconds."""

    updates: int
    median_seconds: float
    p99_seconds: float


class Pipeline(Struct, frozen=True):
    """What PostgreSQL knows, so it is true of all processes together. Two looks make a rate."""

    at: Annotated[Instant, Meta(description="by PostgreSQL's clock")]
    accepted: Annotated[int, Meta(description="updates that ever came into the inbox")]
    settled: Annotated[int, Meta(description="of those, how many left it: applied, held back or parked")]
    depth: int
    oldest_age_seconds: float
    depth_limit: int
    age_limit_seconds: float
    shards: list[ShardState]
    latency: LatencyState | None
    unrefreshed_batches: int
    dead_letters: int
    held_updates: int
    open_incidents: int
    restrictions: int


class SocketsState(Struct, frozen=True):
    """Sockets open in all, as each socket process said within the last seconds."""

    open: int
    processes: int


class Glance(Struct, frozen=True):
    """How the service is; what cannot be known now is null."""

    pipeline: Pipeline | None
    sockets: SocketsState | None
    parts: Annotated[dict[str, PartState], Meta(description="as `/readyz` tells, looked at every few seconds")]
