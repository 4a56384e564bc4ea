"""The page by keyboard, for screen readers, in both schemes, small and calm."""

from __future__ import annotations

import re
import urllib.request

import pytest
from playwright.sync_api import expect

from tests.browser.boards import OneSocket, delta, entry, snapshot, until

pytestmark = pytest.mark.browser

CONTRAST_LEAST = 4.5  # WCAG 2.2 AA for text
#: The contrast of each element with text of its own, against the nearest background that is painted.
CONTRASTS = """() => {
  const context = document.createElement("canvas").getContext("2d", { willReadFrequently: true });
  const rgba = (colour) => {
    context.clearRect(0, 0, 1, 1);
    context.fillStyle = colour;
    context.fillRect(0, 0, 1, 1);
    return context.getImageData(0, 0, 1, 1).data;
  };
  const luminance = ([r, g, b]) => [r, g, b].map((c) => c / 255)
    .map((c) => (c <= 0.04045 ? c / 12.92 : ((c + 0.055) / 1.055) ** 2.4))
    .reduce((sum, c, i) => sum + c * [0.2126, 0.7152, 0.0722][i], 0);
  const background = (element) => {
    for (let at = element; at; at = at.parentElement) {
      const colour = rgba(getComputedStyle(at).backgroundColor);
      if (colour[3] === 255) return colour;
    }
    return [255, 255, 255, 255];
  };
  const ownText = (element) => [...element.childNodes].some((node) => node.nodeType === 3 && node.data.trim());
  return [...document.body.querySelectorAll("*")]
    .filter((element) => ownText(element) && element.checkVisibility() && !element.matches(":disabled, :disabled *"))
    .map((element) => {
      const [light, dark] = [luminance(rgba(getComputedStyle(element).color)), luminance(background(element))]
        .sort((a, b) => b - a);
      const name = `${element.tagName}.${element.className}: ${element.textContent.trim().slice(0, 30)}`;
      return [name, (light + 0.05) / (dark + 0.05)];
    });
}"""


def some_service() -> OneSocket:
    return OneSocket([snapshot(1, [entry(n, n, 100 - n) for n in range(1, 13)])])


def test_the_keyboard_reaches_everything_in_the_order_it_is_read(visit) -> None:
    page = visit("/", sockets=OneSocket([snapshot(1, [entry(n, n, 200 - n) for n in range(1, 101)], total=400)]))
    expect(page.locator("#more")).to_be_visible()
    order = []
    for _ in range(9):
        page.keyboard.press("Tab")
        order.append(
            page.evaluate(
                "document.activeElement.getAttribute('aria-label') ?? document.activeElement.textContent.trim()"
            )
        )
    assert order == [
        "Skip to the content", "Scoreboard", "API docs", "Dark colours",
        "", "Join", "Global", "Skill", "Show the first 300",
    ]  # fmt: skip
    assert page.evaluate("getComputedStyle(document.activeElement).outlineStyle") == "solid"


def test_a_player_needs_no_mouse(visit) -> None:
    page = visit("/")
    field = page.get_by_label("Your name")
    expect(field).to_be_visible()  # what is hidden takes no focus
    field.focus()
    page.keyboard.type(name := f"keys-{page.evaluate('crypto.randomUUID().slice(0, 8)')}")
    page.keyboard.press("Enter")
    expect(page.get_by_role("button", name="Level complete")).to_be_focused()
    page.keyboard.press("Enter")
    expect(page.get_by_text(re.compile("points, on the board after"))).to_be_attached()
    expect(page.locator(".who")).to_have_text(name)


def test_the_board_is_a_table_with_headers_and_everything_has_a_name(visit) -> None:
    page = visit("/", sockets=some_service())
    table = page.get_by_role("table", name="Players in the order of their scores")
    expect(table.get_by_role("columnheader")).to_have_text(["Rank", "Player", "Score"])
    expect(table.get_by_role("row")).to_have_count(13)
    expect(table.get_by_role("rowheader").first).to_contain_text("player-1")
    expect(page.get_by_role("region", name="Global")).to_be_visible()
    expect(page.get_by_role("complementary", name="Play")).to_be_visible()
    expect(page.get_by_role("main")).to_have_count(1)
    expect(page.get_by_role("banner")).to_have_count(1)
    assert page.evaluate("document.documentElement.lang") == "en"
    unnamed = page.evaluate("""() => [...document.querySelectorAll("button, a, input")]
      .filter((e) => e.checkVisibility())
      .filter((e) => !(e.getAttribute("aria-label") || e.textContent.trim() || e.labels?.length))
      .map((e) => e.outerHTML)""")
    assert unnamed == []
    ids = page.evaluate("[...document.querySelectorAll('[id]')].map((e) => e.id)")
    assert len(ids) == len(set(ids))
    levels = [
        int(tag[1]) for tag in page.evaluate("[...document.querySelectorAll('h1, h2, h3')].map((e) => e.tagName)")
    ]
    assert levels.count(1) == 1


def test_screen_readers_hear_a_summary_and_not_each_change(visit) -> None:
    service = some_service()
    page = visit("/", sockets=service)
    summary = page.locator("[aria-live=polite]")
    expect(summary).to_have_text("player-1 leads with 99 points. 12 players.")
    assert page.locator("table [aria-live], table [role=status], table [role=alert]").count() == 0
    for version in range(1, 6):
        service.send(delta(version, version + 1, 12, [entry(1, 12, 1000 + version)]))
    expect(page.locator("#rows .number").first).to_have_text("1,005")
    expect(summary).to_have_text("player-1 leads with 99 points. 12 players.")  # its time has not come yet


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("path", ["/", "/docs/problems"])
def test_text_can_be_read_in_both_schemes(visit, scheme: str, path: str) -> None:
    page = visit(path, sockets=some_service(), color_scheme=scheme, reduced_motion="reduce")
    if path == "/":
        expect(page.locator("#rows tr")).to_have_count(12)
        page.evaluate("document.querySelector('#rows tr').classList.add('own')")
    faint = [(text, round(ratio, 2)) for text, ratio in page.evaluate(CONTRASTS) if ratio < CONTRAST_LEAST]
    assert faint == []


def test_the_chosen_colours_are_remembered(visit) -> None:
    page = visit("/", color_scheme="light")

    def background() -> str:
        return str(page.evaluate("getComputedStyle(document.body).backgroundColor"))

    toggle = page.get_by_role("button", name="Dark colours")
    expect(toggle).to_have_attribute("aria-pressed", "false")
    light = background()
    toggle.click()
    expect(toggle).to_have_attribute("aria-pressed", "true")
    dark = background()
    assert dark != light
    page.reload()
    assert background() == dark
    page.goto(page.url + "docs")
    expect(page.get_by_role("button", name="Dark colours")).to_have_attribute("aria-pressed", "true")


#: Counts at every frame, so that no gliding is too short to be seen from here.
WATCH_ANIMATIONS = """() => {
  window.animationsMost = 0;
  (function look() {
    const running = document.getElementById("rows").getAnimations({ subtree: true }).length;
    window.animationsMost = Math.max(window.animationsMost, running);
    requestAnimationFrame(look);
  })();
}"""


@pytest.mark.parametrize(("motion", "moves"), [("no-preference", True), ("reduce", False)])
def test_rows_glide_unless_somebody_asks_for_calm(visit, motion: str, moves: bool) -> None:
    service = some_service()
    page = visit("/", sockets=service, reduced_motion=motion)
    expect(page.locator("#rows tr")).to_have_count(12)
    page.wait_for_timeout(400)
    page.evaluate(WATCH_ANIMATIONS)
    service.send(delta(1, 2, 12, [entry(1, 9, 5000)]))
    until(page, "document.querySelector('#rows .name').textContent === 'player-9'")
    expect(page.locator("#rows tr").first.locator(".move")).to_have_text("▲8")
    if moves:
        until(page, "window.animationsMost > 0")
    else:
        page.wait_for_timeout(400)
        assert page.evaluate("window.animationsMost") == 0


@pytest.mark.parametrize("width", [360, 390, 768, 1280])
def test_nothing_sticks_out_at_any_width(visit, width: int) -> None:
    page = visit("/", sockets=some_service(), viewport={"width": width, "height": 740})
    expect(page.locator("#rows tr")).to_have_count(12)
    assert page.evaluate("document.documentElement.scrollWidth") == width
    small = page.evaluate("""() => [...document.querySelectorAll("button, input")].filter((e) => e.checkVisibility())
      .map((e) => e.getBoundingClientRect()).filter(({ width, height }) => width < 24 || height < 24).length""")
    assert small == 0


@pytest.mark.parametrize("path", ["/docs", "/docs/problems"])
def test_the_documentation_fits_a_phone(visit, path: str) -> None:
    page = visit(path, viewport={"width": 360, "height": 740})
    expect(page.get_by_role("heading", level=1).or_(page.locator(".swagger-ui .title")).first).to_be_visible()
    assert page.evaluate("document.documentElement.scrollWidth") == 360


def test_pages_let_nothing_in_from_elsewhere(live_stack) -> None:
    for path in ("/", "/docs", "/docs/problems"):
        with urllib.request.urlopen(live_stack.api_url + path, timeout=5) as answer:
            headers, body = answer.headers, answer.read().decode()
        policy = headers["Content-Security-Policy"]
        assert "default-src 'none'" in policy
        assert "frame-ancestors 'none'" in policy
        assert f"connect-src 'self' {live_stack.sockets_url}" in policy
        assert "unsafe" not in policy
        assert headers["X-Content-Type-Options"] == "nosniff"
        assert headers["Referrer-Policy"] == "no-referrer"
        assert not re.search(r"(?:src|href)=\"(?:https?:)?//", body)
        assert not re.search(r"<style|\sstyle=|\son[a-z]+=|<script(?![^>]*\ssrc=)", body)


def test_files_are_kept_for_long_only_by_the_digest_of_their_content(live_stack) -> None:
    def cache_of(path: str) -> str:
        with urllib.request.urlopen(live_stack.api_url + path, timeout=5) as answer:
            assert answer.headers["ETag"]
            return str(answer.headers["Cache-Control"])

    with urllib.request.urlopen(live_stack.api_url + "/", timeout=5) as answer:
        versioned = re.findall(r"/static/style\.css\?v=[0-9a-f]{16}", answer.read().decode())
    assert "max-age=31536000" in cache_of(versioned[0])
    assert "immutable" in cache_of(versioned[0])
    assert "max-age=31536000" not in cache_of("/static/style.css")
    assert "max-age=31536000" not in cache_of("/static/style.css?v=0123456789abcdef")
