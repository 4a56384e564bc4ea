"""One request and its answer, on the event loop; Flask's part of it in a thread."""

from __future__ import annotations

import asyncio
import sys
import time
from io import BytesIO
from typing import TYPE_CHECKING, Any, Final, Protocol
from urllib.parse import unquote_to_bytes

import structlog

from models import deadlines
from models.errors import Internal
from web.cors import origin_headers
from web.metrics import Requests
from web.problems import problem_answer
from web.request_log import RequestLog, Served
from web.requests import request_id_of
from web.traced import end_accept
from web.wsgi import COMMON, STATUS_LINES, Answer

if TYPE_CHECKING:
    from _typeshed.wsgi import WSGIApplication, WSGIEnvironment

    from models.tracing.tracing import Step

Headers = list[tuple[bytes, bytes]]

_LINES: Final = {status: f"HTTP/1.1 {line}\r\n".encode() for status, line in STATUS_LINES.items()}
_NO_BODY: Final = (204, 304)
_UNPREFIXED: Final = {"content-type": "CONTENT_TYPE", "content-length": "CONTENT_LENGTH"}

log = structlog.get_logger(__name__)


class Host(Protocol):
    """Who serves (`serving.py`)."""

    flask: WSGIApplication
    requests: Requests
    request_log: RequestLog
    allowed_origins: frozenset[str]

    def route(self, exchange: Exchange) -> None:
        """See to it that the request is answered."""

    def date_line(self, headers: list[tuple[bytes, bytes]]) -> bytes:
        """uvicorn's own header lines, which change once a second."""

    def body_bytes_most(self, path: bytes) -> int:
        """What a body may have before it is read no further."""


class Line(Protocol):
    """The connection (`protocol.py`)."""

    transport: asyncio.Transport
    loop: asyncio.AbstractEventLoop
    server: tuple[str, int | None] | None
    client: tuple[str, int] | None
    server_state: Any
    expect_100_continue: bool

    @property
    def serving(self) -> Host:
        """Who serves it."""

    @property
    def ends(self) -> bool:
        """Whether the next answer is the last."""

    def on_response_complete(self) -> None:
        """Go on with the next request."""


class Exchange:
    """Stands where uvicorn's protocol expects its own cycle of request and response."""

    __slots__ = (
        "_begun",
        "_most_bytes",
        "_too_long",
        "answer_by",
        "body",
        "disconnected",
        "fields",
        "headers",
        "keep_alive",
        "method",
        "more_body",
        "path",
        "protocol",
        "query",
        "request_id",
        "response_complete",
        "started_ns",
    )

    def __init__(
        self, protocol: Line, method: bytes, path: bytes, query: bytes, headers: Headers, *, keep_alive: bool
    ) -> None:
        self.protocol = protocol
        self.method = method
        self.path = path
        self.query = query
        self.headers = headers
        #: By name; of those sent twice the last, which nobody uses who cares (`sent_once`).
        self.fields = dict(headers)
        self.keep_alive = keep_alive
        self.request_id = request_id_of(self.fields.get(b"x-request-id"))
        self.started_ns = time.monotonic_ns()
        self.answer_by = self.started_ns / 1e9 + deadlines.REQUEST_SECONDS
        self.body = b""
        self.more_body = True
        self.response_complete = False
        self.disconnected = False
        self._begun = False
        self._too_long = False
        self._most_bytes = protocol.serving.body_bytes_most(path)

    # What uvicorn's protocol calls

    @property
    def message_event(self) -> Exchange:
        """uvicorn signals its task; ours is told by `set`."""
        return self

    def set(self) -> None:
        """Something happened: the body is complete, or the connection is gone."""
        if not self.more_body:
            self._go()

    # The request

    @property
    def sent_once(self) -> bool:
        """Whether no header came twice."""
        return len(self.fields) == len(self.headers)

    def start(self) -> None:
        """It is this exchange's turn."""
        self._begun = True
        if self.protocol.expect_100_continue and self.more_body:
            self.protocol.transport.write(b"HTTP/1.1 100 Continue\r\n\r\n")
        self.set()

    def take(self, part: bytes) -> None:
        """Keep a part of the body; more than the route may have is answered as such and read no further."""
        if self._too_long or self.response_complete:
            return
        self.body += part
        if len(self.body) > self._most_bytes:
            self._too_long, self.keep_alive, self.more_body = True, False, False
            self._go()

    def _go(self) -> None:
        if self._begun:
            self._begun = False  # once
            self.protocol.serving.route(self)

    # The answer

    def answer(
        self, answer: Answer, rule: str, accepted: tuple[str, str] | None = None, step: Step | None = None
    ) -> None:
        """Answer without Flask, and tell metrics and log, and the trace, what Flask's hooks would.

        `accepted` is whose update it is and which, `step` the one that ends with this, where it is traced.
        """
        self.send(answer)
        serving = self.protocol.serving
        nanoseconds = time.monotonic_ns() - self.started_ns
        method = self.method.decode()
        serving.requests.count(method, answer.status, rule, nanoseconds / 1e9, answer.code)
        path = self.path.decode("latin-1")
        trace = None if step is None else step.ids
        serving.request_log.note(
            Served(time.time(), nanoseconds, self.request_id, method, path, answer.status, answer.code, accepted, trace)
        )
        if step is not None:
            end_accept(step, method=method, route=rule, status=answer.status, code=answer.code, accepted=accepted)

    def send(self, answer: Answer) -> None:
        """Answer without Flask, and tell nobody."""
        lines = f"X-Request-ID: {self.request_id}\r\n"
        if answer.status not in _NO_BODY:
            lines = f"Content-Length: {len(answer.body)}\r\n{lines}"
        if (origin := self.fields.get(b"origin")) is not None:
            allowed = self.protocol.serving.allowed_origins
            lines += "".join([f"{n}: {v}\r\n" for n, v in origin_headers(origin.decode("latin-1"), allowed)])
        self._send(answer.head, lines, answer.body)

    def finish(self, status: int, headers: list[tuple[str, str]], body: bytes) -> None:
        """Send Flask's answer."""
        self._send(_LINES[status], "".join([f"{name}: {value}\r\n" for name, value in headers]), body)

    def _send(self, head: bytes, lines: str, body: bytes) -> None:
        """Send an answer in one piece: its head, further header lines, its body."""
        protocol = self.protocol
        self.response_complete = True
        if self.disconnected or protocol.transport.is_closing():
            return
        keeps = self.keep_alive and not protocol.ends
        if not keeps:
            lines += "Connection: close\r\n"
        date = protocol.serving.date_line(protocol.server_state.default_headers)
        protocol.transport.write(b"%b%b%b\r\n%b" % (head, lines.encode("latin-1"), date, body))
        if not keeps:
            protocol.transport.close()
        protocol.on_response_complete()

    # Flask

    def run_flask(self) -> None:
        """Let Flask answer; in a thread."""
        serving = self.protocol.serving
        told: list[Any] = []

        def start_response(status: str, headers: list[tuple[str, str]], _exc_info: Any = None) -> Any:
            told[:] = [int(status[:3]), headers]
            return lambda _: None

        try:
            parts = serving.flask(self.environ(), start_response)
            try:
                body = b"".join(parts)
            finally:
                if hasattr(parts, "close"):
                    parts.close()
            status, headers = told
        except Exception:
            log.exception("request failed", **{"event.action": "request", "http.request.id": self.request_id})
            internal = Internal()
            answer = problem_answer(internal.code, internal.detail, self.request_id, error=internal)
            status, body = answer.status, answer.body
            headers = [*answer.headers, *COMMON, ("X-Request-ID", self.request_id)]
        if status not in _NO_BODY and not any(name.lower() == "content-length" for name, _ in headers):
            headers = [*headers, ("Content-Length", str(len(body)))]
        self.protocol.loop.call_soon_threadsafe(self.finish, status, headers, body)

    def environ(self) -> WSGIEnvironment:
        """The request as WSGI has it (PEP 3333)."""
        protocol = self.protocol
        host, port = (protocol.server or ("", 0))[:2]
        environ: dict[str, Any] = {
            "REQUEST_METHOD": self.method.decode("ascii"),
            "SCRIPT_NAME": "",
            "PATH_INFO": unquote_to_bytes(self.path).decode("latin-1"),
            "QUERY_STRING": self.query.decode("latin-1"),
            "SERVER_NAME": host,
            "SERVER_PORT": str(port),
            "SERVER_PROTOCOL": "HTTP/1.1",
            "REMOTE_ADDR": protocol.client[0] if protocol.client else "",
            "wsgi.version": (1, 0),
            "wsgi.url_scheme": "http",
            "wsgi.input": BytesIO(self.body),
            "wsgi.input_terminated": True,
            "wsgi.errors": sys.stderr,
            "wsgi.multithread": True,
            "wsgi.multiprocess": True,
            "wsgi.run_once": False,
            deadlines.ENVIRON: self.answer_by,
        }
        for name, value in self.headers:
            text = name.decode("latin-1")
            if "_" in text or text == "transfer-encoding":  # the first could pose as another; the body is whole now
                continue
            key = _UNPREFIXED.get(text) or "HTTP_" + text.upper().replace("-", "_")
            content = value.decode("latin-1")
            environ[key] = f"{environ[key]},{content}" if key in environ and key.startswith("HTTP_") else content
        if b"content-length" not in self.fields and (self.body or b"transfer-encoding" in self.fields):
            environ["CONTENT_LENGTH"] = str(len(self.body))
        return environ
