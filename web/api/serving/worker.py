"""gunicorn's worker for the API: uvicorn's server with our protocol in front of Flask."""

from __future__ import annotations

import asyncio
import signal
from typing import Any, Final, cast

from uvicorn.server import Server
from uvicorn_worker import UvicornWorker

from models import garbage
from web.api.serving.protocol import Protocol
from web.api.serving.serving import EXTENSION, Serving


class ApiServer(Server):
    """Starts what it serves on its own loop."""

    async def startup(self, sockets: Any = None) -> None:
        serving = cast(Serving, cast(Any, self.config.app).extensions[EXTENSION])
        connections = cast(set[Protocol], self.server_state.connections)
        serving.start(asyncio.get_running_loop(), lambda: connections)
        await super().startup(sockets)
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

    def init_signals(self) -> None:
        """uvicorn raises again what ended it, when all is answered; then what it held must still be closed."""
        super().init_signals()
        signal.signal(signal.SIGTERM, lambda *_: None)
        signal.signal(signal.SIGINT, lambda *_: None)

    async def _serve(self) -> None:
        self.config.app = self.wsgi
        self._install_sigquit_handler()
        try:
            await ApiServer(self.config).serve(sockets=self.sockets)
        finally:
            cast(Serving, self.wsgi.extensions[EXTENSION]).close()
