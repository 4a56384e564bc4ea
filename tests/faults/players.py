"""The players: forty clients that play, repeat, forge and read while the nemesis works, and write all of it down."""

from __future__ import annotations

import hashlib
import hmac
import http.client
import json
import random
import select
import socket
import threading
import time
from dataclasses import dataclass
from secrets import token_hex
from typing import Any, Final

from tests.faults.ledger import Action, Answer, Ledger
from tests.faults.ways import Ways

#: Beyond the longest answer allowed, so that one that comes too late is seen to be late, not absent.
PATIENCE_SECONDS: Final = 15.0
POINTS: Final = 10
VALUE_MOST: Final = 5
_ACCEPTING: Final = frozenset({200, 202})


@dataclass(slots=True)
class Player:
    """A registered player."""

    username: str
    user_id: str
    key: bytes
    token: str


class Caller:
    """One client's connection to the API; opened anew after anything went wrong."""

    def __init__(self, ways: Ways, ledger: Ledger, turn: int = 0) -> None:
        self._ways = ways
        self._turn = turn
        self._ledger = ledger
        self._connection: http.client.HTTPConnection | None = None
        #: Whether to send once more what met the end of an idle connection, as browsers do (RFC 9112 §9.3.1).
        self.resends = False

    def call(self, method: str, path: str, body: bytes | None = None, headers: dict[str, str] | None = None) -> Answer:
        """Send a request; status 0 when no answer came."""
        sent_at = self._ledger.now()
        try:
            status, received, content = self._exchange(method, path, body, headers or {})
        except (OSError, http.client.HTTPException):
            self.drop()
            return Answer(sent_at, self._ledger.now() - sent_at, 0)
        seconds = self._ledger.now() - sent_at
        answer = json.loads(content) if content and "json" in received.get("Content-Type", "") else {}
        return Answer(
            sent_at,
            seconds,
            status,
            code=str(answer.get("code", "")),
            replayed=received.get("Idempotent-Replayed") == "true",
            retry_after="Retry-After" in received,
            results=tuple(answer.get("results") or ()),
        )

    def call_and_leave(self, path: str, body: bytes, headers: dict[str, str]) -> Answer:
        """Send an update and hang up without waiting for the answer."""
        sent_at = self._ledger.now()
        try:
            connection = self._ways.connect(self._turn, 2.0)
            connection.request("POST", path, body, headers)
            connection.close()
        except OSError:
            pass  # it may have arrived, or not: that is what is being tried
        return Answer(sent_at, self._ledger.now() - sent_at, 0)

    def drop(self) -> None:
        """Let go of the connection."""
        if self._connection is not None:
            self._connection.close()
            self._connection = None

    def _exchange(
        self, method: str, path: str, body: bytes | None, headers: dict[str, str]
    ) -> tuple[int, http.client.HTTPMessage, bytes]:
        if self._connection is not None and _is_stale(self._connection.sock):
            self.drop()
        if self._connection is not None and self.resends:
            try:
                return _ask(self._connection, method, path, body, headers)
            except (ConnectionResetError, BrokenPipeError):  # not one byte came; RemoteDisconnected is among these
                self.drop()
                self._ledger.sent_again()
        if self._connection is None:
            self._connection = self._ways.connect(self._turn, PATIENCE_SECONDS)
        return _ask(self._connection, method, path, body, headers)


def _ask(
    connection: http.client.HTTPConnection, method: str, path: str, body: bytes | None, headers: dict[str, str]
) -> tuple[int, http.client.HTTPMessage, bytes]:
    connection.request(method, path, body, headers)
    answer = connection.getresponse()
    return answer.status, answer.headers, answer.read()


def _is_stale(held: socket.socket | None) -> bool:
    """Whether the other side has closed an idle connection: every client with a pool looks before it sends."""
    return held is not None and bool(select.select([held], [], [], 0)[0])


class Crowd:
    """Threads that play, each for one of fewer players, so that some are hot."""

    def __init__(
        self,
        ways: Ways,
        ledger: Ledger,
        *,
        clients: int,
        users: int,
        per_second: float,
        seed: int,
        clock: float = 0.0,
        service_token: str | None = None,
    ) -> None:
        """`per_second` is each client's rate; `clock` is how far the clients' clocks are ahead, in seconds.

        The service token registers the players where registration is not open.
        """
        self._ways = ways
        self._service_token = service_token
        self._ledger = ledger
        self._pause_seconds = 1.0 / per_second
        self._clock = clock
        self.refusals_expected: frozenset[int] = frozenset()
        self.resending = False  # whether clients send again what met the end of an idle connection
        self.cheating = True  # whether some updates are forged and some repeats contradict what they repeat
        self.hanging_up = 0.01  # how many of those who send an update do not wait for the answer
        self._stopping = threading.Event()
        self.players = [self._register(number) for number in range(users)]
        hot = self.players[: max(1, users // 8)]
        chosen = random.Random(seed)
        self._threads = [
            threading.Thread(
                target=self._play,
                args=(chosen.choice(hot) if client % 3 == 0 else self.players[client % users], client, seed),
                daemon=True,
            )
            for client in range(clients)
        ]

    def start(self) -> None:
        """Begin to play."""
        for thread in self._threads:
            thread.start()

    def stop(self) -> None:
        """Play no more; every call under way is seen through to its end."""
        self._stopping.set()
        for thread in self._threads:
            thread.join(PATIENCE_SECONDS + 5)
            if thread.is_alive():
                self._ledger.complain("a client waits for ever")

    def probe(self, player: Player, action: Action) -> Answer:
        """One update outside the players' own, waited for."""
        self._ledger.opened(action)
        body, headers = self._request(player, action)
        caller = Caller(self._ways, self._ledger)
        answer = caller.call("POST", "/api/v1/scores/update", body, {**headers, "Prefer": "wait=1"})
        caller.drop()
        expected = _ACCEPTING | self.refusals_expected
        self._ledger.answered(answer, to=action, expected=expected, what="probe")
        return answer

    def renew_tokens(self) -> None:
        """Have every player sign in again: an access token holds for a quarter of an hour."""
        for player in self.players:
            nonce, timestamp = token_hex(16), int(time.time() * 1000)
            message = "\n".join(["v1", "token", player.username, nonce, str(timestamp)])
            request = {
                "username": player.username,
                "nonce": nonce,
                "timestamp": timestamp,
                "signature": hmac.new(player.key, message.encode(), hashlib.sha256).hexdigest(),
            }
            player.token = self._ask_once("/api/v1/auth/token", request, 200)["access_token"]

    def board_version(self) -> int:
        """The version of the board as the API tells it now; one that nobody reaches when it cannot be told."""
        try:
            status, content = self._ways.ask("GET", "/api/v1/leaderboards/global?limit=1")
        except (OSError, http.client.HTTPException):
            return 2**63
        return int(content["version"]) if status == 200 else 2**63

    def _register(self, number: int) -> Player:
        name = f"f{number}-{token_hex(5)}"
        content = self._ask_once("/api/v1/users", {"username": name, "email": f"{name}@example.org"}, 201)
        return Player(name, content["user_id"], bytes.fromhex(content["secret_key"]), content["access_token"])

    def _ask_once(self, path: str, request: dict[str, Any], expected: int) -> dict[str, Any]:
        status, content = self._ways.ask("POST", path, request, self._service_token)
        if status != expected:
            raise AssertionError(f"{path} answered {status}: {content}")
        told: dict[str, Any] = content
        return told

    def _play(self, player: Player, client: int, seed: int) -> None:
        dice = random.Random(seed * 1000 + client)
        caller = Caller(self._ways, self._ledger, turn=client)
        mine: list[Action] = []
        while not self._stopping.wait(dice.expovariate(1.0) * self._pause_seconds):
            caller.resends = self.resending
            move = dice.random()
            if move < 0.12 and mine:
                self._repeat(caller, player, dice.choice(mine[-20:]), dice)
            elif move < 0.16 and self.cheating:
                self._send(caller, player, self._new(player, dice, forged=True), dice)
            elif move < 0.18 and mine and self.cheating:
                self._contradict(caller, player, dice.choice(mine[-20:]))
            elif move < 0.24:
                self._read(caller, player, dice)
            else:
                action = self._new(player, dice)
                mine.append(action)
                self._send(caller, player, action, dice)
        caller.drop()

    def _new(self, player: Player, dice: random.Random, *, forged: bool = False) -> Action:
        value = dice.randint(1, VALUE_MOST)
        action = Action(player.user_id, f"f-{token_hex(8)}", value, POINTS * value, forged)
        self._ledger.opened(action)
        return action

    def _send(self, caller: Caller, player: Player, action: Action, dice: random.Random) -> None:
        body, headers = self._request(player, action, forged=action.forged)
        if dice.random() < 0.2:
            headers["Prefer"] = f"wait={dice.choice((1, 2, 5))}"
        if dice.random() < self.hanging_up:
            answer = caller.call_and_leave("/api/v1/scores/update", body, headers)
        else:
            answer = caller.call("POST", "/api/v1/scores/update", body, headers)
        expected = frozenset({403}) if action.forged else _ACCEPTING
        self._note(answer, action, expected, "forged update" if action.forged else "update", dice)

    def _repeat(self, caller: Caller, player: Player, action: Action, dice: random.Random) -> None:
        """The same action, signed afresh as an offline queue does."""
        known = action.verdict == "accepted"
        body, headers = self._request(player, action)
        answer = caller.call("POST", "/api/v1/scores/update", body, headers)
        if known and answer.status in _ACCEPTING and not answer.replayed:
            self._ledger.complain(f"{action.action_id}: accepted a second time")
        self._note(answer, action, _ACCEPTING, "repeat", dice)

    def _contradict(self, caller: Caller, player: Player, action: Action) -> None:
        """The same action_id with another value: a conflict, once it was accepted."""
        if action.verdict != "accepted":
            return
        other = Action(player.user_id, action.action_id, action.value + 1, 0, forged=True)
        body, headers = self._request(player, other)
        answer = caller.call("POST", "/api/v1/scores/update", body, headers)
        self._ledger.answered(answer, to=None, expected=frozenset({409}) | self.refusals_expected, what="contradiction")

    def _read(self, caller: Caller, player: Player, dice: random.Random) -> None:
        path = dice.choice(
            ("/api/v1/leaderboards/global?limit=20", f"/api/v1/leaderboards/global/around/{player.user_id}",
             "/api/v1/scores/me", "/api/v1/scores/me/history?limit=10")
        )  # fmt: skip
        answer = caller.call("GET", path, headers={"Authorization": f"Bearer {player.token}"})
        expected = frozenset({200, 404}) | self.refusals_expected  # who has no score yet is around nobody
        self._ledger.answered(answer, to=None, expected=expected, what=f"read of {path.partition('?')[0]}")

    def _note(self, answer: Answer, action: Action, expected: frozenset[int], what: str, dice: random.Random) -> None:
        if action.forged and answer.status in _ACCEPTING:
            self._ledger.complain(f"{action.action_id}: a forged update was accepted")
        self._ledger.answered(answer, to=action, expected=expected | self.refusals_expected, what=what)
        if answer.status in (0, 429, 503):
            self._stopping.wait(dice.uniform(0.05, 0.3))

    def _request(self, player: Player, action: Action, *, forged: bool = False) -> tuple[bytes, dict[str, str]]:
        timestamp = int((time.time() + self._clock) * 1000)
        nonce = token_hex(16)
        lines = ["v1", player.user_id, action.action_id, "level_complete", str(action.value), nonce, str(timestamp)]
        key = b"somebody else's key of 32 bytes." if forged else player.key
        body: dict[str, Any] = {
            "action_id": action.action_id,
            "action": "level_complete",
            "value": action.value,
            "nonce": nonce,
            "timestamp": timestamp,
            "signature": hmac.new(key, "\n".join(lines).encode(), hashlib.sha256).hexdigest(),
        }
        headers = {"Content-Type": "application/json", "Authorization": f"Bearer {player.token}"}
        return json.dumps(body).encode(), headers
