"""Serves the worker's figures by HTTP: where no API shares its folder, nobody else could."""

from __future__ import annotations

import os
import threading
from functools import partial
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, Final

from prometheus_client import CONTENT_TYPE_LATEST

from models.exposition import exposition

#: A connection that says nothing for so long is closed.
SILENCE_SECONDS: Final = 5.0


class _Handler(BaseHTTPRequestHandler):
    """`/metrics` of all the worker's processes, and `/healthz`: the main process lives."""

    timeout = SILENCE_SECONDS
    server_version = "scoreboard"
    sys_version = ""

    def __init__(self, metrics_dir: str | None, *arguments: Any) -> None:
        self._metrics_dir = metrics_dir
        super().__init__(*arguments)

    def do_GET(self) -> None:
        """Answer one request."""
        path = self.path.partition("?")[0]
        if path == "/metrics":
            self._answer(HTTPStatus.OK, CONTENT_TYPE_LATEST, exposition(self._metrics_dir))
        elif path == "/healthz":
            self._answer(HTTPStatus.OK, "application/json", b'{"status":"ok"}')
        else:
            self._answer(HTTPStatus.NOT_FOUND, "text/plain", b"/metrics and /healthz are here\n")

    def _answer(self, status: HTTPStatus, content_type: str, body: bytes) -> None:
        self.send_response(status)
        self.send_header("Content-Type", content_type)
        self.send_header("Content-Length", str(len(body)))
        self.send_header("Cache-Control", "no-store")
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        """Not a line a scrape."""


class _Server(ThreadingHTTPServer):
    daemon_threads = True


def serve(host: str, port: int, metrics_dir: str | None) -> ThreadingHTTPServer:
    """Listen, and answer in a thread of this process.

    Raises:
        SystemExit: the port cannot be had; Celery would only log another error and go on.
    """
    try:
        server = _Server((host, port), partial(_Handler, metrics_dir))
    except OSError as error:
        raise SystemExit(f"WORKER_METRICS_PORT: {host}:{port} cannot be listened on: {error.strerror}") from error
    # Processes of the pool would keep the port beyond the end of a worker that was killed.
    os.register_at_fork(after_in_child=server.socket.close)
    threading.Thread(target=server.serve_forever, name="metrics", daemon=True).start()
    return server
