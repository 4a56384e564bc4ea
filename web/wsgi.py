"""Answers of those who answer without Flask: the gate, and the hottest routes (`early/`)."""

from __future__ import annotations

from collections.abc import Set as AbstractSet
from dataclasses import dataclass
from http import HTTPStatus
from typing import TYPE_CHECKING, Final

from web.cors import origin_headers

if TYPE_CHECKING:
    from _typeshed.wsgi import StartResponse, WSGIEnvironment

STATUS_LINES: Final = {int(status): f"{int(status)} {status.phrase.upper()}" for status in HTTPStatus}


#: On every answer of the API.
COMMON: Final = [("X-Content-Type-Options", "nosniff"), ("Vary", "Origin")]


@dataclass(slots=True)
class Answer:
    """Status, headers and body, as they go out."""

    status: int
    headers: list[tuple[str, str]]
    body: bytes = b""
    code: str | None = None  # of the problem this is
    _head: bytes = b""

    @property
    def head(self) -> bytes:
        """Status line and headers but for those that only this request has; made once."""
        if not self._head:
            lines = [f"HTTP/1.1 {STATUS_LINES[self.status]}", *(f"{n}: {v}" for n, v in (*self.headers, *COMMON)), ""]
            self._head = "\r\n".join(lines).encode("latin-1")
        return self._head

    def with_body(self, body: bytes) -> Answer:
        """The same with another body."""
        return Answer(self.status, self.headers, body, self.code, self.head)

    def send(
        self,
        environ: WSGIEnvironment,
        start_response: StartResponse,
        request_id: str,
        allowed_origins: AbstractSet[str],
    ) -> list[bytes]:
        """Answer with it as WSGI does."""
        headers = [*self.headers, *COMMON, ("X-Request-ID", request_id), ("Content-Length", str(len(self.body)))]
        headers += origin_headers(environ.get("HTTP_ORIGIN"), allowed_origins)
        start_response(STATUS_LINES[self.status], headers)
        return [] if environ["REQUEST_METHOD"] == "HEAD" else [self.body]
