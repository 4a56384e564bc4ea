"""A board followed by scoreboard.js: gaps, lost and dead sockets, refused tokens."""

from __future__ import annotations

import pytest
from playwright.sync_api import Page

from tests.browser.boards import OneSocket, delta, entry, snapshot, until

pytestmark = pytest.mark.browser

FOLLOW = """async ([url, options]) => {
  const { LiveBoard } = await import("/static/scoreboard.js");
  window.seen = { states: [], changes: [], you: [], errors: [] };
  window.board = new LiveBoard(url, "global", {
    ...options,
    onState: ({ name, code }) => seen.states.push([name, code ?? null]),
    onChange: ({ kind, entries, version }) => seen.changes.push([kind, version, entries.map((e) => e.username)]),
    onYou: (you) => seen.you.push(you),
    onError: ({ code }) => seen.errors.push(code),
  });
}"""


def follow(visit, service: OneSocket, **options: object) -> Page:
    page = visit("/docs/problems", sockets=service)
    page.evaluate(FOLLOW, [visit.stack.sockets_url, options])
    until(page, "seen.changes.length > 0")
    return page


def test_a_delta_that_does_not_fit_leads_to_a_fresh_snapshot(visit) -> None:
    """I6: after a gap, the list is asked for anew and without `resume`."""
    one, two, three = (entry(n, n, 100 - n) for n in (1, 2, 3))
    service = OneSocket([snapshot(1, [one])], [snapshot(6, [one, two, three])])
    page = follow(visit, service, top=10)
    service.send(delta(3, 4, 2, [two]))
    until(page, "seen.changes.length === 2")
    assert page.evaluate("seen.changes.at(-1)") == ["snapshot", 6, ["player-1", "player-2", "player-3"]]
    assert service.subscriptions == [{"type": "subscribe", "top": 10}] * 2


def test_a_lost_socket_is_opened_again_and_resumes(visit) -> None:
    one, two = entry(1, 1, 9), entry(2, 2, 8)
    service = OneSocket([snapshot(2**60, [one])], [delta(2**60, 2**60 + 1, 2, [two])])
    page = follow(visit, service, top=10)
    assert service.socket is not None
    service.socket.close(code=1001)
    until(page, "seen.changes.length === 2")
    assert [name for name, _ in page.evaluate("seen.states")] == ["connecting", "live", "waiting", "connecting", "live"]
    assert service.subscriptions[1] == {"type": "subscribe", "top": 10, "resume": {"version": 2**60}}
    assert page.evaluate("board.entries.map((e) => e.username)") == ["player-1", "player-2"]


def test_an_unknown_board_is_not_asked_for_again(visit) -> None:
    page = visit("/docs/problems")
    page.evaluate(FOLLOW.replace('"global"', '"no-such-board"'), [visit.stack.sockets_url, {}])
    until(page, "seen.states.at(-1)[0] === 'failed'")
    assert page.evaluate("seen.states") == [["connecting", None], ["failed", 4404]]


def test_a_refused_token_does_not_take_the_board_away(visit) -> None:
    """4401 by the real service: renewed once, then followed without the personal half."""
    page = visit("/docs/problems")
    page.evaluate(FOLLOW, [visit.stack.sockets_url, {"token": "nonsense"}])
    until(page, "seen.changes.length > 0")
    assert ["waiting", 4401] in page.evaluate("seen.states")
    assert page.evaluate("seen.you") == []


def test_a_closed_board_calls_nobody(visit) -> None:
    service = OneSocket([snapshot(1, [])])
    page = follow(visit, service)
    page.evaluate("board.close()")
    assert page.evaluate("board.state.name") == "closed"
    assert page.evaluate("seen.states.at(-1)[0]") == "closed"
    assert page.evaluate("seen.changes.length") == 1


def test_a_dead_connection_is_noticed_and_replaced(visit) -> None:
    """Nothing closes it, nothing is heard: the ping goes unanswered. The page's clock is ours, so nobody waits."""
    service = OneSocket([snapshot(1, [])], [delta(1, 1, 0, [])])
    page = visit("/docs/problems", sockets=service)
    page.clock.install()
    page.evaluate(FOLLOW, [visit.stack.sockets_url, {}])
    until(page, "seen.changes.length === 1")
    for _ in range(20):  # in steps, so that what the sockets have to say can come in between
        page.clock.run_for(3_000)
        page.wait_for_timeout(30)
    until(page, "seen.changes.length === 2")
    assert ["waiting", 1006] in page.evaluate("seen.states")
    assert service.subscriptions[1]["resume"] == {"version": 1}
