"""Players put straight into the database, with keys and tokens: a million of them in a minute."""

from __future__ import annotations

import hashlib
import hmac
import os
import random
import time
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import cycle
from pathlib import Path
from typing import Final
from uuid import UUID, uuid4

import jwt
import msgspec
import psycopg
from sqlalchemy.engine import make_url

from models.accounts.keys import KeyCipher
from models.accounts.signing import action_message
from models.settings import Settings
from models.stores import open_stores
from web.identity import OWN_ALGORITHM, PLAYER_AUDIENCE, SERVICE_AUDIENCE

BOARD: Final = "global"
SEASON: Final = 1


@dataclass(frozen=True, slots=True)
class Player:
    """A registered player with a score."""

    user_id: str
    key: bytes
    token: str


def populate(settings: Settings, count: int, *, playing: int | None = None, seed: int = 1) -> list[Player]:
    """Have `count` players with scores on the board; returns those who will play (all, or `playing` of them)."""
    cipher, dice = KeyCipher(settings.encryption_keys), random.Random(seed)
    ids = [str(UUID(bytes=dice.randbytes(16), version=4)) for _ in range(count)]
    keys = [dice.randbytes(32) for _ in ids]
    with connected(settings) as connection, connection.cursor() as cursor:
        with cursor.copy("COPY users (id, username, email, secret_key, secret_key_kid) FROM STDIN") as copy:
            for user_id, key in zip(ids, keys, strict=True):
                sealed = cipher.seal(key, user_id)
                name = user_id[:13]
                copy.write_row((user_id, name, f"{name}@bench.example", sealed.ciphertext, sealed.kid))
        columns = "user_id, board, season, score, version, last_action_id, last_action_at, reached_at"
        with cursor.copy(f"COPY scores ({columns}) FROM STDIN") as copy:
            for user_id in ids:
                row = (user_id, BOARD, SEASON, dice.randrange(1, 1_000_000), 1, "bench", "now", "now")
                copy.write_row(row)
        connection.commit()
        connection.autocommit = True
        cursor.execute("VACUUM ANALYZE users, scores")
    with open_stores(settings) as stores:
        stores.ranking.rebuild(BOARD)
    chosen = dice.sample(range(count), playing or count)
    return [Player(ids[at], keys[at], token_of(settings, ids[at])) for at in chosen]


def connected(settings: Settings) -> psycopg.Connection[tuple[object, ...]]:
    """A connection to the stack's database."""
    url = make_url(settings.database_url).set(drivername="postgresql")
    return psycopg.connect(url.render_as_string(hide_password=False))


def every_id(settings: Settings) -> list[str]:
    """All players' ids, in no order."""
    with connected(settings) as connection:
        ids = [str(row[0]) for row in connection.execute("SELECT id FROM users")]
    random.Random(1).shuffle(ids)
    return ids


def token_of(settings: Settings, user_id: str) -> str:
    """An access token as the service makes them."""
    return _token(settings, sub=user_id, type="access", aud=PLAYER_AUDIENCE)


def service_token(settings: Settings, scope: str) -> str:
    """A game server's token."""
    return _token(settings, sub="bench", type="service", aud=SERVICE_AUDIENCE, scope=scope)


def _token(settings: Settings, **claims: str) -> str:
    now, key = int(time.time()), settings.token_keys[0]
    usual = {"fresh": False, "iat": now, "nbf": now, "exp": now + 900, "iss": settings.token_issuer}
    ids = {"jti": str(uuid4()), "family": str(uuid4())}
    return jwt.encode({**usual, **ids, **claims}, key.secret, OWN_ALGORITHM, {"kid": key.kid})


def signed(player: Player, value: int = 1) -> dict[str, object]:
    """A fresh signed update's members."""
    action_id, nonce, timestamp = os.urandom(12).hex(), os.urandom(16).hex(), int(time.time() * 1000)
    message = action_message(player.user_id, action_id, "level_complete", value, nonce, timestamp)
    return {
        "action_id": action_id,
        "action": "level_complete",
        "value": value,
        "nonce": nonce,
        "timestamp": timestamp,
        "signature": hmac.new(player.key, message, hashlib.sha256).hexdigest(),
    }


def request(method: str, path: str, body: bytes = b"", token: str | None = None) -> bytes:
    """A request's bytes, as a front end's HTTP library sends them."""
    head = f"{method} {path} HTTP/1.1\r\nHost: bench\r\n"
    if token:
        head += f"Authorization: Bearer {token}\r\n"
    if body:
        head += f"Content-Type: application/json\r\nContent-Length: {len(body)}\r\n"
    return (head + "\r\n").encode() + body


def updates(players: Sequence[Player], count: int) -> list[bytes]:
    """Requests with fresh signed updates, each player in turn."""
    encode = msgspec.json.encode
    return [
        request("POST", "/api/v1/scores/update", encode(signed(player)), player.token)
        for at in range(count)
        for player in (players[at % len(players)],)
    ]


def batches(settings: Settings, players: Sequence[Player], count: int, size: int) -> list[bytes]:
    """A game server's requests with `size` fresh updates each, each player in turn."""
    token, encode = service_token(settings, "scores:write"), msgspec.json.encode
    everybody = cycle(player.user_id for player in players)
    requests = []
    for _ in range(count):
        updates = [
            {"user_id": next(everybody), "action_id": os.urandom(12).hex(), "action": "level_complete", "value": 1}
            for _ in range(size)
        ]
        requests.append(request("POST", "/api/v1/scores/batch", encode({"updates": updates}), token))
    return requests


def write(requests: Sequence[bytes], path: Path) -> None:
    """Keep requests for the load generator: the length of each in decimals and a new line before it."""
    with path.open("wb") as file:
        file.writelines(b"%d\n%b" % (len(each), each) for each in requests)
