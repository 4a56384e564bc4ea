"""What all sessions of a process share, and the wire each has for itself, as a session uses them."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Protocol

from models.accounts.tokens import Claims
from models.errors import ScoreboardError
from models.pipeline.inbox_writer import Verdict
from models.pipeline.updates import SignedUpdate
from web.live import hub, messages
from web.live.hub import Member


class Wire(hub.Wire, Protocol):
    """The transport, as a session uses it."""

    @property
    def busy(self) -> bool: ...
    @property
    def tail_bytes(self) -> int: ...
    def close(self) -> None: ...


class Gathering(Protocol):
    """The hub, as a session uses it."""

    def join(self, member: Member, board: str, top: int, *, resume: int | None) -> None: ...
    def leave(self, member: Member) -> None: ...
    def drained(self, member: Member) -> None: ...


class Admitting(Protocol):
    """Who decides on tokens and updates; may wait for stores."""

    def verify(self, token: str) -> Claims:
        """Raises ScoreboardError when the token does not hold."""

    def use_ticket(self, ticket: str) -> Claims:
        """The same of a ticket, which is used up by this."""

    def noted(self, cause: ScoreboardError, claims: Claims | None, *, address: str) -> None:
        """Something was refused."""

    def take(self, claims: Claims, update: SignedUpdate, *, address: str, done: Callable[[Verdict], None]) -> bool:
        """Whether the update is taken without waiting: then `done` is told its verdict after its commit."""

    def accept(self, claims: Claims, update: SignedUpdate, *, address: str) -> bool:
        """Commit the update to the inbox; True when it was there before. Raises ScoreboardError."""

    def outcome(self, claims: Claims, action_id: str) -> list[messages.Result]:
        """What an update did, empty while it is queued."""


class Errand(Protocol):
    """Runs a job off the event loop; False when too many wait."""

    def __call__(self, job: Callable[[], None]) -> bool: ...


class Shared:
    """The hub, the stores' decisions and the errands; `gone` is told of each session that is over, and `identify` of
    whose a session is: False when that player may have no more.
    """

    __slots__ = ("accepting", "admission", "gone", "hub", "identify", "verifying")

    def __init__(
        self,
        *,
        hub: Gathering,
        admission: Admitting,
        verifying: Errand,
        accepting: Errand,
        gone: Callable[[Any], None],
        identify: Callable[[Any, str | None], bool],
    ) -> None:
        self.hub = hub
        self.admission = admission
        self.verifying = verifying
        self.accepting = accepting
        self.gone = gone
        self.identify = identify
