"""Reads requests from a connection: uvicorn's protocol on Node's parser, with exchanges of ours in place of tasks."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any, Final, cast

import httptools
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from models.observers import nobody
from web.api.serving.early_refusals import EarlyRefusals
from web.api.serving.exchange import Exchange
from web.api.serving.serving import EXTENSION, Serving

#: A request line with its headers; a token has 4 KiB at most.
HEAD_BYTES_MOST: Final = 32 * 1024
#: A request that is not there whole after this will not come.
REQUEST_SECONDS_MOST: Final = 30.0
#: A connection that is asked to end waits so long for a request that may be on its way.
LINGER_SECONDS: Final = 2.0


class Protocol(HttpToolsProtocol):
    """One connection."""

    def __init__(self, *arguments: Any, **options: Any) -> None:
        super().__init__(*arguments, **options)
        self.serving = cast(Serving, cast(Any, self.app).extensions[EXTENSION])
        self.on_lost: Callable[[], object] = nobody
        self.server_ends: Callable[[], bool] = lambda: False
        self._refusals = cast(EarlyRefusals, self.serving.refusals)
        self._waits_since: float | None = time.monotonic()  # for a request, or the rest of one
        self._between = False  # all requests so far have been answered, and of the next nothing is there
        self._head_bytes = 0  # received since a head was complete, or a part of a body was there
        self._ending = False

    def connection_made(self, transport: Any) -> None:
        """It is there; perhaps only after the server told all that it had to end."""
        super().connection_made(transport)
        if self.server_ends():
            self.shutdown()

    def connection_lost(self, exc: Exception | None) -> None:
        """It is gone."""
        super().connection_lost(exc)
        self.on_lost()

    def data_received(self, data: bytes) -> None:
        """Take what came; a request whose head does not end is none."""
        if self._between and self._refusals.due and self._is_refused(data):
            return
        self._head_bytes += len(data)
        super().data_received(data)
        if self._head_bytes > HEAD_BYTES_MOST and not self.transport.is_closing():
            self.send_400_response("The request's head is too long.")

    def _is_refused(self, data: bytes) -> bool:
        if self._ending or len(data) > HEAD_BYTES_MOST or self.transport.is_closing():
            return False
        answer = self._refusals.to(data, self.serving.date_line(self.server_state.default_headers))
        if answer is None:
            return False
        self._waits_since = time.monotonic()
        self.transport.write(answer)
        return True

    def on_message_begin(self) -> None:
        """A request begins; uvicorn's own needs a scope, ours does not."""
        self.url = b""
        self.headers = []
        self.expect_100_continue = False
        self._between = False
        self._waits_since = time.monotonic()

    def on_headers_complete(self) -> None:
        """Its head is there: what becomes of it can begin."""
        self._head_bytes = 0
        try:
            url = httptools.parse_url(self.url)
        except httptools.HttpParserInvalidURLError:
            raise httptools.HttpParserError("invalid URL") from None
        before: Any = self.cycle
        exchange = Exchange(
            self,
            self.parser.get_method(),
            url.path or b"/",
            url.query or b"",
            self.headers,
            keep_alive=self.parser.should_keep_alive() and self.parser.get_http_version() == "1.1",
        )
        self.cycle = exchange  # type: ignore[assignment]
        if before is None or before.response_complete:
            exchange.start()
        else:  # pipelined: its turn comes when those before it are answered
            self.flow.pause_reading()
            self.pipeline.appendleft((self.cycle, self.app))

    def on_body(self, body: bytes) -> None:
        """A part of its body."""
        self._head_bytes = 0
        cast(Exchange, self.cycle).take(body)

    def on_message_complete(self) -> None:
        """All of it is there."""
        self._head_bytes = 0
        self._waits_since = None
        super().on_message_complete()

    def on_response_complete(self) -> None:
        """Go on with the next request. uvicorn's own sets a timer for each, ours are looked after all at once."""
        self.server_state.total_requests += 1
        if self.transport.is_closing():
            return
        if not self.flow.write_paused:  # who does not read its answers is not read either
            self.flow.resume_reading()
        if self.pipeline:
            cycle, app = self.pipeline.pop()
            self._start_asgi_task(cycle, app)
        elif self._waits_since is None:
            self._between = True
            self._waits_since = time.monotonic()

    def pause_writing(self) -> None:
        """Its answers pile up."""
        super().pause_writing()
        self.flow.pause_reading()

    def resume_writing(self) -> None:
        """They are gone."""
        super().resume_writing()
        if not self.pipeline:
            self.flow.resume_reading()

    def close_if_silent(self, now: float) -> None:
        """End the connection when it has waited too long for a request, or for the rest of one."""
        most = self.timeout_keep_alive if self._between else REQUEST_SECONDS_MOST
        if self._waits_since is not None and now - self._waits_since > most:
            self.transport.abort() if self.flow.write_paused else self.transport.close()

    def _start_asgi_task(self, cycle: Any, _app: Any) -> None:
        cycle.start()

    def shutdown(self) -> None:
        """End the connection when what is under way, or already sent to us, has been answered."""
        self._ending = True
        super_shutdown = super().shutdown
        cycle: Any = self.cycle
        if cycle is None or cycle.response_complete:
            self.loop.call_later(LINGER_SECONDS, super_shutdown)
        else:
            super_shutdown()

    @property
    def ends(self) -> bool:
        """Whether the next answer is the last."""
        return self._ending
