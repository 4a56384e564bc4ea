"""The Flask application of the sockets: routing, checks and handshake; then the hub takes the socket over."""

from __future__ import annotations

from typing import Any, Final

import structlog
from flask import Flask, Response, request
from flask_sock import Sock
from msgspec.json import encode
from prometheus_client import CONTENT_TYPE_LATEST
from werkzeug.middleware.proxy_fix import ProxyFix

from models.errors import NotReady
from models.exposition import exposition
from models.logs import configure_logging
from models.settings import Settings
from models.stores import open_stores
from models.tracing.opening import open_tracing
from web.identity import Identity
from web.inner import install_inner
from web.limits import Limits
from web.live.handshake import SERVER_OPTIONS, install_handshake, take_descriptor
from web.live.live import Live
from web.problems import install_problems
from web.request_log import RequestLog
from web.requests import install_requests
from web.services import Services
from web.wakeup import Wakeup

EXTENSION: Final = "scoreboard.live"

log = structlog.get_logger(__name__)


def create_app(settings: Settings | None = None) -> Flask:
    """The application; nothing moves before its `Live` is started (see `gunicorn_conf.py`).

    Raises:
        SettingsInvalid, CatalogueInvalid: with every fault found.
    """
    settings = settings or Settings.from_env()
    configure_logging("scoreboard-sockets", settings.log_level)
    app = Flask("scoreboard.live", static_folder=None)
    if settings.trusted_proxies:
        app.wsgi_app = ProxyFix(app.wsgi_app, x_for=settings.trusted_proxies)  # type: ignore[method-assign]
    services = _open(app, settings)
    live = Live(services)
    app.extensions[EXTENSION] = live
    app.config["SOCK_SERVER_OPTIONS"] = SERVER_OPTIONS
    install_requests(app, RequestLog("scoreboard-sockets", settings.log_level))
    install_inner(app, settings.inner_networks, ("/metrics",))
    install_problems(app, services.stores.watch)
    install_handshake(app, settings.allowed_origins, live.roster)
    _install_routes(app, live, settings.metrics_dir)
    return app


def _open(app: Flask, settings: Settings) -> Services:
    stores = open_stores(settings)
    tracing = open_tracing(settings, "scoreboard-sockets")
    return Services(
        settings=settings,
        stores=stores,
        identity=Identity(app, settings, stores.revocations),
        limits=Limits(app, settings, stores.redis, stores.revocations.restrictions),
        wakeup=Wakeup(settings, stores.redis, tracing),
        tracing=tracing,
    )


def _install_routes(app: Flask, live: Live, metrics_dir: str | None) -> None:
    @Sock(app).route("/ws/v1/leaderboards/<board>")
    def leaderboard(ws: Any, board: str) -> None:
        accepted = take_descriptor(ws)
        try:
            live.welcome(accepted, board, request.remote_addr or "unknown")
        except Exception:  # an answer of HTTP's now would be garbage in the middle of a WebSocket
            log.exception("socket was not taken over", **{"event.action": "handshake"})

    @app.get("/healthz")
    def healthz() -> Response:
        return _json({"status": "ok"})

    @app.get("/readyz")
    def readyz() -> Response:
        if live.roster.leaving or not live.feed.alive:
            raise NotReady("The sockets do not hear of changes now.", retry_after_seconds=1)
        return _json({"status": "ready", "sockets": len(live.roster)})

    @app.get("/metrics")
    def prometheus() -> Response:
        return Response(exposition(metrics_dir), content_type=CONTENT_TYPE_LATEST)


def _json(body: dict[str, Any]) -> Response:
    return Response(encode(body), content_type="application/json", headers={"Cache-Control": "no-store"})
