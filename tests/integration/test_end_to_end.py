"""One update through the real processes: web, broker, worker, Postgres, Redis, and back."""

from __future__ import annotations

import json
import time
import urllib.request
from secrets import token_hex

import redis

from models import names
from models.accounts.users import Registered
from tests.fixtures.live_stack import LiveStack
from tests.fixtures.people import as_json, sign
from worker.presence import SAY_EVERY_SECONDS


def call(stack: LiveStack, path: str, body: bytes | None = None, **headers: str) -> tuple[int, dict[str, object]]:
    headers = {"Content-Type": "application/json", **{name.replace("_", "-"): value for name, value in headers.items()}}
    request = urllib.request.Request(stack.api_url + path, data=body, headers=headers)
    with urllib.request.urlopen(request, timeout=15) as answer:
        return answer.status, json.loads(answer.read())


def newcomer(stack: LiveStack) -> tuple[Registered, str]:
    name = f"live-{token_hex(4)}"
    body = json.dumps({"username": name, "email": f"{name}@example.org"}).encode()
    status, answer = call(stack, "/api/v1/users", body)
    assert status == 201
    player = Registered(str(answer["user_id"]), name, bytes.fromhex(str(answer["secret_key"])))
    return player, f"Bearer {answer['access_token']}"


def test_a_signed_action_is_applied_while_the_player_waits(live_stack: LiveStack) -> None:
    player, token = newcomer(live_stack)
    update = sign(player, value=7)
    status, answer = call(live_stack, "/api/v1/scores/update", as_json(update), Authorization=token, Prefer="wait=10")
    assert status == 200
    assert answer["status"] == "applied"
    [result] = answer["results"]  # type: ignore[misc]
    assert (result["board"], result["previous_score"], result["score_increment"]) == ("global", 0, 70)
    assert result["new_score"] == 70
    assert result["rank"] >= 1
    status, mine = call(live_stack, "/api/v1/scores/me?board=global", Authorization=token)
    assert (status, mine["score"], mine["last_action_id"]) == (200, 70, update.action_id)


def test_an_update_taken_while_no_worker_lives_is_applied_once_one_does(live_stack: LiveStack, eventually) -> None:
    """I1, I7: the sweeper finds what no wake-up survived for."""
    player, token = newcomer(live_stack)
    live_stack.kill("worker")
    try:
        update = sign(player)
        status, answer = call(live_stack, "/api/v1/scores/update", as_json(update), Authorization=token)
        assert (status, answer["status"]) == (202, "queued")
    finally:
        live_stack.start("worker")
    began = time.monotonic()

    def applied() -> bool:
        status_url = f"/api/v1/scores/updates/{update.action_id}"
        return call(live_stack, status_url, Authorization=token)[1]["status"] == "applied"

    eventually(applied, 30)
    assert time.monotonic() - began < 30
    live_stack.wait_ready()


def test_a_worker_that_applies_is_seen_without_ticks_too(live_stack: LiveStack) -> None:
    """A crowd of wake-ups may keep beat's ticks waiting, or a broker lose them; the API is ready all the same."""
    player, token = newcomer(live_stack)
    live_stack.stop("beat")
    try:
        with redis.Redis.from_url(live_stack.settings.redis_url) as cache:
            time.sleep(SAY_EVERY_SECONDS)  # what was said before does not count
            cache.delete(names.seen_key(names.APPLY_QUEUE))
            update = as_json(sign(player))
            assert call(live_stack, "/api/v1/scores/update", update, Authorization=token, Prefer="wait=10")[0] == 200
            assert cache.exists(names.seen_key(names.APPLY_QUEUE))
    finally:
        live_stack.start("beat")
