"""Who may have a personal half, and what becomes of the updates it sends; the same checks as over HTTP."""

from __future__ import annotations

import time
from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING

import structlog

from models import deadlines
from models.accounts import tickets
from models.accounts.tokens import Claims
from models.errors import NotReady, ScoreboardError, TokenExpired, TokenInvalid, TokenRevoked
from models.observers import nobody
from models.pipeline import ledger
from models.pipeline.inbox_writer import Verdict
from models.pipeline.updates import SignedUpdate
from models.storage.database import AWAY, open_connection
from web.live.messages import Result
from web.live.turns import GeventTurns
from web.loop_acceptor import LoopAcceptor
from web.metrics import count_receipt, observe_stores
from web.requests import request_id_of
from web.services import Services

if TYPE_CHECKING:
    from models.tracing.tracing import Step

log = structlog.get_logger(__name__)


class Admission:
    """Decides with the stores of this process. Everything but `still_holds` may wait for them."""

    def __init__(self, services: Services) -> None:
        self._services = services
        self._revocations = services.stores.revocations
        settings = services.settings
        opener = partial(open_connection, settings.database_url, pooling=settings.database_pooling)
        self._acceptor = LoopAcceptor(GeventTurns(), services, opener, way="socket")
        observe_stores(services.stores)

    def verify(self, token: str) -> Claims:
        """The player whose access token this is.

        Raises:
            TokenInvalid, TokenExpired, TokenRevoked, UserBlocked, NotReady.
        """
        claims = self._services.identity.verify(token)
        if claims.kind != "access":
            raise TokenInvalid("A socket takes an access token.")
        self.still_holds(claims)
        return claims

    def use_ticket(self, ticket: str) -> Claims:
        """The player whose ticket this is; it is used up by this.

        Raises:
            TokenInvalid, TokenExpired, TokenRevoked (also for a ticket that was used), UserBlocked, NotReady.
        """
        jti, claims = self._services.identity.read_ticket(ticket)
        self.still_holds(claims)
        try:
            with self._services.stores.engine.begin() as connection:
                is_new = tickets.spend(connection, jti)
        except AWAY as error:
            raise NotReady(retry_after_seconds=1) from error
        if not is_new:
            raise TokenRevoked("The ticket was used before.")
        return claims

    def blocks_address(self, address: str) -> bool:
        """Whether an address is refused now (I10)."""
        return self._revocations.restrictions.blocks_address(address)

    def still_holds(self, claims: Claims) -> None:
        """Let a token pass that is not expired, not revoked, and whose player is not blocked.

        Expiry is to the second here, without the leeway for clocks that verification grants: a connection is closed
        when its token says so.

        Raises:
            TokenExpired, TokenRevoked, UserBlocked, NotReady.
        """
        if claims.expires_at <= time.time():
            raise TokenExpired
        revocations = self._services.stores.revocations
        revocations.refuse_if_revoked(claims)
        revocations.refuse_if_blocked(claims.subject)

    def take(self, claims: Claims, update: SignedUpdate, *, address: str, done: Callable[[Verdict], None]) -> bool:
        """Whether the update is taken without waiting: then `done` is told its verdict after its commit (I1)."""
        if claims.expires_at <= time.time() or not self._revocations.lets_pass(claims):
            return False
        limits = self._services.limits
        request_id, told = request_id_of(None), done
        if (step := self._begin(request_id)) is not None:
            request_id, told = step.carried, partial(_end, step, claims, update, done)
        return self._acceptor.take(
            claims.subject,
            update,
            address=address,
            request_id=request_id,
            answer_by=time.monotonic() + deadlines.REQUEST_SECONDS,
            windows=lambda: limits.user_on_credit(claims.subject),
            done=told,
        )

    def _begin(self, request_id: str) -> Step | None:
        """The step of an update that is traced: a message of a socket brings no trace of its client's."""
        tracing = self._services.tracing
        return None if tracing is None else tracing.accept(request_id, None, None, begun_ns=time.monotonic_ns())

    def close(self) -> None:
        """Close what updates go by."""
        self._acceptor.close()

    def accept(self, claims: Claims, update: SignedUpdate, *, address: str) -> bool:
        """Commit a player's update to the inbox and wake its shard; True when it was there before (I1).

        Raises:
            ScoreboardError: nothing was accepted.
        """
        request_id = request_id_of(None)
        step = self._begin(request_id)
        with deadlines.within(deadlines.REQUEST_SECONDS):
            self.still_holds(claims)
            self._services.limits.user(claims.subject)
            receipt = self._services.stores.acceptor.accept(
                claims.subject, update, address=address, request_id=request_id if step is None else step.carried
            )
        self._services.wakeup.wake(receipt.shard, request_id if step is None else step.carried)
        if step is not None:
            _end(step, claims, update, nobody, receipt)
        count_receipt(receipt, "socket")
        if not receipt.replayed:
            self._services.stores.watch.accepted(update.action, claims.subject, update.value)
        return receipt.replayed

    def noted(self, cause: ScoreboardError, claims: Claims | None, *, address: str) -> None:
        """Something was refused that rules may care about."""
        user_id = claims.subject if claims is not None else None
        self._services.stores.watch.note(cause.code, address=address, user_id=user_id, request_id=request_id_of(None))

    def outcome(self, claims: Claims, action_id: str) -> list[Result]:
        """What an update did on each board, with the rank first told or else that of now.

        Empty while it is queued, or while Postgres cannot tell.
        """
        stores = self._services.stores
        try:
            with stores.engine.connect() as connection:
                outcome = ledger.outcome(connection, claims.subject, action_id)
        except AWAY as error:
            log.warning("an outcome cannot be read", **{"event.action": "outcome"}, error=type(error))
            return []
        results = outcome.results if outcome is not None else ()
        return [
            Result(
                done.board,
                done.previous_score,
                done.score_increment,
                done.new_score,
                done.told_rank or self._rank(claims, done.board),
            )
            for done in results
        ]

    def _rank(self, claims: Claims, board: str) -> int | None:
        page = self._services.stores.ranking.ranks(board, [claims.subject])
        return page.entries[0].rank if page.entries else None


def _end(step: Step, claims: Claims, update: SignedUpdate, done: Callable[[Verdict], object], verdict: Verdict) -> None:
    done(verdict)
    refused = verdict if isinstance(verdict, ScoreboardError) else None
    told = {
        "network.protocol.name": "websocket",
        "user.id": claims.subject,
        "scoreboard.action.id": update.action_id,
        "http.request.header.x-request-id": [step.request_id],
    }
    step.end(told | ({"error.type": refused.code} if refused is not None else {}))
