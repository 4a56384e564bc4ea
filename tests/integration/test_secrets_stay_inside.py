"""Marked secrets go through the whole running service; whatever it says, writes and keeps is searched for them."""

from __future__ import annotations

import http.client
import json
import time
import urllib.request
from base64 import b64encode
from collections.abc import Callable, Iterator
from secrets import token_hex
from typing import Any
from urllib.parse import urlsplit

import msgspec
import psutil
import psycopg
import pytest
import redis
from websockets.sync.client import connect

from models.accounts.users import Registered
from tests.fixtures.api import wish
from tests.fixtures.live_stack import LiveStack
from tests.fixtures.people import as_json, sign

#: Nobody else in the run has this address.
ADDRESS = "127.0.0.29"
UPDATE = "/api/v1/scores/update"
LOGIN = "operator:a-password-of-flower"


class Visitor:
    """A player's client; `bodies` is all that it was told, but for what it was given to keep."""

    def __init__(self, stack: LiveStack) -> None:
        self._stack = stack
        self.bodies: list[str] = []
        name = f"canary-{token_hex(4)}"
        kept = self.call("POST", "/api/v1/users", {"username": name, "email": f"{name}@example.org"}, keeps=True)
        self.account = Registered(kept["user_id"], name, bytes.fromhex(kept["secret_key"]))
        self.tokens = kept
        #: what must be found nowhere, and in no table but the ledger's
        self.secrets = [kept["secret_key"], kept["access_token"], kept["refresh_token"]]
        self.signed: list[str] = []

    def call(
        self, method: str, path: str, body: Any = None, *, token: str | None = None, keeps: bool = False
    ) -> dict[str, Any]:
        url = urlsplit(self._stack.api_url)
        connection = http.client.HTTPConnection(url.hostname or "", url.port, 15, source_address=(ADDRESS, 0))
        headers = {"Content-Type": "application/json"} | ({"Authorization": f"Bearer {token}"} if token else {})
        data = body if isinstance(body, bytes) else None if body is None else json.dumps(body).encode()
        connection.request(method, path, data, headers)
        answer = connection.getresponse()
        text = answer.read().decode()
        connection.close()
        if not keeps:
            self.bodies.append(f"{answer.headers}\n{text}")
        found: dict[str, Any] = json.loads(text) if text else {}
        return found

    def sign(self, **options: Any) -> bytes:
        update = sign(self.account, **options)
        self.signed += [update.signature, update.nonce]
        return as_json(update)


@pytest.fixture
def flower(live_stack: LiveStack) -> Iterator[Callable[[str], str]]:
    """`flower("/tasks")` is a page of it."""
    live_stack.environ["FLOWER_BASIC_AUTH"] = LOGIN
    live_stack.start("flower")
    headers = {"Authorization": "Basic " + b64encode(LOGIN.encode()).decode()}

    def page(path: str) -> str:
        url = f"http://127.0.0.1:{live_stack.settings.flower_port}{path}"
        with urllib.request.urlopen(urllib.request.Request(url, headers=headers), timeout=10) as answer:
            return str(answer.read().decode())

    def answers() -> bool:
        try:
            return bool(page("/api/workers?refresh=1"))
        except OSError:
            return False

    deadline = time.monotonic() + 40
    while not answers():
        assert time.monotonic() < deadline, live_stack.new_logs()
        time.sleep(0.2)
    yield page
    live_stack.stop("flower")
    del live_stack.environ["FLOWER_BASIC_AUTH"]


def everything_in(url: str) -> str:
    """All keys and values of a Redis database."""
    parts = []
    with redis.Redis.from_url(url) as client:
        for key in client.scan_iter():
            parts += [repr(key), repr(client.dump(key))]
            kind = client.type(key)
            if kind == b"list":
                parts.append(repr(client.lrange(key, 0, -1)))
            elif kind == b"hash":
                parts.append(repr(client.hgetall(key)))
            elif kind == b"string":
                parts.append(repr(client.get(key)))
    return "\n".join(parts)


def everything_kept(database_url: str, table: str) -> str:
    with psycopg.connect(database_url.replace("+psycopg", "")) as connection:
        return "\n".join(row[0] for row in connection.execute(f"SELECT t::text FROM {table} t"))


def played(stack: LiveStack, visitor: Visitor) -> None:
    """All that a player does, right and wrong."""
    access, secrets = visitor.tokens["access_token"], visitor.secrets
    first = visitor.sign(value=2)
    for body in (first, first, visitor.sign(key=b"another's key"), visitor.sign(timestamp=1), b'{"nonce": "'):
        visitor.call("POST", UPDATE, body, token=access)
    visitor.call("POST", UPDATE, first, token=access[:-6] + "AAAAAA")
    visitor.call("POST", UPDATE, first, token="A" * 5000)
    visitor.call("GET", f"/api/v1/scores/me?token={access}", token=access)
    visitor.call("GET", f"/api/v1/{access}")
    visitor.call("POST", "/api/v1/scores/batch", {"updates": [{"nonce": access}]}, token=access)
    visitor.call("POST", "/api/v1/auth/token", wish(visitor.account) | {"signature": secrets[0]})
    pair = visitor.call("POST", "/api/v1/auth/token", wish(visitor.account), keeps=True)
    refreshed = visitor.call("POST", "/api/v1/auth/refresh", token=pair["refresh_token"], keeps=True)
    visitor.call("POST", "/api/v1/auth/refresh", token=pair["refresh_token"])
    ticket = visitor.call("POST", "/api/v1/auth/ticket", token=access, keeps=True)["ticket"]
    secrets += [pair["access_token"], pair["refresh_token"], refreshed["access_token"], ticket]
    with connect(f"{stack.sockets_url}/ws/v1/leaderboards/global") as socket:
        socket.send(json.dumps({"type": "subscribe", "ticket": ticket}))
        for options in ({}, {"key": b"another's key"}):
            update = sign(visitor.account, **options)
            visitor.signed += [update.signature, update.nonce]
            socket.send(json.dumps({"type": "score", **msgspec.to_builtins(update)}))
        deadline = time.monotonic() + 10
        while time.monotonic() < deadline:
            said = str(socket.recv(10))
            visitor.bodies.append(said)
            if '"applied"' in said:
                break
    with connect(f"{stack.sockets_url}/ws/v1/leaderboards/global?token={access}") as socket:
        socket.send(json.dumps({"type": "subscribe", "token": access + "x"}))
    visitor.call("POST", UPDATE, visitor.sign(), token=access)


@pytest.mark.slow
def test_nothing_that_is_secret_is_said_or_written(live_stack: LiveStack, flower: Callable[[str], str]) -> None:
    visitor = Visitor(live_stack)
    played(live_stack, visitor)
    time.sleep(2.5)  # Flower hears of tasks, figures are told once a second, logs are written behind
    secrets = [*visitor.secrets, *(part for token in visitor.secrets if "." in token for part in token.split(".")[1:])]
    said = {
        "answers": "\n".join(visitor.bodies),
        "metrics": urllib.request.urlopen(f"{live_stack.api_url}/metrics", timeout=10).read().decode(),
        "processes": "\n".join(" ".join(process.info["cmdline"] or ()) for process in psutil.process_iter(["cmdline"])),
        "broker": everything_in(live_stack.settings.broker_url.replace("redis+socket://", "unix://").split("?")[0]),
    }
    said |= {f"Flower {path}": flower(path) for path in ("/workers", "/tasks", "/broker", "/api/tasks", "/metrics")}
    said |= {path.name: path.read_text("utf-8", "replace") for path in live_stack.logs()}
    found = [
        (where, what[:12])
        for where, text in said.items()
        for what in [*secrets, *visitor.signed, ADDRESS, LOGIN.partition(":")[2]]
        if what in text
    ]
    # The address is a key of limits in the cache, and beside the update in the ledger; nothing else is.
    kept = {"cache": everything_in(live_stack.settings.redis_url)}
    kept |= {
        table: everything_kept(live_stack.settings.database_url, table)
        for table in ("users", "token_families", "revoked_tokens", "score_history", "inbox_keys", "incidents", "acts")
    }
    found += [(where, what[:12]) for where, text in kept.items() for what in secrets if what in text]
    assert found == []
