"""`POST /api/v1/scores/update` of a player whose token is known, with a right body and nobody waiting."""

from __future__ import annotations

import asyncio
from concurrent.futures import ThreadPoolExecutor
from typing import Any, Final

from models.errors import ScoreboardError
from models.pipeline.inbox import Arrival
from models.pipeline.inbox_writer import InboxWriter, Receipt, Verdict
from models.pipeline.loop_commit import LoopCommit
from models.pipeline.updates import parse_update
from models.storage.database import open_connection
from models.storage.loop_connection import LoopConnection, in_thread
from web.api.serving.exchange import Exchange
from web.gate import Gate
from web.metrics import count_receipt
from web.problems import problem_answer
from web.services import Services
from web.wsgi import Answer

RULE: Final = "/api/v1/scores/update"
_BEARER: Final = b"Bearer "
_HEADERS: Final = [("Content-Type", "application/json"), ("Cache-Control", "no-store")]
_FRESH: Final = Answer(202, _HEADERS)
_REPLAYED: Final = Answer(202, [*_HEADERS, ("Idempotent-Replayed", "true")])


class EarlyUpdate:
    """The route without Flask and without a thread."""

    def __init__(self, loop: asyncio.AbstractEventLoop, services: Services, gate: Gate) -> None:
        self._loop = loop
        self._services = services
        self._lane = gate.writes
        self._gate = gate
        self._acceptor = services.stores.acceptor
        self._opening = ThreadPoolExecutor(1, thread_name_prefix="connect")
        self._writer = InboxWriter(self._open)
        self._writer.on_group = self._acceptor.writer.on_group
        self._commits: LoopCommit[Arrival, Verdict] = LoopCommit(loop, self._writer.write)

    def close(self) -> None:
        """Close the connection."""
        self._writer.close()
        self._opening.shutdown(wait=False)

    def take(self, exchange: Exchange) -> bool:
        """Whether it will be answered here; when not, nothing was spent and Flask is to answer."""
        if not self._lane.enter():
            exchange.answer(self._gate.refusal(self._lane, exchange.request_id), RULE)
            return True
        arrival = self._admitted(exchange)
        if arrival is None or not self._services.limits.write_on_credit(arrival.address or "unknown", arrival.user_id):
            self._lane.leave()
            return False

        def done(verdict: Verdict) -> None:
            self._lane.leave()
            exchange.answer(self._told(verdict, exchange.request_id), RULE)

        try:
            self._commits.submit(arrival, exchange.answer_by, done)
        except ScoreboardError as error:
            done(error)
        return True

    def _admitted(self, exchange: Exchange) -> Arrival | None:
        """What every check lets pass that leaves no trace and waits for nothing. The limits come after them here, and
        before some of them in Flask, which makes no difference to who passes all.
        """
        fields = exchange.fields
        if (
            fields.get(b"content-type") != b"application/json"
            or b"prefer" in fields
            or b"x-forwarded-for" in fields
            or exchange.query
            or not exchange.sent_once
        ):
            return None
        bearer = fields.get(b"authorization", b"")
        if not bearer.startswith(_BEARER):
            return None
        here = self._services
        claims = here.identity.remembered(bearer[len(_BEARER) :].decode("latin-1"))
        if claims is None or claims.kind != "access" or not here.stores.users.knows_key(claims.subject):
            return None
        client = exchange.protocol.client
        try:
            update = parse_update(exchange.body)
            return self._acceptor.admit(
                claims.subject, update, address=client[0] if client else None, request_id=exchange.request_id
            )
        except ScoreboardError:
            return None

    def _told(self, verdict: Verdict, request_id: str) -> Answer:
        if not isinstance(verdict, Receipt):
            return problem_answer(verdict.code, verdict.detail, request_id, error=verdict)
        count_receipt(verdict, "single")
        if not verdict.replayed:
            self._services.wakeup.wake(verdict.shard)
        # An action_id has no character that JSON or a URL would write in another way.
        body = (
            f'{{"action_id":"{verdict.action_id}","status":"queued",'
            f'"status_url":"/api/v1/scores/updates/{verdict.action_id}"}}'
        )
        return (_REPLAYED if verdict.replayed else _FRESH).with_body(body.encode())

    def _open(self) -> LoopConnection:
        url = self._services.settings.database_url

        def connect() -> Any:
            connection = open_connection(url, kind=LoopConnection)
            connection.autocommit = True
            return connection

        connection: LoopConnection = in_thread(self._loop, self._opening, connect)
        connection.live_on(self._loop)
        return connection
