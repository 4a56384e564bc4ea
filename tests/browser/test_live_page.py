"""The live board as people use it."""

from __future__ import annotations

import re
from secrets import token_hex

import pytest
from playwright.sync_api import expect

from tests.browser.boards import OneSocket, delta, entry, snapshot

pytestmark = pytest.mark.browser

REGISTER = """async (name) => {
  const { Scoreboard } = await import("/static/scoreboard.js");
  window.scoreboard = await Scoreboard.connect();
  return (await window.scoreboard.register(name, `${name}@example.com`)).user_id;
}"""
SUBMIT = "([action, value]) => window.scoreboard.submit(action, { value, wait: 10 })"


def test_an_empty_board_invites_to_be_the_first(visit) -> None:
    page = visit("/", sockets=OneSocket([snapshot(0, [])]))
    expect(page.get_by_text("No scores yet. Be the first")).to_be_visible()
    expect(page.get_by_role("table")).to_be_hidden()
    expect(page.locator("#connection")).to_have_text("Live")


def test_a_newcomer_sees_every_step_of_their_own_click(play) -> None:
    page, _ = play()
    page.get_by_role("button", name="Level complete").click()
    for step in ("signed", "accepted", "applied", "seen"):
        expect(page.locator(f"[data-step={step}]")).to_have_attribute("data-state", "done")
    expect(page.locator("[data-step=accepted] .detail")).to_have_text(re.compile(r"committed · 200 after \d+ ms"))
    expect(page.locator("[data-step=applied] .detail")).to_have_text(re.compile(r"\+[1-5]0, rank [\d,]+ · \d+ ms"))
    expect(page.locator(".total")).to_have_text(re.compile(r"\d+ ms from click to board"))


def test_ones_own_row_is_marked_and_moves_down_when_another_overtakes(play, visit, lift, eventually) -> None:
    page, user_id = play()
    page.get_by_role("button", name="Level complete").click()
    lift(user_id, 50_000)
    own = page.locator("#rows tr.own")
    expect(own).to_contain_text("you")
    expect(own.locator(".number")).to_have_text(re.compile(r"50,0[1-5]0"))
    rival = visit("/docs/problems")
    rival_id = rival.evaluate(REGISTER, name := f"rival-{token_hex(4)}")
    lift(rival_id, 50_000)
    rival_row = page.locator("#rows tr", has_text=name)
    expect(rival_row).to_be_visible()

    def rank(row) -> int:
        return int(row.locator(".place").inner_text().replace(",", ""))

    assert rank(rival_row) > rank(own)
    outcome = rival.evaluate(SUBMIT, ["level_complete", 100])
    assert outcome["status"] == "applied"
    eventually(lambda: rank(rival_row) == rank(own) - 1)
    assert [row.get_attribute("class") for row in page.locator("#rows tr").all()].count("own") <= 1


def test_rows_stand_in_the_order_of_their_ranks_after_many_moves(visit) -> None:
    """Rows are moved, not redrawn: the elements of those who stay are the same ones before and after."""
    entries = [entry(rank, rank, 1000 - rank) for rank in range(1, 41)]
    service = OneSocket([snapshot(1, entries)])
    page = visit("/", sockets=service)
    expect(page.locator("#rows tr")).to_have_count(40)
    page.evaluate(
        "for (const row of document.querySelectorAll('#rows tr')) row.kept = row.querySelector('.name').textContent"
    )
    service.send(delta(1, 2, 40, [entry(1, 37, 2000), entry(20, 2, 10)], [entries[39]["user_id"]]))
    service.send(delta(2, 3, 40, [entry(40, 99, 5)]))
    expect(page.locator("#rows tr").last.locator(".name")).to_have_text("player-99")
    seen = page.evaluate(
        "[...document.querySelectorAll('#rows tr')].map((row) => "
        "[Number(row.querySelector('.place').textContent), row.querySelector('.name').textContent, row.kept ?? null])"
    )
    moved = [37, 1, *range(3, 20), 2, *(user for user in range(20, 40) if user != 37), 99]
    assert [rank for rank, _, _ in seen] == list(range(1, 41))
    assert [name for _, name, _ in seen] == [f"player-{user}" for user in moved]
    assert all(kept in (name, None) for _, name, kept in seen)
    assert sum(kept is None for _, _, kept in seen) == 1


def test_ones_own_place_is_pinned_while_it_is_below_the_shown_top(visit) -> None:
    player = {"user_id": entry(1, 500, 0)["user_id"], "username": "me", "secret_key": "00", "access_token": "t",
              "refresh_token": "r", "expires_at": 4_000_000_000_000}  # fmt: skip
    service = OneSocket([snapshot(7, [entry(rank, rank, 900 - rank) for rank in range(1, 101)], total=4321),
                         {"type": "you", "score": -5, "rank": 4321}])  # fmt: skip
    keep = f"sessionStorage.setItem('scoreboard.player', {str(player)!r}.replaceAll(\"'\", '\"'))"
    page = visit("/", script=keep, sockets=service)
    pinned = page.get_by_role("button", name="Your place: 4,321 me")
    expect(pinned).to_be_visible()
    expect(pinned.locator(".number")).to_have_text("-5")
    expect(page.locator("#total")).to_have_text("4,321 players")
    assert service.subscriptions[0]["token"] == "t"
    service.send(delta(7, 8, 4321, [entry(1, 500, 5000, "me")], [entry(100, 100, 0)["user_id"]]))
    expect(pinned).to_be_hidden()
    expect(page.locator("#rows tr.own .place")).to_have_text("1")


def test_more_places_are_shown_on_request(visit) -> None:
    entries = [entry(rank, rank, 5000 - rank) for rank in range(1, 1001)]
    service = OneSocket(*([snapshot(3, entries[:top], total=2500)] for top in (100, 300, 1000)))
    page = visit("/", sockets=service)
    for shown, button in ((100, "Show the first 300"), (300, "Show the first 1,000")):
        expect(page.locator("#rows tr")).to_have_count(shown)
        page.get_by_role("button", name=button).click()
    expect(page.locator("#rows tr")).to_have_count(1000)
    expect(page.get_by_text("The first 1,000 of 2,500 players.")).to_be_visible()
    expect(page.locator("#more")).to_be_hidden()
    assert [said["top"] for said in service.subscriptions] == [100, 300, 1000]
    assert all("resume" not in said for said in service.subscriptions)


def test_scores_at_the_ends_of_int64_are_shown_to_the_last_digit(visit) -> None:
    entries = [entry(1, 1, 2**63 - 1), entry(2, 2, 2**53 + 1), entry(3, 3, -(2**63))]
    service = OneSocket([snapshot(2**60 + 1, entries)])
    page = visit("/", sockets=service, viewport={"width": 360, "height": 640}, locale="en-GB")
    numbers = page.locator("#rows .number")
    expect(numbers).to_have_text(["9,223,372,036,854,775,807", "9,007,199,254,740,993", "-9,223,372,036,854,775,808"])
    assert page.evaluate("document.documentElement.scrollWidth") == 360
    service.send(delta(2**60 + 1, 2**60 + 3, 3, [entry(2, 2, 2**63 - 2)]))
    expect(numbers.nth(1)).to_have_text("9,223,372,036,854,775,806")
    assert len(service.subscriptions) == 1  # the versions, beyond 2^53 too, fitted


def test_another_board_is_chosen_by_its_link_and_kept_in_the_address(visit) -> None:
    page = visit("/")
    page.get_by_role("navigation", name="Boards").get_by_role("link", name="Skill").click()
    expect(page.get_by_role("heading", level=1)).to_have_text("Skill")
    expect(page.get_by_role("link", name="Skill")).to_have_attribute("aria-current", "page")
    assert page.url.endswith("/?board=skill")
    page.reload()
    expect(page.get_by_role("heading", level=1)).to_have_text("Skill")
    page.go_back()
    expect(page.get_by_role("heading", level=1)).to_have_text("Global")


def test_a_taken_name_is_explained(play, visit) -> None:
    play(name := f"twice-{token_hex(4)}")
    visit.forgiven.append("409")
    page = visit("/")
    page.get_by_label("Your name").fill(name)
    page.get_by_role("button", name="Join").click()
    expect(page.get_by_role("alert")).to_have_text("That name is taken. Try another one.")


def test_a_player_outlives_a_reload_and_can_leave(play) -> None:
    page, _ = play(name := f"stays-{token_hex(4)}")
    page.reload()
    expect(page.locator(".who")).to_have_text(name)
    page.get_by_role("button", name="Level complete").click()
    expect(page.locator("[data-step=seen]")).to_have_attribute("data-state", "done")
    page.get_by_role("button", name="Leave").click()
    expect(page.get_by_label("Your name")).to_be_focused()
    assert page.evaluate("sessionStorage.getItem('scoreboard.player')") is None


def test_a_name_is_text_and_nothing_else(visit) -> None:
    evil = "<img src=x onerror=alert(1)>"
    page = visit("/", sockets=OneSocket([snapshot(1, [entry(1, 1, 5, evil)])]))
    expect(page.locator("#rows .name")).to_have_text(evil)
    assert page.locator("#rows img").count() == 0


def test_the_documentation_is_drawn_from_the_service_itself(visit) -> None:
    page = visit("/docs")
    expect(page.get_by_text("/api/v1/scores/update").first).to_be_visible()
    expect(page.get_by_role("link", name="Live board")).to_be_visible()
    page.locator(".opblock", has_text="/api/v1/scores/update").first.locator("button").first.click()
    expect(page.get_by_text("signature_invalid").first).to_be_visible()


def test_every_error_code_has_its_place_in_the_documentation(visit) -> None:
    page = visit("/docs/problems#nonce_reused")
    expect(page.locator("#nonce_reused dd")).to_contain_text("nonce")
    assert page.locator(".problems > div").count() >= 20
