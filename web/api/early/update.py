"""`POST /api/v1/scores/update` of a player whose token is known, with a right body and nobody waiting."""

from __future__ import annotations

from io import BytesIO
from typing import TYPE_CHECKING, Final

import structlog

from models.errors import Internal, ScoreboardError
from models.pipeline.inbox import Arrival
from models.pipeline.updates import parse_update
from web.api.answers import BODY_BYTES_MOST
from web.metrics import count_receipt
from web.problems import problem_answer
from web.services import Services
from web.wsgi import Answer

if TYPE_CHECKING:
    from _typeshed.wsgi import WSGIEnvironment

_BEARER: Final = "Bearer "
_HEADERS: Final = [("Content-Type", "application/json"), ("Cache-Control", "no-store")]

log = structlog.get_logger(__name__)


class EarlyUpdate:
    """The route without Flask."""

    def __init__(self, services: Services) -> None:
        self._services = services

    def answer(self, environ: WSGIEnvironment, request_id: str) -> Answer | None:
        """The answer; None, with the body put back and nothing spent, when Flask is to give it."""
        arrival = self._admitted(environ, request_id)
        if arrival is None:
            return None
        try:
            return self._accepted(arrival, environ)
        except ScoreboardError as error:
            return problem_answer(error.code, error.detail, request_id, error=error)
        except Exception:
            log.exception("request failed", **{"event.action": "request", "http.request.id": request_id})
            internal = Internal()
            return problem_answer(internal.code, internal.detail, request_id, error=internal)

    def _admitted(self, environ: WSGIEnvironment, request_id: str) -> Arrival | None:
        """What every check that leaves no trace lets pass; the limits come after them here, and before them in
        Flask, which makes no difference to who passes all.
        """
        length = environ.get("CONTENT_LENGTH", "")
        if (
            environ.get("CONTENT_TYPE") != "application/json"
            or not (length.isdecimal() and len(length) <= 5 and 0 < int(length) <= BODY_BYTES_MOST)
            or "HTTP_PREFER" in environ
            or "HTTP_TRANSFER_ENCODING" in environ
        ):
            return None
        bearer = environ.get("HTTP_AUTHORIZATION", "")
        if not bearer.startswith(_BEARER):
            return None
        claims = self._services.identity.remembered(bearer[len(_BEARER) :])
        if claims is None or claims.kind != "access":
            return None
        body = environ["wsgi.input"].read(int(length))
        try:
            update = parse_update(body)
            address = environ.get("REMOTE_ADDR")
            return self._services.stores.acceptor.admit(claims.subject, update, address=address, request_id=request_id)
        except ScoreboardError:
            environ["wsgi.input"] = BytesIO(body)
            return None

    def _accepted(self, arrival: Arrival, environ: WSGIEnvironment) -> Answer:
        here = self._services
        here.limits.write(environ.get("REMOTE_ADDR") or "unknown", arrival.user_id)
        receipt = here.stores.acceptor.commit(arrival)
        count_receipt(receipt, "single")
        headers = _HEADERS
        if receipt.replayed:
            headers = [*headers, ("Idempotent-Replayed", "true")]
        else:
            here.wakeup.wake(receipt.shard)
        # An action_id has no character that JSON or a URL would write in another way.
        body = (
            f'{{"action_id":"{receipt.action_id}","status":"queued",'
            f'"status_url":"/api/v1/scores/updates/{receipt.action_id}"}}'
        )
        return Answer(202, headers, body.encode())
