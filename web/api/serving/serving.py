"""What a web process serves with: the early routes, Flask and its threads, and who may come in."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Final, Protocol

from web.api.answers import BATCH_BYTES_MOST, RANKS_BYTES_MOST
from web.api.serving.early_boards import EarlyBoards
from web.api.serving.early_refusals import RULE, EarlyRefusals
from web.api.serving.early_update import EarlyUpdate
from web.api.serving.exchange import Exchange
from web.gate import OTHERS_MOST, OWN_READS_MOST, WRITES_MOST, Gate
from web.metrics import Requests
from web.request_log import RequestLog
from web.services import Services

if TYPE_CHECKING:
    from _typeshed.wsgi import WSGIApplication

EXTENSION: Final = "scoreboard-serving"
THREADS: Final = WRITES_MOST + OWN_READS_MOST + OTHERS_MOST
#: Between two looks at silent connections, and at what metrics and log are to be told.
LOOK_SECONDS: Final = 1.0
UPDATE_PATH: Final = RULE.encode()
BOARDS_PATH: Final = b"/api/v1/leaderboards/"
BATCH_PATH: Final = b"/api/v1/scores/batch"


class Connection(Protocol):
    """A connection, as far as it is looked after here."""

    def close_if_silent(self, now: float) -> None:
        """End it when it has waited too long for a request."""


class Serving:
    """One a process."""

    def __init__(
        self, flask: WSGIApplication, gate: Gate, services: Services, requests: Requests, request_log: RequestLog
    ) -> None:
        self.flask = flask
        self.requests = requests
        self.request_log = request_log
        self.allowed_origins = frozenset(services.settings.allowed_origins)
        self._gate = gate
        self._dated: list[tuple[bytes, bytes]] = []
        self._date_line = b""
        self._services = services
        self._threads = ThreadPoolExecutor(THREADS, thread_name_prefix="flask")
        self.refusals: EarlyRefusals | None = None
        self._update: EarlyUpdate | None = None
        self._boards: EarlyBoards | None = None

    def start(self, loop: asyncio.AbstractEventLoop, connections: Callable[[], Iterable[Connection]]) -> None:
        """Begin to serve on this loop."""
        self.refusals = EarlyRefusals(self._gate, self.requests, self.allowed_origins)
        self._update = EarlyUpdate(loop, self._services, self._gate, self.refusals, self.to_flask)
        self._boards = EarlyBoards(loop, self._services, self.to_flask)

        def look() -> None:
            now = time.monotonic()
            for connection in list(connections()):
                connection.close_if_silent(now)
            self._tell()
            loop.call_later(LOOK_SECONDS, look)

        look()

    def close(self) -> None:
        """End; nobody is served any more."""
        self._tell()
        if self._update is not None:
            self._update.close()
        if self._boards is not None:
            self._boards.close()
        self._threads.shutdown(wait=False)

    def _tell(self) -> None:
        if self.refusals is not None:
            self.refusals.tell()
        self.requests.tell()

    def body_bytes_most(self, path: bytes) -> int:
        """What a body may have before it is called too large; views refuse less."""
        return BATCH_BYTES_MOST if path == BATCH_PATH else RANKS_BYTES_MOST

    def date_line(self, headers: list[tuple[bytes, bytes]]) -> bytes:
        """uvicorn's own header lines, which change once a second."""
        if headers is not self._dated:
            self._dated, self._date_line = headers, b"".join([b"%b: %b\r\n" % each for each in headers])
        return self._date_line

    def route(self, exchange: Exchange) -> None:
        """See to it that the request is answered."""
        early: EarlyUpdate | EarlyBoards | None = None
        if exchange.method == b"POST":
            early = self._update if exchange.path == UPDATE_PATH else None
        elif exchange.method == b"GET":
            early = self._boards if exchange.path.startswith(BOARDS_PATH) else None
        if early is None or not early.take(exchange):
            self.to_flask(exchange)

    def to_flask(self, exchange: Exchange) -> None:
        """Have Flask answer, in a thread."""
        self._threads.submit(exchange.run_flask)
