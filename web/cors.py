"""Lets front ends on the allowed origins call the API from a browser (Fetch standard, CORS protocol)."""

from __future__ import annotations

from collections.abc import Set as AbstractSet
from typing import Final

from flask import Flask, Response, request

METHODS: Final = "GET, POST"
REQUEST_HEADERS: Final = "Authorization, Content-Type, If-None-Match, Prefer, X-Request-ID"
ANSWER_HEADERS: Final = (
    "ETag, Idempotent-Replayed, Preference-Applied, RateLimit-Limit, RateLimit-Remaining, RateLimit-Reset, Retry-After,"
    " X-Request-ID"
)
PREFLIGHT_SECONDS: Final = 600


def install_cors(app: Flask, allowed_origins: tuple[str, ...]) -> None:
    """Answer preflights, and name the caller's origin on answers to those that are allowed.

    Tokens travel in a header, never in a cookie, so credentials are not allowed.
    """
    allowed = frozenset(allowed_origins)

    @app.before_request
    def _preflight() -> Response | None:
        if request.method != "OPTIONS" or "Access-Control-Request-Method" not in request.headers:
            return None
        answer = Response(status=204)
        if request.headers.get("Origin") in allowed:
            answer.headers["Access-Control-Allow-Methods"] = METHODS
            answer.headers["Access-Control-Allow-Headers"] = REQUEST_HEADERS
            answer.headers["Access-Control-Max-Age"] = str(PREFLIGHT_SECONDS)
        return answer

    @app.after_request
    def _name_origin(response: Response) -> Response:
        origin = request.environ.get("HTTP_ORIGIN")
        if request.path.startswith("/api/"):
            response.vary.add("Origin")
            for name, value in origin_headers(origin, allowed):
                response.headers[name] = value
        return response


def origin_headers(origin: str | None, allowed: AbstractSet[str]) -> list[tuple[str, str]]:
    """What lets a page on this origin read an answer; nothing for origins that are not allowed."""
    if origin is None or origin not in allowed:
        return []
    return [("Access-Control-Allow-Origin", origin), ("Access-Control-Expose-Headers", ANSWER_HEADERS)]
