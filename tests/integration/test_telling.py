"""Incidents are told to a webhook that can check them, and to Alertmanager; nothing is lost when they are away."""

from __future__ import annotations

import base64
import json
from collections.abc import Callable, Iterator
from dataclasses import replace
from http.server import BaseHTTPRequestHandler, HTTPServer
from threading import Thread

import pytest
from standardwebhooks import Webhook
from standardwebhooks.webhooks import WebhookVerificationError

from models.guard.suspicion import Suspicion
from models.guard.telling import Telling
from models.guard.watch import Watch
from models.settings import Settings
from models.stores import Stores

SECRET = bytes(range(32))
ADDRESS = "192.0.2.77"


class Receiver(HTTPServer):
    """Keeps what is posted; answers with `status`."""

    def __init__(self) -> None:
        self.got: list[tuple[str, dict[str, str], bytes]] = []
        self.status = 204
        outer = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers["Content-Length"]))
                outer.got.append((self.path, dict(self.headers), body))
                self.send_response(outer.status)
                self.send_header("Location", "http://127.0.0.1:9/")
                self.end_headers()

            def log_message(self, *_: object) -> None:
                """Be silent."""

        super().__init__(("127.0.0.1", 0), Handler)


@pytest.fixture
def receiver() -> Iterator[Receiver]:
    server = Receiver()
    Thread(target=server.serve_forever, daemon=True).start()
    yield server
    server.shutdown()
    server.server_close()


@pytest.fixture
def telling(stores: Stores, settings: Settings, receiver: Receiver) -> Telling:
    url = f"http://127.0.0.1:{receiver.server_port}"
    return Telling(
        stores.engine,
        replace(settings, webhook_url=f"{url}/hook", webhook_secret=SECRET, alertmanager_url=url),
    )


@pytest.fixture
def incident(stores: Stores) -> None:
    """Somebody forged tokens."""
    watch = Watch(stores.engine, stores.rules, Suspicion(stores.redis))
    for _ in range(200):
        watch.note("token_invalid", address=ADDRESS, request_id="r-1")
    watch.report()


def test_a_receiver_can_check_who_sent_it(telling: Telling, receiver: Receiver, incident: None, query) -> None:
    assert telling.tell() == 1
    (path, headers, body), (alerts_path, _, alerts) = receiver.got
    assert (path, alerts_path) == ("/hook", "/api/v2/alerts")
    checked = Webhook("whsec_" + base64.b64encode(SECRET).decode())
    told = checked.verify(body, {name.lower(): value for name, value in headers.items()})
    [(incident_id,)] = query("SELECT id::text FROM incidents")
    assert told["type"] == "incident.opened"
    assert (told["data"]["incident"], told["data"]["rule"]) == (incident_id, "forged-tokens")
    assert json.loads(alerts)[0]["labels"]["rule"] == "forged-tokens"
    assert ADDRESS.encode() not in body + alerts
    with pytest.raises(WebhookVerificationError):
        checked.verify(body + b" ", {name.lower(): value for name, value in headers.items()})
    assert telling.tell() == 0  # once


@pytest.mark.parametrize("status", [500, 302])
def test_who_is_away_is_told_later(
    telling: Telling, receiver: Receiver, incident: None, query: Callable[..., object], status: int
) -> None:
    receiver.status = status
    assert telling.tell() == 0
    assert telling.tell() == 0
    assert len(receiver.got) == 1  # not at once again
    receiver.status = 204
    query("UPDATE incidents SET next_try_at = now()")
    assert telling.tell() == 1
