"""A real Chromium on the running service; pages that complain, or ask anybody else for anything, fail their test."""

from __future__ import annotations

import json
import re
import shutil
import urllib.request
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from secrets import token_hex
from typing import Any
from urllib.parse import urlsplit

import pytest
from playwright.sync_api import Browser, Page, WebSocketRoute, expect, sync_playwright
from sqlalchemy import Connection, create_engine

from tests.fixtures.live_stack import LiveStack

NAMES = ("chromium", "chromium-browser", "google-chrome")
ARGUMENTS = (
    "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking",
    "--disable-component-update", "--disable-sync",
)  # fmt: skip
#: A violation of the page's policy is no more than a console message unless somebody listens.
REPORT_VIOLATIONS = """
document.addEventListener("securitypolicyviolation", (event) =>
  console.error(`policy: ${event.violatedDirective} ${event.blockedURI}`));
"""
POINTS_PER_UPDATE = 1_000
PATIENCE_MILLISECONDS = 10_000

expect.set_options(timeout=PATIENCE_MILLISECONDS)


@pytest.fixture(scope="module")
def chromium() -> Iterator[Browser]:
    """One Chromium for a module's tests: while Playwright runs, its event loop does too, so not for longer."""
    path = next(filter(None, map(shutil.which, NAMES)), None)
    if path is None:
        pytest.skip("no Chromium is installed")
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=path, args=list(ARGUMENTS))
        yield browser
        browser.close()


@dataclass
class Visits:
    """Opens pages and keeps what they complain about."""

    browser: Browser
    stack: LiveStack
    complaints: list[str] = field(default_factory=list)
    #: what a test expects its pages to complain about
    forgiven: list[str] = field(default_factory=list)

    def __call__(
        self,
        path: str = "/",
        *,
        script: str = "",
        sockets: Callable[[WebSocketRoute], None] | None = None,
        **context: Any,
    ) -> Page:
        """A page in a context of its own; `sockets` answers its sockets instead of the service."""
        page = self.browser.new_context(**{"viewport": {"width": 1280, "height": 800}, **context}).new_page()
        page.set_default_timeout(PATIENCE_MILLISECONDS)
        page.add_init_script(REPORT_VIOLATIONS + script)
        page.on("console", lambda message: self._heard(f"{message.type}: {message.text}", message.type == "error"))
        page.on("pageerror", lambda error: self._heard(f"uncaught: {error}", True))
        page.on("request", lambda request: self._asked(request.url))
        page.on("websocket", lambda socket: self._asked(socket.url))
        if sockets is not None:
            page.route_web_socket(re.compile("/ws/v1/"), sockets)
        page.goto(self.stack.api_url + path)
        return page

    def check(self) -> None:
        """Raises AssertionError if a page complained or asked somebody else."""
        left = [said for said in self.complaints if not any(re.search(pattern, said) for pattern in self.forgiven)]
        assert left == []

    def _heard(self, said: str, bad: bool) -> None:
        if bad:
            self.complaints.append(said)

    def _asked(self, url: str) -> None:
        ours = {urlsplit(self.stack.api_url).netloc, urlsplit(self.stack.sockets_url).netloc}
        if urlsplit(url).scheme not in ("data", "blob") and urlsplit(url).netloc not in ours:
            self.complaints.append(f"asked elsewhere: {url}")


@pytest.fixture
def visit(chromium: Browser, live_stack: LiveStack) -> Iterator[Visits]:
    """`visit("/")` opens a page; at the end none may have complained."""
    visits = Visits(chromium, live_stack)
    yield visits
    for context in chromium.contexts:
        context.close()
    visits.check()


@pytest.fixture
def lift(live_stack: LiveStack) -> Callable[[str, int], None]:
    """`lift(user_id, points)`: a game server gives a player points, in thousands, so that they stand near the top."""
    token = live_stack.token("scores:write")

    def give(user_id: str, points: int) -> None:
        updates = [
            {"user_id": user_id, "action_id": f"lift-{token_hex(8)}", "action": "level_complete", "value": 100}
            for _ in range(points // POINTS_PER_UPDATE)
        ]
        request = urllib.request.Request(
            f"{live_stack.api_url}/api/v1/scores/batch",
            data=json.dumps({"updates": updates}).encode(),
            headers={"Content-Type": "application/json", "Authorization": f"Bearer {token}"},
        )
        with urllib.request.urlopen(request, timeout=15) as answer:
            assert {result["status"] for result in json.load(answer)["results"]} == {"queued"}

    return give


@pytest.fixture
def play(visit: Visits) -> Callable[..., tuple[Page, str]]:
    """`play()` opens the page, registers a player there and returns page and user id; `play(name)` names them."""

    def join(name: str = "", **context: Any) -> tuple[Page, str]:
        page = visit("/", **context)
        page.get_by_label("Your name").fill(name or f"p-{token_hex(5)}")
        page.get_by_role("button", name="Join").click()
        page.get_by_role("button", name="Level complete").wait_for()
        return page, page.evaluate("JSON.parse(sessionStorage.getItem('scoreboard.player')).user_id")

    return join


@pytest.fixture
def console(visit: Visits, live_stack: LiveStack) -> Callable[..., Page]:
    """`console("#/letters")` opens the operators' console there, signed in as a moderator."""

    def enter(room: str = "", scope: str = "moderation", **context: Any) -> Page:
        page = visit("/admin" + room, **context)
        page.get_by_label("Service token").fill(live_stack.token(scope))
        page.get_by_role("button", name="Sign in").click()
        return page

    return enter


@pytest.fixture
def database(live_stack: LiveStack) -> Iterator[Connection]:
    """The running service's database, for what no call makes: incidents, dead letters, names nobody could register."""
    engine = create_engine(live_stack.settings.database_url, isolation_level="AUTOCOMMIT")
    with engine.connect() as connection:
        yield connection
    engine.dispose()
