"""Every cause for which the service says no: a stable code and a sentence, without HTTP."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar


@dataclass(frozen=True, slots=True)
class FieldError:
    """One fault in a request body: where (an RFC 6901 pointer) and what."""

    pointer: str
    message: str


class ScoreboardError(Exception):
    """The request cannot be carried out."""

    code: ClassVar[str]

    def __init__(
        self,
        detail: str | None = None,
        *,
        retry_after_seconds: int | None = None,
        errors: tuple[FieldError, ...] = (),
    ) -> None:
        self.detail = detail or (self.__doc__ or "").strip()
        self.retry_after_seconds = retry_after_seconds
        self.errors = errors
        super().__init__(self.detail)


class MalformedJson(ScoreboardError):
    """The body is not JSON as RFC 8259 defines it."""

    code = "malformed_json"


class TokenMissing(ScoreboardError):
    """This call needs `Authorization: Bearer <token>`."""

    code = "token_missing"


class TokenInvalid(ScoreboardError):
    """The token is not one of ours, or not of the kind this call needs."""

    code = "token_invalid"


class TokenExpired(ScoreboardError):
    """The token has expired; get a new one with the refresh token."""

    code = "token_expired"


class TokenRevoked(ScoreboardError):
    """The token was revoked; sign in again."""

    code = "token_revoked"


class SignatureInvalid(ScoreboardError):
    """The signature does not match the action and the player's key."""

    code = "signature_invalid"


class Forbidden(ScoreboardError):
    """The token does not have the scope this call needs."""

    code = "forbidden"


class UserBlocked(ScoreboardError):
    """This player is blocked."""

    code = "user_blocked"


class NotFound(ScoreboardError):
    """There is nothing here by that name."""

    code = "not_found"


class BoardUnknown(ScoreboardError):
    """There is no board of that name."""

    code = "board_unknown"


class MethodNotAllowed(ScoreboardError):
    """This address is there, but not for that method."""

    code = "method_not_allowed"


class Internal(ScoreboardError):
    """Something went wrong here; it was logged under this request_id."""

    code = "internal"


class HandshakeInvalid(ScoreboardError):
    """The WebSocket handshake is not one RFC 6455 allows."""

    code = "handshake_invalid"


class UpgradeRequired(ScoreboardError):
    """This address speaks WebSocket version 13: ask for an upgrade."""

    code = "upgrade_required"


class NonceReused(ScoreboardError):
    """This nonce was used for another action; make a fresh one for each action."""

    code = "nonce_reused"


class ActionIdConflict(ScoreboardError):
    """This action_id was used with another action or value."""

    code = "action_id_conflict"


class AlreadyExists(ScoreboardError):
    """That name is taken."""

    code = "already_exists"


class PayloadTooLarge(ScoreboardError):
    """The body is larger than this call takes."""

    code = "payload_too_large"


class UnsupportedMediaType(ScoreboardError):
    """The body must be sent as `Content-Type: application/json`."""

    code = "unsupported_media_type"


class ValidationFailed(ScoreboardError):
    """The request does not have the members or the values it needs."""

    code = "validation_failed"


class ActionUnknown(ScoreboardError):
    """The catalogue has no action of that name."""

    code = "action_unknown"


class TimestampOutOfWindow(ScoreboardError):
    """The timestamp is more than 300 seconds away from the server's clock."""

    code = "timestamp_out_of_window"


class RateLimited(ScoreboardError):
    """Too many requests; wait before the next one."""

    code = "rate_limited"

    def __init__(self, *, retry_after_seconds: int, limit: int, remaining: int = 0) -> None:
        super().__init__(retry_after_seconds=retry_after_seconds)
        self.limit = limit
        self.remaining = remaining


class QueueUnavailable(ScoreboardError):
    """Whether the update reached the durable queue is not known; send the same action again, it counts once."""

    code = "queue_unavailable"


class Overloaded(ScoreboardError):
    """More is coming in than can be carried now; nothing was counted, send it again."""

    code = "overloaded"


class NotReady(ScoreboardError):
    """A part this call needs is not there yet; try again in a moment."""

    code = "not_ready"


class SettingsInvalid(Exception):
    """The environment does not describe a service that can run; one line a fault."""

    def __init__(self, faults: list[str]) -> None:
        self.faults = tuple(faults)
        super().__init__("\n".join(["The settings cannot be used:", *(f"  - {fault}" for fault in faults)]))


class CatalogueInvalid(Exception):
    """The catalogue file cannot be used; the message names file, line and fault."""


class RulesInvalid(Exception):
    """The rules file cannot be used; the message names file, rule and fault."""
