"""The step `accept` of requests that are traced: how Flask's views begin it, and what is told of it at its end."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, cast

from flask import g, request

if TYPE_CHECKING:
    from models.tracing.tracing import Step, Tracing


def carried_request_id(tracing: Tracing | None) -> str:
    """The id of the request that is served now, with its trace behind it if it is traced; its answer ends the step."""
    request_id = cast(str, g.request_id)
    if tracing is None:
        return request_id
    parent, state = request.headers.get("traceparent"), request.headers.get("tracestate")
    g.step = step = tracing.accept(request_id, parent, state, begun_ns=g.get("started", time.monotonic_ns()))
    return request_id if step is None else step.carried


def end_accept(
    step: Step, *, method: str, route: str, status: int, code: str | None, accepted: tuple[str, str] | None
) -> None:
    """The request is answered; only what went wrong here is a failure, not what was refused."""
    attributes: dict[str, str | int | list[str]] = {
        "http.request.method": method,
        "http.route": route,
        "url.path": route,  # these routes have no part that varies
        "http.response.status_code": status,
        "http.request.header.x-request-id": [step.request_id],
    }
    if accepted is not None:
        attributes["user.id"], attributes["scoreboard.action.id"] = accepted
    step.end(attributes, failed=code if status >= 500 else None)
