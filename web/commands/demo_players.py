"""Players who play: sign actions and POST them as a front end does, with retries by the same action_id."""

from __future__ import annotations

import http.client
import random
import secrets
import time
from dataclasses import dataclass
from typing import Final
from urllib.parse import urlsplit

import msgspec

from models.accounts import signing
from models.stores import Stores
from web.identity import Identity

_FIRST: Final = (
    "amber",
    "brave",
    "calm",
    "clever",
    "crimson",
    "daring",
    "eager",
    "fleet",
    "gentle",
    "golden",
    "happy",
    "ivory",
    "jolly",
    "keen",
    "lucky",
    "merry",
    "noble",
    "opal",
    "proud",
    "quick",
    "royal",
    "silver",
    "swift",
    "teal",
    "witty",
)
_SECOND: Final = (
    "badger",
    "bison",
    "comet",
    "crane",
    "dolphin",
    "falcon",
    "fox",
    "gecko",
    "heron",
    "ibex",
    "jaguar",
    "kite",
    "lynx",
    "marten",
    "newt",
    "otter",
    "panda",
    "raven",
    "seal",
    "tiger",
    "urchin",
    "viper",
    "walrus",
    "yak",
    "zebra",
)
REQUEST_SECONDS: Final = 15.0
TRIES_MOST: Final = 60


@dataclass(slots=True)
class Player:
    """A demo player with all that signing needs."""

    username: str
    user_id: str
    secret_key: bytes
    token: str
    source_address: str


def name_of(number: int) -> str:
    """A name people can tell apart; the same for the same number."""
    pair, round_ = number % (len(_FIRST) * len(_SECOND)), number // (len(_FIRST) * len(_SECOND))
    return f"{_FIRST[pair % len(_FIRST)]}-{_SECOND[(pair // len(_FIRST) + pair) % len(_SECOND)]}" + (
        f"-{round_ + 1}" if round_ else ""
    )


def gather(stores: Stores, identity: Identity, count: int) -> list[Player]:
    """The demo's players, registered when they are not there yet.

    Each gets an address of its own in 127.0.0.0/8, so that the limit per address counts each as a household.
    """
    players = []
    for number in range(count):
        username = name_of(number)
        user = stores.users.find(username)
        if user is None:
            with stores.engine.begin() as connection:
                user_id = stores.users.register(connection, username, f"{username}@demo.example").user_id
        else:
            user_id = user.user_id
        players.append(
            Player(
                username,
                user_id,
                stores.users.secret_key(user_id),
                identity.issue(user_id).access_token,
                f"127.{1 + number // 62_500}.{(number // 250) % 250}.{1 + number % 250}",
            )
        )
    return players


class Seat:
    """One player's connection to the API."""

    def __init__(self, api_url: str, identity: Identity, player: Player) -> None:
        target = urlsplit(api_url)
        self._host, self._port = target.hostname or "127.0.0.1", target.port
        self._line = http.client.HTTPSConnection if target.scheme == "https" else http.client.HTTPConnection
        self._identity = identity
        self._player = player
        self._connection: http.client.HTTPConnection | None = None

    @property
    def user_id(self) -> str:
        """Who plays here."""
        return self._player.user_id

    def play(self, action_id: str, action: str, value: int) -> bool:
        """Do an action and have it accepted, however often that must be tried; False when it never was."""
        player = self._player
        for attempt in range(TRIES_MOST):
            nonce, timestamp = secrets.token_hex(16), int(time.time() * 1000)
            message = signing.action_message(player.user_id, action_id, action, value, nonce, timestamp)
            body = msgspec.json.encode(
                {
                    "action_id": action_id,
                    "action": action,
                    "value": value,
                    "nonce": nonce,
                    "timestamp": timestamp,
                    "signature": signing.sign(player.secret_key, message),
                }
            )
            status, retry_after = self._post(body)
            if status in (200, 202):
                return True
            if status == 401:
                player.token = self._identity.issue(player.user_id).access_token
            elif status not in (0, 429) and status < 500:
                return False
            time.sleep(min(retry_after, 0.05 * 2 ** min(attempt, 6)) * random.uniform(0.5, 1.0))  # noqa: S311
        return False

    def leave(self) -> None:
        """Close the connection."""
        if self._connection is not None:
            self._connection.close()
            self._connection = None

    def _post(self, body: bytes) -> tuple[int, float]:
        """Status (0 when there was no answer) and the seconds the server asks to wait."""
        try:
            if self._connection is None:
                self._connection = self._line(
                    self._host,
                    self._port,
                    timeout=REQUEST_SECONDS,
                    source_address=(self._player.source_address, 0) if self._host.startswith("127.") else None,
                )
            headers = {"Content-Type": "application/json", "Authorization": f"Bearer {self._player.token}"}
            self._connection.request("POST", "/api/v1/scores/update", body, headers)
            response = self._connection.getresponse()
            response.read()
            return response.status, float(response.headers.get("Retry-After") or 1)
        except (OSError, http.client.HTTPException):
            self.leave()
            return 0, 1.0
