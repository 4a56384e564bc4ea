"""`POST /api/v1/scores/update` with a right token and body, and nobody waiting for the result."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import TYPE_CHECKING, Final

import psycopg

from models.errors import QueueUnavailable, ScoreboardError
from models.pipeline.inbox_writer import Receipt, Verdict
from models.pipeline.loop_groups import LoopGroups
from models.pipeline.updates import parse_update
from models.storage.loop_connection import LoopLine, LoopTurns
from web.api.serving.early_refusals import RULE, EarlyRefusals
from web.api.serving.exchange import Exchange
from web.gate import Gate, refusal
from web.loop_acceptor import LoopAcceptor
from web.problems import problem_answer
from web.requests import client_address
from web.services import Services
from web.wsgi import Answer

if TYPE_CHECKING:
    from models.tracing.tracing import Step, Tracing

_BEARER: Final = b"Bearer "
_HEADERS: Final = [("Content-Type", "application/json"), ("Cache-Control", "no-store")]
_FRESH: Final = Answer(202, _HEADERS)
_REPLAYED: Final = Answer(202, [*_HEADERS, ("Idempotent-Replayed", "true")])


class EarlyUpdate:
    """The route without Flask and without a thread."""

    def __init__(
        self,
        loop: asyncio.AbstractEventLoop,
        services: Services,
        gate: Gate,
        refusals: EarlyRefusals,
        to_flask: Callable[[Exchange], object],
    ) -> None:
        self._services = services
        self._lane = gate.writes
        self._refusals = refusals
        self._to_flask = to_flask
        self._tracing = services.tracing
        self._hops = services.settings.trusted_proxies
        self._users = services.stores.users
        self._restrictions = services.stores.revocations.restrictions
        settings = services.settings
        self._line = LoopLine(loop, settings.database_url, settings.database_pooling)
        turns = LoopTurns(loop)
        self._acceptor = LoopAcceptor(turns, services, self._line.open, way="single")
        self._keys: LoopGroups[str, None] = LoopGroups(turns, self._learn_keys)

    def close(self) -> None:
        """Close the connections."""
        self._acceptor.close()
        self._line.end()

    def take(self, exchange: Exchange) -> bool:
        """Whether it will be answered here; when not, nothing was spent and Flask is to answer."""
        if not self._lane.enter():
            self._refusals.count()
            exchange.send(refusal(exchange.request_id))
            return True
        user_id = self._sender(exchange)
        if user_id is None:
            self._lane.leave()
            return False
        if self._users.knows_key(user_id):
            return self._accept(exchange, user_id)
        try:
            self._keys.submit(user_id, exchange.answer_by, lambda _: self._accept_or_pass_on(exchange, user_id))
        except ScoreboardError:
            self._lane.leave()
            return False
        return True

    def _accept_or_pass_on(self, exchange: Exchange, user_id: str) -> None:
        if not self._accept(exchange, user_id):  # no such player, perhaps, or Postgres is away
            self._to_flask(exchange)

    def _accept(self, exchange: Exchange, user_id: str) -> bool:
        """Have it admitted, counted and committed; False, and nothing spent, when Flask is to answer."""
        step: Step | None = None

        def done(verdict: Verdict) -> None:
            self._lane.leave()
            accepted = (user_id, verdict.action_id) if isinstance(verdict, Receipt) else None
            exchange.answer(_told(verdict, exchange.request_id), RULE, accepted, step)

        try:
            address = self._address(exchange)
            if self._restrictions.blocks_address(address):
                self._lane.leave()
                return False
            update = parse_update(exchange.body)
            if self._tracing is not None:
                step = begin(self._tracing, exchange)
            taken = self._acceptor.take(
                user_id,
                update,
                address=address,
                request_id=exchange.request_id if step is None else step.carried,
                answer_by=exchange.answer_by,
                windows=lambda: self._services.limits.write_on_credit(address or "unknown", user_id),
                done=done,
            )
        except ScoreboardError:
            taken = False
        if not taken:
            self._lane.leave()
        return taken

    def _address(self, exchange: Exchange) -> str | None:
        client = exchange.protocol.client
        peer = client[0] if client else None
        forwarded = exchange.fields.get(b"x-forwarded-for", b"") if self._hops else b""
        return client_address(peer, forwarded.decode("latin-1"), self._hops) if forwarded else peer

    def _sender(self, exchange: Exchange) -> str | None:
        """The player whose token it carries, if the request is an ordinary one."""
        fields = exchange.fields
        if (
            fields.get(b"content-type") != b"application/json"
            or b"prefer" in fields
            or exchange.query
            or not exchange.sent_once
        ):
            return None
        bearer = fields.get(b"authorization", b"")
        if not bearer.startswith(_BEARER):
            return None
        claims = self._services.identity.known(bearer[len(_BEARER) :].decode("latin-1"))
        return claims.user_id if claims is not None and claims.kind == "access" else None

    def _learn_keys(self, user_ids: list[str], deadline: float) -> list[None]:
        try:
            connection = self._line.get()
            connection.answer_by = deadline
            self._users.learn_keys(connection, user_ids)
        except psycopg.Error as error:
            self._line.close()
            raise QueueUnavailable(retry_after_seconds=1) from error
        return [None] * len(user_ids)


def begin(tracing: Tracing, exchange: Exchange) -> Step | None:
    """Begin the trace of an update, if it is to be traced."""
    parent, state = (exchange.fields.get(name, b"").decode("latin-1") for name in (b"traceparent", b"tracestate"))
    return tracing.accept(exchange.request_id, parent, state, begun_ns=exchange.started_ns)


def _told(verdict: Verdict, request_id: str) -> Answer:
    if not isinstance(verdict, Receipt):
        return problem_answer(verdict.code, verdict.detail, request_id, error=verdict)
    # An action_id has no character that JSON or a URL would write in another way.
    body = (
        f'{{"action_id":"{verdict.action_id}","status":"queued",'
        f'"status_url":"/api/v1/scores/updates/{verdict.action_id}"}}'
    )
    return (_REPLAYED if verdict.replayed else _FRESH).with_body(body.encode())
