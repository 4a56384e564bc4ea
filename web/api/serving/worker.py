"""gunicorn's worker for the API: uvicorn's server with our protocol in front of Flask."""

from __future__ import annotations

import asyncio
import signal
import socket
from typing import Any, Final, cast

from uvicorn.server import Server
from uvicorn_worker import UvicornWorker

from models import garbage
from web.api.serving.listener import Listener, Share
from web.api.serving.protocol import Protocol
from web.api.serving.serving import EXTENSION, Serving


class ApiServer(Server):
    """Starts what it serves on its own loop."""

    share = Share()

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """Begin; the sockets are those that the processes share."""
        loop, config = asyncio.get_running_loop(), self.config
        serving = cast(Serving, cast(Any, config.app).extensions[EXTENSION])
        connections = cast(set[Protocol], self.server_state.connections)
        serving.start(loop, lambda: connections)

        def protocol() -> Protocol:
            made = Protocol(config=config, server_state=self.server_state, app_state={}, _loop=loop)
            made.on_lost = lambda: self.share.tell(len(connections))
            made.server_ends = lambda: self.should_exit
            return made

        if not sockets:
            sockets = [config.bind_socket()]
            sockets[0].listen(config.backlog)
        self.servers = [
            Listener(loop, each, protocol, self.share, lambda: len(connections))  # type: ignore[misc]
            for each in sockets
        ]
        self.started = True
        garbage.settle()


#: uvicorn's settings.
OPTIONS: Final[dict[str, Any]] = {
    "loop": "uvloop",
    "http": Protocol,
    "ws": "none",
    "interface": "asgi3",  # so that uvicorn leaves the application alone: the protocol knows what to do with it
    "lifespan": "off",
    "proxy_headers": False,
    "server_header": False,
}


class Worker(UvicornWorker):
    """Serves until it is asked to end."""

    CONFIG_KWARGS = OPTIONS
    share = Share()

    def init_signals(self) -> None:
        """uvicorn raises again what ended it, when all is answered; then what it held must still be closed."""
        super().init_signals()
        signal.signal(signal.SIGTERM, lambda *_: None)
        signal.signal(signal.SIGINT, lambda *_: None)

    async def _serve(self) -> None:
        self.config.app = self.wsgi
        self.config.timeout_graceful_shutdown = self.cfg.graceful_timeout
        self._install_sigquit_handler()
        try:
            server = ApiServer(self.config)
            server.share = self.share
            await server.serve(sockets=self.sockets)
        finally:
            cast(Serving, self.wsgi.extensions[EXTENSION]).close()
