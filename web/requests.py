"""What every request gets: an id, a deadline, a log line, and headers against misuse."""

from __future__ import annotations

import random
import re
import time
from functools import lru_cache
from typing import Final

from flask import Flask, Response, g, request
from structlog.contextvars import bind_contextvars, clear_contextvars
from werkzeug.http import parse_list_header

from models import deadlines
from web.request_log import RequestLog, Served
from web.traced import end_accept

#: Addresses whose header need not be parsed again.
ADDRESSES_MOST: Final = 10_000
#: RFC 6797; a year, as browsers' lists ask for at least.
HSTS: Final = "max-age=31536000; includeSubDomains"
_SANE: Final = re.compile(r"\A[A-Za-z0-9._:\-]{1,128}\Z")


def request_id_of(given: str | bytes | None) -> str:
    """The caller's X-Request-ID if it is sane, else a new one."""
    if given:
        text = given.decode("latin-1") if isinstance(given, bytes) else given
        if _SANE.match(text):
            return text
    return f"{random.getrandbits(128):032x}"  # unique is enough


@lru_cache(ADDRESSES_MOST)
def client_address(peer: str | None, forwarded: str, hops: int) -> str | None:
    """Who sent a request that came by `hops` proxies of ours, as werkzeug's ProxyFix reads `X-Forwarded-For`: each
    proxy appends whom it heard from, and what stands before those is the client's own say.
    """
    entries = parse_list_header(forwarded)
    return entries[-hops] if 0 < hops <= len(entries) else peer


def install_requests(app: Flask, request_log: RequestLog) -> None:
    """Take the caller's X-Request-ID if it is sane, else make one; answer with it and log by it."""

    @app.before_request
    def _begin() -> None:
        g.request_id = request_id_of(request.environ.get("HTTP_X_REQUEST_ID"))
        g.started = time.monotonic_ns()
        deadlines.begin(deadlines.REQUEST_SECONDS, answer_by=request.environ.get(deadlines.ENVIRON))
        bind_contextvars(**{"http.request.id": g.request_id})

    @app.after_request
    def _end(response: Response) -> Response:
        response.headers["X-Request-ID"] = g.request_id
        response.headers.setdefault("X-Content-Type-Options", "nosniff")
        if request.is_secure:
            response.headers["Strict-Transport-Security"] = HSTS
        nanoseconds = time.monotonic_ns() - g.started
        code, accepted, step = g.get("problem_code"), g.get("accepted"), g.get("step")
        request_log.note(
            Served(
                time.time(),
                nanoseconds,
                g.request_id,
                request.method,
                request.path,
                response.status_code,
                code,
                accepted,
                None if step is None else step.ids,
            )
        )
        if step is not None:
            end_accept(
                step,
                method=request.method,
                route=str(request.url_rule),
                status=response.status_code,
                code=code,
                accepted=accepted,
            )
        return response

    @app.teardown_request
    def _answered(_error: BaseException | None) -> None:
        deadlines.end()
        clear_contextvars()  # what this thread says next belongs to another request
