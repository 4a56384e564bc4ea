"""The shapes of requests and answers; the OpenAPI document is made from these."""

from __future__ import annotations

from typing import Annotated, Any, Literal

import msgspec
from msgspec import Meta, Struct

from models.pipeline.updates import ActionId, ActionName, Int64, Nonce, Signature, UnixMilliseconds, UserId

Username = Annotated[str, Meta(pattern=r"\A[A-Za-z0-9_.\-]{3,32}\Z")]
Email = Annotated[str, Meta(pattern=r"\A[^@\s\x00-\x1f\x7f]{1,64}@[^@\s\x00-\x1f\x7f]{1,189}\Z")]
Rank = Annotated[int, Meta(ge=1)]
Instant = Annotated[str, Meta(description="RFC 3339, UTC", extra_json_schema={"format": "date-time"})]
BATCH_MOST = 1000
RANKS_MOST = 500


class Registration(Struct, frozen=True, forbid_unknown_fields=True):
    """A new player."""

    username: Username
    email: Email


class Registered(Struct, frozen=True):
    """A player with the signature key, which is shown this once, and a first pair of tokens."""

    user_id: str
    username: str
    secret_key: Annotated[str, Meta(description="hex; signs this player's actions")]
    access_token: str
    refresh_token: str
    expires_in: Annotated[int, Meta(description="seconds until the access token expires")]


class TokenRequest(Struct, frozen=True, forbid_unknown_fields=True):
    """A player asks for tokens by signing `v1\\ntoken\\n<username>\\n<nonce>\\n<timestamp>`."""

    username: Username
    timestamp: UnixMilliseconds
    nonce: Nonce
    signature: Signature


class SignedPurpose(Struct, frozen=True, forbid_unknown_fields=True):
    """A player signs `v1\\n<purpose>\\n<user_id>\\n<nonce>\\n<timestamp>`; the purpose is `key` or `erase`."""

    timestamp: UnixMilliseconds
    nonce: Nonce
    signature: Signature


class OwnKey(Struct, frozen=True):
    """The new signature key, shown this once."""

    secret_key: Annotated[str, Meta(description="hex; signs this player's actions from now on")]


class Tokens(Struct, frozen=True):
    """A pair of tokens."""

    access_token: str
    refresh_token: str
    expires_in: Annotated[int, Meta(description="seconds until the access token expires")]


class Ticket(Struct, frozen=True):
    """What opens one socket as this player."""

    ticket: str
    expires_in: Annotated[int, Meta(description="seconds")]


class OwnData(Struct, frozen=True):
    """A copy of what is kept of a player."""

    user: dict[str, Any]
    scores: list[dict[str, Any]]
    sessions: list[dict[str, Any]]
    restrictions: list[dict[str, Any]]
    addresses: list[dict[str, Any]]


class BoardResult(Struct, frozen=True):
    """What an update did on one board; `rank` is null while the ranking cannot be read."""

    board: str
    previous_score: int
    score_increment: int
    new_score: int
    rank: Rank | None


class UpdateState(Struct, frozen=True, omit_defaults=True):
    """What became of an update."""

    action_id: str
    status: Literal["queued", "applied", "rejected"]
    status_url: str | None = None
    results: list[BoardResult] | None = None
    code: str | None = None
    detail: str | None = None


class BatchItem(Struct, frozen=True, forbid_unknown_fields=True):
    """One update that a game server vouches for."""

    user_id: UserId
    action_id: ActionId
    action: ActionName
    value: Int64 = 1


class Batch(Struct, frozen=True, forbid_unknown_fields=True):
    """Up to 1,000 updates; items are looked at one by one, so that a bad one refuses no other."""

    updates: Annotated[list[msgspec.Raw], Meta(min_length=1, max_length=BATCH_MOST)]


class SoundBatch(Struct, frozen=True, forbid_unknown_fields=True):
    """The same in which every item is right, as nearly always: read in one go."""

    updates: Annotated[list[BatchItem], Meta(min_length=1, max_length=BATCH_MOST)]


class BatchDocument(Struct, frozen=True):
    """Up to 1,000 updates."""

    updates: Annotated[list[BatchItem], Meta(min_length=1, max_length=BATCH_MOST)]


class BatchItemState(Struct, frozen=True, omit_defaults=True):
    """`queued`, also for a repeat, or `refused` with its code."""

    action_id: str | None
    status: Literal["queued", "refused"]
    code: str | None = None
    detail: str | None = None


class BatchState(Struct, frozen=True):
    """One state an item, in order."""

    results: list[BatchItemState]


class OwnScore(Struct, frozen=True):
    """A player's own standing; score 0 and null where nothing was scored yet."""

    board: str
    season: int
    score: int
    rank: Rank | None
    percentile: Annotated[float, Meta(ge=0, le=100, description="share of players at or below, in percent")] | None
    total: int
    last_action_id: str | None
    last_action_at: Instant | None


class HistoryRow(Struct, frozen=True):
    """One change of a score."""

    action_id: str
    action: str
    value: int
    board: str
    score_increment: int
    previous_score: int
    new_score: int
    created_at: Instant


class History(Struct, frozen=True):
    """A player's changes, newest first."""

    entries: list[HistoryRow]
    next_cursor: str | None


class BoardAction(Struct, frozen=True):
    """An action that counts on a board: `points × value`."""

    action: str
    points: int
    value_least: int
    value_most: int
    cooldown_seconds: int


class BoardSettings(Struct, frozen=True):
    """A board."""

    board: str
    title: str
    season: int
    order: Literal["descending"]
    actions: list[BoardAction]


class Boards(Struct, frozen=True):
    """All boards."""

    boards: list[BoardSettings]


class RankedEntry(Struct, frozen=True):
    """A player on a board. Ranks have no gaps and no ties: who reached a score first stands higher."""

    rank: Rank
    user_id: str
    username: str
    score: int
    reached_at: Instant


class LeaderboardPage(Struct, frozen=True):
    """A stretch of a board as it stood at `version`."""

    board: str
    season: int
    version: int
    total: int
    entries: list[RankedEntry]
    next_cursor: str | None
    previous_cursor: str | None


class Players(Struct, frozen=True, forbid_unknown_fields=True):
    """Up to 500 players."""

    user_ids: Annotated[list[UserId], Meta(max_length=RANKS_MOST)]


class ServiceInfo(Struct, frozen=True):
    """Where everything is: the one answer a front end starts from."""

    name: str
    version: str
    api_url: str
    sockets_url: str
    docs_url: str


class PartState(Struct, frozen=True, omit_defaults=True):
    """One part the service stands on."""

    status: Literal["ok", "failing"]
    detail: str | None = None
    depth: int | None = None
    oldest_age_seconds: float | None = None


class Readiness(Struct, frozen=True):
    """Whether the service can do its work, part by part."""

    status: Literal["ready", "not_ready"]
    parts: dict[str, PartState]


class Health(Struct, frozen=True):
    """The process lives."""

    status: Literal["ok"]


class FieldFault(Struct, frozen=True):
    """One fault in a request."""

    pointer: str
    message: str


class Problem(Struct, frozen=True, omit_defaults=True):
    """RFC 9457; `code` is stable."""

    type: str
    title: str
    status: int
    detail: str
    code: str
    request_id: str
    errors: list[FieldFault] | None = None
