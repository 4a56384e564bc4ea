"""The factory of the API's Flask application."""

from __future__ import annotations

import atexit
import threading

from flask import Flask
from werkzeug.middleware.proxy_fix import ProxyFix

from models.logs import configure_logging
from models.settings import Settings
from models.stores import open_stores
from models.tracing.opening import open_tracing
from web import metrics
from web.api import admin, admin_glance, admin_letters, admin_players, auth, leaderboards, operations, scores, users
from web.api.answers import BATCH_BYTES_MOST
from web.api.serving.serving import EXTENSION as SERVING
from web.api.serving.serving import Serving
from web.cors import install_cors
from web.gate import EXTENSION as GATE
from web.gate import Gate
from web.identity import Identity
from web.inner import install_inner
from web.limits import Limits
from web.pages.blueprint import blueprint as pages
from web.problems import install_problems
from web.request_log import RequestLog
from web.requests import install_requests
from web.services import EXTENSION, Services
from web.wakeup import Wakeup


def create_app(settings: Settings | None = None, *, serving: bool = True) -> Flask:
    """An API process: stores opened, routes in place, revocations kept fresh.

    Args:
        settings: read from the environment when left out.
        serving: get ready for the first request in the background; the command line and tests do not need that.

    Raises:
        SettingsInvalid, CatalogueInvalid: with every fault, or the line.
    """
    settings = settings or Settings.from_env()
    configure_logging("scoreboard-web", settings.log_level)
    app = Flask("web", static_folder=None, template_folder=None)
    app.config.update(
        MAX_CONTENT_LENGTH=BATCH_BYTES_MOST,
        SOCKETS_URL=settings.sockets_url,
        PLAY=settings.development and settings.registration_open,
    )
    stores = open_stores(settings)
    tracing = open_tracing(settings, "scoreboard-web")
    metrics.observe_stores(stores)
    request_log = RequestLog("scoreboard-web", settings.log_level)
    install_requests(app, request_log)
    install_inner(app, settings.inner_networks)
    install_cors(app, settings.allowed_origins)
    requests = metrics.Requests(app)
    app.extensions[operations.REQUESTS_REGISTRY] = requests.registry
    install_problems(app, stores.watch)
    app.extensions[EXTENSION] = here = Services(
        settings=settings,
        stores=stores,
        identity=Identity(app, settings, stores.revocations),
        limits=Limits(app, settings, stores.redis, stores.revocations.restrictions),
        wakeup=Wakeup(settings, stores.redis, tracing),
        tracing=tracing,
    )
    app.extensions[admin_glance.EXTENSION] = admin_glance.Glances(stores)
    if hops := settings.trusted_proxies:
        app.wsgi_app = ProxyFix(app.wsgi_app, x_for=hops, x_proto=hops)  # type: ignore[method-assign]
    app.wsgi_app = gate = Gate(app.wsgi_app, settings.allowed_origins)  # type: ignore[method-assign]
    app.extensions[GATE] = gate
    admins = (admin, admin_glance, admin_players, admin_letters)
    for part in (users, auth, scores, leaderboards, *admins, operations):
        app.register_blueprint(part.blueprint)
    app.register_blueprint(pages)
    stores.revocations.start()
    here.limits.start()
    stores.watch.start()
    app.extensions[SERVING] = Serving(app.wsgi_app, gate, here, requests, request_log)
    if serving:
        threading.Thread(target=here.warm_up, name="warm-up", daemon=True).start()
    atexit.register(request_log.close)
    atexit.register(here.close)
    return app
