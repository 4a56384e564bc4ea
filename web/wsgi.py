"""Answers of those who answer without Flask: the gate, and the hottest routes (`early/`)."""

from __future__ import annotations

from collections.abc import Set as AbstractSet
from dataclasses import dataclass, field
from http import HTTPStatus
from typing import TYPE_CHECKING, Final

from web.cors import origin_headers

if TYPE_CHECKING:
    from _typeshed.wsgi import StartResponse, WSGIEnvironment

STATUS_LINES: Final = {int(status): f"{int(status)} {status.phrase.upper()}" for status in HTTPStatus}


@dataclass(slots=True)
class Answer:
    """Status, headers and body, as they go out."""

    status: int
    headers: list[tuple[str, str]]
    body: bytes = b""
    code: str | None = field(default=None)  # of the problem this is

    def all_headers(
        self, request_id: str, origin: str | None, allowed_origins: AbstractSet[str]
    ) -> list[tuple[str, str]]:
        """With those that every answer of the API carries."""
        headers = [
            *self.headers,
            ("X-Request-ID", request_id),
            ("X-Content-Type-Options", "nosniff"),
            ("Vary", "Origin"),
        ]
        if origin is not None:
            headers += origin_headers(origin, allowed_origins)
        if self.status != HTTPStatus.NOT_MODIFIED:
            headers.append(("Content-Length", str(len(self.body))))
        return headers

    def send(
        self,
        environ: WSGIEnvironment,
        start_response: StartResponse,
        request_id: str,
        allowed_origins: AbstractSet[str],
    ) -> list[bytes]:
        """Answer with it as WSGI does."""
        start_response(
            STATUS_LINES[self.status], self.all_headers(request_id, environ.get("HTTP_ORIGIN"), allowed_origins)
        )
        return [] if environ["REQUEST_METHOD"] == "HEAD" else [self.body]
