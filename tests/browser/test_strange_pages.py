"""A page of another origin, in a real browser, with a player's own token in its hands: it gets nothing done or read."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Thread
from typing import Any

import pytest
from playwright.sync_api import Browser, Page

from tests.fixtures.live_stack import LiveStack

pytestmark = pytest.mark.browser

PAGE = b"<!doctype html><title>elsewhere</title><p>A page of strangers."
#: What the page tries; each gives what came of it.
TRIES = {
    "a signed update": """async ([api, token, body]) => {
        const answer = await fetch(api + "/api/v1/scores/update", {method: "POST", body,
            headers: {"Content-Type": "application/json", "Authorization": "Bearer " + token}});
        return answer.status; }""",
    "an update as a form would send it": """async ([api, token, body]) => {
        const answer = await fetch(api + "/api/v1/scores/update", {method: "POST", body, mode: "no-cors",
            headers: {"Content-Type": "text/plain"}});
        return answer.type; }""",
    "a player's data": """async ([api, token]) => {
        const answer = await fetch(api + "/api/v1/users/me/export", {headers: {"Authorization": "Bearer " + token}});
        return await answer.text(); }""",
    "operators' calls": """async ([api, token]) => {
        const answer = await fetch(api + "/api/v1/admin/incidents", {headers: {"Authorization": "Bearer " + token}});
        return await answer.text(); }""",
}
SOCKET = """([sockets]) => new Promise((resolve) => {
    const socket = new WebSocket(sockets + "/ws/v1/leaderboards/global", ["scoreboard.v1"]);
    socket.onopen = () => resolve("open");
    socket.onclose = (event) => resolve(`closed ${event.code}`); })"""


class Elsewhere(BaseHTTPRequestHandler):
    """Serves the strangers' page."""

    def do_GET(self) -> None:
        self.send_response(200)
        self.send_header("Content-Type", "text/html")
        self.send_header("Content-Length", str(len(PAGE)))
        self.end_headers()
        self.wfile.write(PAGE)

    def log_message(self, *_: object) -> None:
        """Be silent."""


@pytest.fixture
def stranger(chromium: Browser) -> Iterator[Page]:
    """A page of another origin."""
    server = ThreadingHTTPServer(("127.0.0.1", 0), Elsewhere)
    Thread(target=server.serve_forever, daemon=True).start()
    context = chromium.new_context()
    page = context.new_page()
    page.goto(f"http://127.0.0.1:{server.server_port}/")
    yield page
    context.close()
    server.shutdown()
    server.server_close()


@pytest.fixture
def token(play: Any) -> str:
    """The access token of a player who is at the service's own page."""
    page, _ = play()
    kept = json.loads(page.evaluate("JSON.stringify(sessionStorage)"))
    found = re.search(r"eyJ[\w-]+\.eyJ[\w-]+\.[\w-]+", json.dumps(kept))
    assert found is not None
    return found[0]


def test_it_gets_nothing_done_or_read(stranger: Page, token: str, live_stack: LiveStack, tried) -> None:
    body = json.dumps({"action_id": "x", "action": "level_complete"})
    arguments = [live_stack.api_url, token, body]
    for name, script in TRIES.items():
        came = stranger.evaluate(f"(given) => ({script})(given).catch((error) => 'refused: ' + error.name)", arguments)
        tried("pages of another origin: calls, sockets, frames")
        assert came in ("refused: TypeError", "opaque"), name
    tried("pages of another origin: calls, sockets, frames")
    assert stranger.evaluate(SOCKET, [live_stack.sockets_url]) == "closed 1006"


def test_it_cannot_show_ours_in_a_frame(stranger: Page, live_stack: LiveStack, tried) -> None:
    stranger.evaluate(
        "(url) => { const frame = document.createElement('iframe'); frame.src = url; document.body.append(frame); }",
        live_stack.api_url,
    )
    stranger.wait_for_timeout(1500)
    tried("pages of another origin: calls, sockets, frames")
    [frame] = stranger.frames[1:]
    assert frame.url.startswith("chrome-error:")
