"""scoreboard.js: what front ends build upon."""

from __future__ import annotations

import hashlib
import hmac
import json
import random
import time
from itertools import pairwise
from secrets import token_hex
from uuid import UUID

import pytest
from playwright.sync_api import Page, Route

from models.boards import deltas
from models.boards.deltas import Line
from tests.browser.boards import INT64_LEAST, INT64_MOST, until

pytestmark = pytest.mark.browser

RANDOM_BOARDS = 300
UPDATES = "**/api/v1/scores/update"
REGISTER = """async () => {
  window.client = await import("/static/scoreboard.js");
  window.kept = [];
  window.scoreboard = await client.Scoreboard.connect(location.origin, { onPlayer: (player) => kept.push(player) });
  const name = `c-${crypto.randomUUID().slice(0, 13)}`;
  return scoreboard.register(name, `${name}@example.com`);
}"""
SUBMIT = """async (options) => {
  const steps = [];
  try {
    const outcome = await scoreboard.submit("level_complete", { ...options, onStep: ({ name }) => steps.push(name) });
    return { outcome, steps };
  } catch (error) {
    return { code: error.code, status: error.status, steps };
  }
}"""


@pytest.fixture
def page(visit) -> Page:
    """A page of the service that has no board of its own."""
    return visit("/docs/problems")


def some_board(random: random.Random, before: list[Line] | None = None) -> list[Line]:
    """A board's top: ties, extremes, and, given the one before, mostly its players."""
    numbers = random.sample(range(60), random.randint(0, 40))
    scores = [INT64_LEAST, INT64_MOST, 2**53 + 1, 0, *(random.randint(-50, 50) for _ in range(6))]
    known = {line.user_id: line for line in before or () if random.random() < 0.8}
    fresh = (
        Line(str(UUID(int=n)), f"player-{n}", random.choice(scores), random.randint(1, 9) * 1_000_000) for n in numbers
    )
    lines = {line.user_id: line for line in fresh} | known
    return sorted(lines.values(), key=lambda line: (-line.score, line.reached_at, line.user_id))


def as_entry(rank: int, line: Line) -> dict[str, object]:
    """As the socket sends it."""
    return {"rank": rank, **line._asdict()}


def test_a_list_brought_forward_by_deltas_is_the_board_itself(page: Page) -> None:
    """I6, with the service's own deltas over random boards; nothing that was handed in is changed."""
    dice = random.Random(20)
    boards: list[list[Line]] = [[]]
    for _ in range(RANDOM_BOARDS):
        boards.append(some_board(dice, boards[-1]))
    changes = [deltas.delta(old, new) for old, new in pairwise(boards)]
    sent = json.dumps(
        [
            {"removals": change.removals, "upserts": [as_entry(rank, line) for rank, line in change.upserts]}
            for change in changes
        ]
    )
    lists = page.evaluate(
        """async (text) => {
          const { applyDelta, parseExact } = await import("/static/scoreboard.js");
          const frozen = (list) => Object.freeze(list.map(Object.freeze));
          const exact = (list) => list.map((entry) => ({ ...entry, score: String(entry.score) }));
          let list = frozen([]);
          return parseExact(text).map((delta) => {
            frozen(delta.upserts);
            list = frozen(applyDelta(list, Object.freeze(delta)));
            return exact(list);
          });
        }""",
        sent,
    )
    expected = [
        [as_entry(rank, line) | {"score": str(line.score)} for rank, line in enumerate(board, 1)]
        for board in boards[1:]
    ]
    assert lists == expected
    assert sum(map(len, expected)) > RANDOM_BOARDS  # not a row of empty boards


def test_upserts_in_any_order_lead_to_the_same_list(page: Page) -> None:
    order = page.evaluate("""async () => {
      const { applyDelta } = await import("/static/scoreboard.js");
      const entry = (rank, user_id) => ({ rank, user_id });
      const list = ["a", "b", "c", "d"].map((id, place) => entry(place + 1, id));
      const after = applyDelta(list, { removals: ["b"], upserts: [entry(4, "a"), entry(1, "e"), entry(2, "d")] });
      return after.map(({ rank, user_id }) => `${rank}${user_id}`).join(" ");
    }""")
    assert order == "1e 2d 3c 4a"


def test_integers_survive_json_whatever_their_size(page: Page) -> None:
    """Both ways of reading: with the reviver's source, and by marks where engines do not tell it."""
    numbers = [INT64_MOST, INT64_LEAST, 2**53 - 1, 2**53, 2**53 + 1, -(2**53) - 1, 0, -1, 10**15, 10**16 + 1]
    tricky = {"text": '"9223372036854775807"', "\\": "1234567890123456789", "float": 1.5, "list": [[2**62 + 1], None]}
    read = page.evaluate(
        """async ([numbers, tricky]) => {
          const { parseExact, formatInteger } = await import("/static/scoreboard.js");
          const { parseByMark } = await import("/static/scoreboard/exact.js");
          const plain = (value) => JSON.stringify(value, (_key, v) => (typeof v === "bigint" ? `${v}n` : v));
          return {
            exact: parseExact(numbers).map(String),
            marked: parseByMark(numbers).map(String),
            types: parseExact(numbers).map((n) => typeof n),
            formatted: parseExact(numbers).slice(0, 2).map((n) => formatInteger(n, { locale: "en" })),
            tricky: [plain(parseExact(tricky)), plain(parseByMark(tricky))],
          };
        }""",
        [json.dumps(numbers), json.dumps(tricky)],
    )
    assert read["exact"] == read["marked"] == [str(number) for number in numbers]
    assert [kind == "bigint" for kind in read["types"]] == [abs(number) > 2**53 - 1 for number in numbers]
    assert read["formatted"] == ["9,223,372,036,854,775,807", "-9,223,372,036,854,775,808"]
    expected = {**tricky, "list": [[f"{2**62 + 1}n"], None]}
    assert [json.loads(text) for text in read["tricky"]] == [expected, expected]


def test_the_signature_is_the_contracts(page: Page) -> None:
    signed = {"userId": str(UUID(int=7)), "actionId": "a:1", "action": "level_complete", "value": -(2**40),
              "nonce": "0f" * 16, "timestamp": 1795421846123}  # fmt: skip
    made = page.evaluate(
        """async (signed) => (await import("/static/scoreboard.js")).signAction("00ff".repeat(16), signed)""", signed
    )
    message = "\n".join(["v1", *(str(signed[name]) for name in ("userId", "actionId", "action", "value"))])
    message += f"\n{signed['nonce']}\n{signed['timestamp']}"
    assert made == hmac.new(bytes.fromhex("00ff" * 16), message.encode(), hashlib.sha256).hexdigest()


def test_an_action_that_is_not_answered_is_sent_again_and_counts_once(page: Page, visit) -> None:
    """Same action_id, fresh nonce and timestamp, past a cut line, an overload and a limit."""
    visit.forgiven += ["503", "429", "ERR_"]
    page.evaluate(REGISTER)
    bodies: list[dict[str, object]] = []
    times: list[float] = []

    def unreliable(route: Route) -> None:
        bodies.append(route.request.post_data_json)
        times.append(time.monotonic())
        if len(bodies) == 1:
            route.fetch()  # it arrives and is accepted, but nobody learns of it
            route.abort("connectionreset")
        elif len(bodies) == 2:
            route.fulfill(status=503, headers={"Retry-After": "1"}, json={"code": "overloaded", "detail": "Later."})
        elif len(bodies) == 3:
            route.fulfill(status=429, headers={"Retry-After": "1"}, json={"code": "rate_limited", "detail": "Later."})
        else:
            route.continue_()

    page.route(UPDATES, unreliable)
    said = page.evaluate(SUBMIT, {"value": 3, "wait": 10})
    assert said["outcome"]["status"] == "applied"
    assert said["outcome"]["results"][0]["new_score"] == 30
    assert len({body["action_id"] for body in bodies}) == 1
    assert len({body["nonce"] for body in bodies}) == len(bodies) == 4
    assert times[2] - times[1] >= 1
    assert times[3] - times[2] >= 1
    assert said["steps"].count("retrying") == 3
    again = page.evaluate("(id) => scoreboard.outcome(id)", bodies[0]["action_id"])
    assert again["status"] == "applied"


def test_a_refusal_is_not_sent_again(page: Page, visit) -> None:
    visit.forgiven.append("422")
    page.evaluate(REGISTER)
    said = page.evaluate(SUBMIT, {"value": 101})
    assert (said["code"], said["status"]) == ("validation_failed", 422)
    assert said["steps"] == ["signed", "sent"]


def test_an_expired_token_is_renewed_first(page: Page) -> None:
    page.evaluate(REGISTER)
    before = page.evaluate("scoreboard.player.access_token")
    page.evaluate("scoreboard.player.expires_at = Date.now() + 1000")
    outcomes = page.evaluate("""() => Promise.all([1, 2, 3].map((value) =>
      scoreboard.submit("level_complete", { value, wait: 10 })))""")
    assert {outcome["status"] for outcome in outcomes} == {"applied"}
    assert page.evaluate("scoreboard.player.access_token") != before
    assert page.evaluate("kept.length") == 2  # the registration and one renewal for all three


def test_a_spent_refresh_token_is_replaced_by_a_signature(page: Page, visit) -> None:
    """As in a copied tab: the other one has renewed, so that ours is worth nothing."""
    visit.forgiven.append("401")
    page.evaluate(REGISTER)
    page.evaluate("scoreboard.player.refresh_token = scoreboard.player.access_token")
    page.evaluate("scoreboard.player.expires_at = 0")
    assert page.evaluate(SUBMIT, {"wait": 10})["outcome"]["status"] == "applied"


def test_a_refused_token_is_renewed_once(page: Page, visit) -> None:
    visit.forgiven.append("401")
    page.evaluate(REGISTER)
    page.evaluate("scoreboard.player.access_token = 'nonsense'")
    assert page.evaluate(SUBMIT, {"wait": 10})["outcome"]["status"] == "applied"


def test_players_follow_their_own_place_over_the_real_socket(page: Page) -> None:
    page.evaluate(REGISTER)
    page.evaluate("""() => {
      window.seen = { you: [], applied: [], live: false };
      window.board = scoreboard.board("global", {
        top: 5,
        onYou: (you) => seen.you.push(you), onApplied: (outcome) => seen.applied.push(outcome.action_id),
        onState: ({ name }) => { seen.live = name === "live"; },
      });
    }""")
    until(page, "seen.live")
    page.evaluate(
        "(id) => scoreboard.submit('level_complete', { value: 4, wait: 10, actionId: id })", name := token_hex(8)
    )
    until(page, "seen.you.some(({ score }) => score === 40)")
    until(page, "(id) => seen.applied.includes(id)", name)
