"""WSGI middleware in front of Flask: tries the early routes, then tells metrics and log what Flask's hooks would."""

from __future__ import annotations

import time
from collections.abc import Iterable
from typing import TYPE_CHECKING, Final

from models import deadlines
from web.api.early.update import EarlyUpdate
from web.metrics import Requests
from web.request_log import RequestLog, Served
from web.requests import request_id_of
from web.services import Services

if TYPE_CHECKING:
    from _typeshed.wsgi import StartResponse, WSGIApplication, WSGIEnvironment

UPDATE_PATH: Final = "/api/v1/scores/update"


class Early:
    """Answers what it can, and passes the rest on."""

    def __init__(self, app: WSGIApplication, services: Services, requests: Requests, request_log: RequestLog) -> None:
        self._app = app
        self._allowed = frozenset(services.settings.allowed_origins)
        self._update = EarlyUpdate(services)
        self._requests = requests
        self._log = request_log

    def __call__(self, environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
        """Serve one request."""
        path, method = environ["PATH_INFO"], environ["REQUEST_METHOD"]
        if path != UPDATE_PATH or method != "POST" or environ["QUERY_STRING"] or environ["SCRIPT_NAME"]:
            return self._app(environ, start_response)
        started = time.monotonic_ns()
        request_id = request_id_of(environ)
        deadlines.begin(deadlines.REQUEST_SECONDS)
        try:
            answer = self._update.answer(environ, request_id)
        finally:
            deadlines.end()
        if answer is None:
            return self._app(environ, start_response)
        nanoseconds = time.monotonic_ns() - started
        self._requests.count(method, answer.status, UPDATE_PATH, nanoseconds, answer.code)
        self._log.note(Served(time.time(), nanoseconds, request_id, method, path, answer.status, answer.code))
        return answer.send(environ, start_response, request_id, self._allowed)
