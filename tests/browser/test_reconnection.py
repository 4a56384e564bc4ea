"""The page while parts of the service are away."""

from __future__ import annotations

import pytest
from playwright.sync_api import expect

from tests.browser.boards import OneSocket, entry, snapshot
from tests.fixtures.live_stack import LiveStack

pytestmark = pytest.mark.browser


def test_the_board_is_live_again_after_the_socket_server_went_away(play, visit, lift, live_stack: LiveStack) -> None:
    visit.forgiven.append("WebSocket connection to")
    page, user_id = play()
    connection = page.locator("#connection")
    expect(connection).to_have_text("Live")
    lift(user_id, 50_000)
    expect(page.locator("#rows tr.own .number")).to_have_text("50,000")
    live_stack.kill("sockets")
    expect(connection).to_have_text("Reconnecting…")
    expect(page.locator("#rows tr.own")).to_be_visible()  # what was known stays in sight
    lift(user_id, 1_000)
    live_stack.start("sockets")
    live_stack.wait_ready()
    expect(connection).to_have_text("Live", timeout=30_000)
    expect(page.locator("#rows tr.own .number")).to_have_text("51,000")


def test_a_server_that_goes_in_good_order_is_hardly_noticed(visit, live_stack: LiveStack) -> None:
    visit.forgiven.append("WebSocket connection to")
    page = visit("/")
    expect(page.locator("#connection")).to_have_text("Live")
    live_stack.restart_sockets()
    expect(page.locator("#connection")).to_have_text("Live", timeout=30_000)


def test_a_service_that_does_not_answer_is_asked_again_by_itself(visit) -> None:
    visit.forgiven.append("503")
    page = visit("/docs/problems", sockets=OneSocket([snapshot(1, [entry(1, 1, 5)])]))
    asked: list[str] = []

    def away(route) -> None:
        asked.append(route.request.url)
        if len(asked) < 3:
            route.fulfill(status=503, json={"code": "not_ready", "detail": "Soon."})
        else:
            route.continue_()

    page.route("**/api/v1", away)
    page.goto(visit.stack.api_url)
    expect(page.get_by_text("The scoreboard cannot be reached.")).to_be_visible()
    expect(page.locator("#rows tr")).to_have_count(1)
    expect(page.get_by_text("The scoreboard cannot be reached.")).to_be_hidden()
