"""The console as operators use it: what they see, what they do, and that it gives nothing away."""

from __future__ import annotations

import re
from collections.abc import Callable
from secrets import token_hex
from typing import Any

import pytest
from playwright.sync_api import Page, expect
from sqlalchemy import Connection, text

from models.accounts.revocation import BELIEVED_SECONDS
from models.guard import incidents
from models.guard.incidents import Evidence, Sighting
from tests.browser.test_accessibility import CONTRAST_LEAST, CONTRASTS

pytestmark = pytest.mark.browser

EVIL = "<img src=x onerror=alert(1)>"


def tile(page: Page, name: str) -> Any:
    return page.get_by_role("region", name=name, exact=True).locator(".value")


def act(page: Page, verb: str, reason: str = "a test") -> None:
    """Give a reason in the dialog, and do it."""
    dialog = page.get_by_role("dialog")
    dialog.get_by_label("Reason").fill(reason)
    dialog.get_by_role("button", name=verb, exact=True).click()
    expect(dialog).to_be_hidden()


def look(page: Page) -> None:
    """Have the console look now, as it does for who comes back to its tab; it would in two seconds."""
    page.evaluate("document.dispatchEvent(new Event('visibilitychange'))")


def newcomer(database: Connection, name: str = "") -> tuple[str, str]:
    """A player with nothing yet: id and name."""
    name = name or f"c-{token_hex(5)}"
    user_id = database.execute(
        text(
            "INSERT INTO users (username, email, secret_key, secret_key_kid)"
            " VALUES (:name, :email, '', 'none') RETURNING id::text"
        ),
        {"name": name, "email": f"{token_hex(6)}@example.org"},
    ).scalar_one()
    return user_id, name


def dead_letter(database: Connection, user_id: str, action_id: str, value: int = 1, detail: str = "It was.") -> None:
    """What was accepted, and could not be applied when it should have been."""
    row = {"user_id": user_id, "action_id": action_id, "value": value, "detail": detail}
    database.execute(
        text(
            "INSERT INTO inbox_keys (user_id, action_id, action, value)"
            " VALUES (:user_id, :action_id, 'level_complete', :value)"
        ),
        row,
    )
    database.execute(
        text(
            "INSERT INTO dead_letters (user_id, action_id, code, detail, attempts, shard, action, value, request_id,"
            " accepted_at) VALUES (:user_id, :action_id, 'action_unknown', :detail, 1, 0, 'level_complete', :value,"
            " 'r-1', now())"
        ),
        row,
    )


def test_a_token_is_pasted_once_and_is_nowhere_but_in_the_tabs_storage(visit, live_stack) -> None:
    token = live_stack.token("moderation")
    page = visit("/admin")
    urls: list[str] = []
    page.on("request", lambda request: urls.append(request.url))
    page.get_by_label("Service token").fill(token)
    page.get_by_role("button", name="Sign in").click()
    expect(page.get_by_role("heading", level=1)).to_have_text("Pipeline")
    page.get_by_role("link", name="Audit log").click()
    expect(page.get_by_role("heading", level=1)).to_be_focused()
    assert page.evaluate("Object.values(sessionStorage)") == [token]
    assert page.evaluate("[localStorage.length, document.cookie]") == [0, ""]
    assert token not in page.content()
    assert page.get_by_label("Service token").input_value() == ""
    page.reload()
    expect(page.get_by_role("heading", level=1)).to_have_text("Audit log")  # the tab knows
    assert urls
    assert not any(token.split(".")[2] in url for url in urls)
    assert not any(token.split(".")[2] in log.read_text("utf-8", "replace") for log in live_stack.logs())
    page.get_by_role("button", name="Sign out").click()
    expect(page.get_by_label("Service token")).to_be_focused()
    assert page.evaluate("sessionStorage.length") == 0
    assert page.locator("#room").inner_text() == ""


def test_other_tokens_are_refused_and_forgotten(console, visit, live_stack) -> None:
    visit.forgiven += ["403", "401"]
    page = console(scope="boards:read scores:write")
    expect(page.get_by_role("alert")).to_contain_text("This call needs a token with the scope moderation.")
    page.get_by_label("Service token").fill("nonsense")
    page.get_by_role("button", name="Sign in").click()
    expect(page.get_by_role("alert")).to_contain_text("This is no token of this service")
    assert page.evaluate("sessionStorage.length") == 0
    expect(page.get_by_role("navigation", name="Console")).to_be_hidden()


def test_a_token_that_is_revoked_ends_the_session(console, visit) -> None:
    visit.forgiven.append("401")
    page = console("#/audit")
    expect(page.get_by_role("heading", level=1)).to_have_text("Audit log")
    answer = '{"code": "token_revoked", "detail": "It was revoked.", "status": 401}'
    page.route("**/api/v1/admin/**", lambda route: route.fulfill(status=401, body=answer))
    page.get_by_role("link", name="Dead letters").click()
    expect(page.get_by_role("alert")).to_contain_text("The token was revoked")
    assert page.evaluate("sessionStorage.length") == 0


def test_the_glance_follows_what_happens(console, visit, lift, database) -> None:
    user_id, _ = newcomer(database)
    visit("/")  # a socket
    page = console()
    lift(user_id, 40_000)
    expect(tile(page, "Accepted")).to_have_text(re.compile(r"[1-9]"))
    expect(tile(page, "Until applied")).to_have_text(re.compile(r"\d (m?s)"))
    expect(tile(page, "Sockets")).to_have_text(re.compile(r"[1-9]"))
    expect(page.locator(".parts li[data-state=good]")).to_have_count(6)
    expect(page.get_by_text("All parts are well")).to_be_visible()
    expect(page.locator("#connection")).to_have_text("Live")
    expect(page.locator(".spark .line").first).to_have_attribute("d", re.compile("L"))


def test_a_glance_that_cannot_be_had_says_so_and_comes_back(console, visit) -> None:
    visit.forgiven.append("503")
    page = console()
    expect(page.get_by_text("All parts are well")).to_be_visible()
    problem = '{"code": "not_ready", "detail": "Whether it holds cannot be known now.", "status": 503}'
    page.route("**/glance", lambda route: route.fulfill(status=503, body=problem))
    look(page)
    expect(page.locator("#connection")).to_have_text("Reconnecting…")
    expect(page.locator(".summary")).to_contain_text("A part of the service is away")
    expect(page.locator(".summary")).to_contain_text("What is shown is of")
    page.unroute("**/glance")
    look(page)
    expect(page.locator("#connection")).to_have_text("Live")
    failing = {"status": "failing", "detail": "TimeoutError"}
    page.route(
        "**/glance", lambda route: route.fulfill(json={"pipeline": None, "sockets": None, "parts": {"broker": failing}})
    )
    look(page)
    expect(page.get_by_text("Not well: Broker")).to_be_visible()
    expect(page.locator(".parts")).to_contain_text("all is applied as ever")
    expect(tile(page, "Accepted")).to_have_text("–")


def test_a_player_is_found_hidden_and_shown_again_by_undo(console, visit, lift, database) -> None:
    user_id, name = newcomer(database)
    lift(user_id, 900_000)
    board = visit("/")
    row = board.locator("#rows tr", has_text=name)
    expect(row).to_be_visible()
    page = console("#/players")
    page.get_by_label("Name, or how it begins").fill(name[:6].upper())
    page.keyboard.press("Enter")
    page.get_by_role("table", name="Players whose name begins").get_by_role("link", name=name).click()
    expect(page.get_by_text("in good standing")).to_be_visible()
    page.get_by_role("button", name="Hide from boards").click()
    act(page, "Hide", "under review")
    expect(row).to_have_count(0)
    expect(page.locator(".chips")).to_have_text("hidden")
    page.get_by_role("button", name="Undo").click()
    expect(page.get_by_role("dialog").get_by_label("Reason")).to_have_value("undo: under review")
    act(page, "Show", "it was not them")
    expect(row).to_be_visible()
    page.get_by_role("link", name="all of them").click()
    acts = page.get_by_role("table", name="Acts").get_by_role("row")
    expect(acts.nth(1)).to_contain_text("it was not them")
    expect(acts.nth(2)).to_contain_text("under review")
    expect(acts.nth(2)).to_contain_text("token tests")


def test_an_update_is_voided_and_restored(console, lift, database) -> None:
    user_id, name = newcomer(database)
    lift(user_id, 2_000)
    page = console(f"#/players/{name}")
    history = page.get_by_role("table", name="Changes")
    expect(history.get_by_role("button", name="Void")).to_have_count(2)
    history.get_by_role("button", name="Void").first.click()
    act(page, "Void")
    places = page.get_by_role("table", name="Boards on which")
    expect(places).to_contain_text("1,000")
    expect(history).to_contain_text("operator: void")
    expect(history.get_by_text("void", exact=True)).to_have_count(1)
    history.get_by_role("button", name="Restore").click()
    act(page, "Restore")
    expect(places).to_contain_text("2,000")


def test_an_incident_is_looked_at_and_closed(console, database) -> None:
    user_id, name = newcomer(database)
    evidence = [Evidence("signature_invalid", 1_700_000_000.0, "r-evil", user_id, "192.0.2.5")]
    rule = f"rule-{token_hex(3)}"
    incidents.note(database, Sighting(rule, "user", user_id, "block", 61, 61, 59.9, evidence))
    page = console("#/incidents")
    page.get_by_role("link", name=rule).click()
    expect(page.get_by_role("table", name="What led to it")).to_contain_text("192.0.2.5")
    expect(page.get_by_role("link", name=name)).to_be_visible()
    page.get_by_role("button", name="Close", exact=True).click()
    act(page, "Close", "a client under test")
    expect(page.locator(".facts")).to_contain_text("a client under test")
    page.get_by_role("link", name="All incidents").click()
    expect(page.get_by_role("heading", level=1)).to_have_text("Incidents")
    expect(page.get_by_role("link", name=rule)).to_have_count(0)
    page.get_by_role("link", name="All", exact=True).click()
    expect(page.get_by_role("link", name=rule)).to_be_visible()


def test_a_player_is_blocked_and_the_block_lifted(console, visit, play) -> None:
    visit.forgiven.append("403")
    player, _ = play(name := f"b-{token_hex(5)}")
    page = console("#/restrictions")
    page.get_by_role("button", name="Restrict…").click()
    dialog = page.get_by_role("dialog")
    expect(dialog.get_by_label("To how many")).to_be_hidden()
    dialog.get_by_label("How", exact=True).select_option("throttle")
    expect(dialog.get_by_label("To how many")).to_be_visible()
    dialog.get_by_label("How", exact=True).select_option("block")
    dialog.get_by_label("Name or address").fill("nobody-of-that-name")
    dialog.get_by_label("Reason").fill("plays two boards")
    visit.forgiven.append("404")
    dialog.get_by_role("button", name="Restrict", exact=True).click()
    expect(dialog.get_by_role("alert")).to_contain_text("There is no player named")
    dialog.get_by_label("Name or address").fill(name)
    act(page, "Restrict", "plays two boards")
    row = page.get_by_role("row", name=re.compile(name))
    expect(row).to_contain_text("plays two boards")
    player.wait_for_timeout(BELIEVED_SECONDS * 1_000)  # until every API process has heard of it
    player.get_by_role("button", name="Level complete").click()
    expect(player.get_by_role("alert")).to_be_visible()
    row.get_by_role("button", name="Lift").click()
    act(page, "Lift")
    expect(row).to_have_count(0)


def test_dead_letters_are_retried_and_dropped(console, database, eventually) -> None:
    user_id, name = newcomer(database)
    for at in range(3):
        dead_letter(database, user_id, f"dead-{at}", at + 1)
    page = console(f"#/letters?player={name}")
    letters = page.get_by_role("table", name="Dead letters")
    expect(letters.get_by_role("row")).to_have_count(4)
    page.get_by_label(f"Choose dead-0 of {name}").check()
    expect(page.get_by_text("1 chosen")).to_be_visible()
    page.get_by_role("button", name="Drop").click()
    act(page, "Drop", "a robot")
    expect(letters.get_by_role("row")).to_have_count(3)
    page.get_by_role("button", name="Undo").click()
    act(page, "Keep")
    expect(letters.get_by_role("row")).to_have_count(4)
    page.get_by_label("All shown").check()
    page.get_by_role("button", name="Retry").click()
    act(page, "Retry", "the action is back")
    expect(page.get_by_text("No dead letter waits.")).to_be_visible()
    expect(page.get_by_role("status").filter(has_text="3 updates tried again.")).to_be_visible()

    def score() -> object:
        return database.execute(text("SELECT score FROM scores WHERE user_id = :id"), {"id": user_id}).scalar()

    eventually(lambda: score() == 60)


def test_what_quarantine_holds_is_released(console, database, lift, eventually) -> None:
    user_id, name = newcomer(database)
    page = console(f"#/players/{name}")
    page.get_by_role("button", name="Quarantine").click()
    act(page, "Put in quarantine", "too good")
    expect(page.locator(".chips")).to_have_text("in quarantine")
    lift(user_id, 3_000)
    held = text("SELECT count(*) FROM quarantine WHERE user_id = :id")
    eventually(lambda: database.execute(held, {"id": user_id}).scalar() == 3)
    page.get_by_role("navigation", name="Console").get_by_role("link", name="Quarantine").click()
    row = page.get_by_role("row", name=re.compile(name))
    row.get_by_role("link", name=name).click()
    expect(page.get_by_role("table", name="What is held back").get_by_role("row")).to_have_count(4)
    page.get_by_role("button", name="Release").click()
    act(page, "Release", "played in front of us")
    expect(page.get_by_text("Nothing of this player is held back.")).to_be_visible()


def test_names_reasons_and_details_are_text_and_nothing_else(console, database) -> None:
    user_id, _ = newcomer(database, evil := f"{EVIL}{token_hex(3)}")
    dead_letter(database, user_id, "evil", detail=EVIL)
    page = console("#/players")
    page.get_by_label("Name, or how it begins").fill("<img")
    page.keyboard.press("Enter")
    page.get_by_role("link", name=evil).click()
    expect(page.get_by_role("heading", level=1)).to_have_text(evil)
    page.get_by_role("button", name="Block").click()
    act(page, "Block", EVIL)
    expect(page.get_by_role("status").filter(has_text=evil)).to_be_visible()
    expect(page.get_by_role("table", name="What was imposed")).to_contain_text(EVIL)
    for room in ("letters", "restrictions", "audit"):
        page.evaluate("(room) => { location.hash = `/${room}`; }", room)
        expect(page.locator("table").get_by_text(EVIL).first).to_be_visible()
    assert page.locator("#room img").count() == 0
    page.get_by_role("link", name="Restrictions").click()
    page.get_by_role("row", name=re.compile(re.escape(evil))).get_by_role("button", name="Lift").click()
    act(page, "Lift")


def test_a_console_needs_no_mouse(console, database) -> None:
    _, name = newcomer(database)
    page = console(f"#/players/{name}")
    opener = page.get_by_role("button", name="End sign-ins")
    opener.focus()
    page.keyboard.press("Enter")
    reason = page.get_by_role("dialog").get_by_label("Reason")
    expect(reason).to_be_focused()
    page.keyboard.press("Escape")
    expect(opener).to_be_focused()
    page.keyboard.press("Enter")
    page.keyboard.type("a stolen phone")
    page.keyboard.press("Tab")
    page.keyboard.press("Tab")
    page.keyboard.press("Enter")
    expect(page.get_by_role("status").filter(has_text=f"0 sign-ins of {name} ended.")).to_be_visible()


@pytest.fixture
def every_room(database: Connection) -> list[str]:
    """Rooms with something in each."""
    user_id, name = newcomer(database)
    dead_letter(database, user_id, "seen")
    evidence = [Evidence("signature_invalid", 1_700_000_000.0, "r" * 128, user_id, "2001:db8::" + "1234:" * 5 + "1")]
    noted = incidents.note(database, Sighting("a-rule", "user", user_id, "block", 61, 61, 59.9, evidence))
    assert noted is not None
    database.execute(
        text(
            "INSERT INTO quarantine (user_id, action_id, shard, action, value, request_id, accepted_at)"
            " VALUES (:id, :action_id, 0, 'level_complete', 1, :request_id, now())"
        ),
        {"id": user_id, "action_id": "a" * 64, "request_id": "r" * 128},
    )
    rooms = ["glance", "players", "incidents?all=1", "restrictions", "quarantine", "letters", "audit"]
    return [*rooms, f"players/{name}", f"quarantine/{name}", f"incidents/{noted[0]}"]


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_every_room_can_be_read_and_fits_a_phone(
    console: Callable[..., Page], every_room: list[str], scheme: str
) -> None:
    page = console(color_scheme=scheme, reduced_motion="reduce", viewport={"width": 360, "height": 740})
    for room in every_room:
        page.evaluate("(room) => { location.hash = `/${room}`; }", room)
        expect(page.locator("#room [aria-busy=true], #room .loading")).to_have_count(0)
        assert page.evaluate("document.documentElement.scrollWidth") == 360, room
        faint = [(words, round(ratio, 2)) for words, ratio in page.evaluate(CONTRASTS) if ratio < CONTRAST_LEAST]
        assert faint == [], room
        unnamed = page.evaluate("""() => [...document.querySelectorAll("button, a, input, select, textarea")]
          .filter((e) => e.checkVisibility())
          .filter((e) => !(e.getAttribute("aria-label") || e.textContent.trim() || e.labels?.length))
          .map((e) => e.outerHTML)""")
        assert unnamed == [], room
        small = page.evaluate("""() => [...document.querySelectorAll("button, input, select")]
          .filter((e) => e.checkVisibility()).filter((e) => e.offsetWidth < 24 || e.offsetHeight < 24)
          .map((e) => e.outerHTML)""")
        assert small == [], room
        assert page.locator("h1:visible").count() == 1, room
        ids = page.evaluate("[...document.querySelectorAll('[id]')].map((e) => e.id)")
        assert len(ids) == len(set(ids)), room
