"""What is checked while a socket is still an HTTP request, and the seam at which it stops being one."""

from __future__ import annotations

import binascii
from base64 import b64decode
from typing import Any, Final

from flask import Flask, Response, request
from simple_websocket import ConnectionError as HandshakeFailed
from werkzeug.routing.exceptions import WebsocketMismatch
from wsproto.utilities import RemoteProtocolError

from models.errors import Forbidden, NotReady
from web.live.messages import SUBPROTOCOL
from web.live.roster import Roster
from web.problems import problem

WEBSOCKET_VERSION: Final = "13"  # RFC 6455 §4.1
KEY_BYTES: Final = 16


class NoReader:
    """Stands in for simple-websocket's reader thread: the hub reads, and two readers would tear frames apart."""

    def __init__(self, target: object) -> None:
        self.target = target
        self.name = "no reader"

    def start(self) -> None:
        """Nothing to start."""


#: What flask-sock gives to simple-websocket's Server.
SERVER_OPTIONS: Final[dict[str, Any]] = {"thread_class": NoReader, "subprotocols": [SUBPROTOCOL]}


def install_handshake(app: Flask, allowed_origins: tuple[str, ...], roster: Roster) -> None:
    """Refuse over HTTP what can be refused there, before flask-sock answers 101."""

    @app.before_request
    def _check() -> Response | None:
        if request.url_rule is None or not request.url_rule.websocket:
            return None
        if roster.leaving:
            raise NotReady("This server stops; connect again.", retry_after_seconds=1)
        _check_origin(allowed_origins)
        # Compression of many small frames costs five times the CPU and 200 KB a socket; without the offer it is not
        # negotiated.
        request.environ.pop("HTTP_SEC_WEBSOCKET_EXTENSIONS", None)
        return _fault_of_headers()

    @app.errorhandler(WebsocketMismatch)
    def _no_upgrade(_error: WebsocketMismatch) -> Response:
        answer = problem("upgrade_required", "This address speaks WebSocket: ask for an upgrade.")
        answer.headers["Upgrade"] = "websocket"
        return answer

    @app.errorhandler(RemoteProtocolError)
    @app.errorhandler(HandshakeFailed)
    def _refused(error: Exception) -> Response:
        return problem("handshake_invalid", f"The WebSocket handshake is not valid: {error}")


def take_descriptor(ws: Any) -> Any:
    """The accepted socket, which flask-sock and simple-websocket leave alone from now on.

    The Server is marked as not connected, so flask-sock's closing of it comes to nothing; gunicorn closes its own
    descriptor when the view has returned, so whoever goes on with the socket duplicates it first.
    """
    ws.connected = False
    return ws.sock


def _check_origin(allowed: tuple[str, ...]) -> None:
    """Browsers say where a page came from, and a page of others must not use a player's browser. Others say nothing.

    Raises:
        Forbidden: the page comes from elsewhere.
    """
    origin = request.headers.get("Origin")
    if origin is not None and "*" not in allowed and origin not in allowed:
        raise Forbidden("Pages of this origin may not connect.")


def _fault_of_headers() -> Response | None:
    headers = request.headers
    if headers.get("Sec-WebSocket-Version") != WEBSOCKET_VERSION:
        answer = problem("upgrade_required", f"This service speaks WebSocket version {WEBSOCKET_VERSION}.")
        answer.headers["Sec-WebSocket-Version"] = WEBSOCKET_VERSION
        return answer
    if not _is_key(headers.get("Sec-WebSocket-Key", "")) or "Host" not in headers:
        return problem("handshake_invalid", "The WebSocket handshake lacks Sec-WebSocket-Key or Host.")
    if request.content_length or "Transfer-Encoding" in headers:
        return problem("handshake_invalid", "A WebSocket handshake has no body.")
    offered = [name.strip() for name in headers.get("Sec-WebSocket-Protocol", "").split(",") if name.strip()]
    if offered and SUBPROTOCOL not in offered:
        return problem("handshake_invalid", f"This service speaks the subprotocol {SUBPROTOCOL}.")
    return None


def _is_key(key: str) -> bool:
    try:
        return len(b64decode(key, validate=True)) == KEY_BYTES
    except (binascii.Error, ValueError):
        return False
