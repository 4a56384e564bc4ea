"""Ten thousand forged, replayed, altered and stale updates at full speed: only the good ones among them count."""

from __future__ import annotations

import random
import time
from collections import Counter
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import pytest
from flask import Flask
from prometheus_client import REGISTRY

from models.settings import Settings
from tests.fixtures.api import SignedIn
from tests.fixtures.attacks import Tried
from tests.fixtures.people import as_json, sign
from tests.fixtures.served import Line

BAD = 10_000
GOOD = 2_000
CONNECTIONS = 16
UPDATE = "POST /api/v1/scores/update HTTP/1.1\r\nHost: here\r\nContent-Type: application/json\r\n"


@dataclass(frozen=True)
class Sent:
    """A request, the answer it must have (status and code), and what attack it is, if any."""

    data: bytes
    expected: tuple[int, str | None]
    attack: str = ""


@pytest.fixture
def settings(environment: dict[str, str], tmp_path: Path) -> Settings:
    """Without rules, so that every bad one is judged for itself."""
    rules = tmp_path / "rules.toml"
    rules.write_text("", "utf-8")
    return Settings.from_env({**environment, "RULES_FILE": str(rules)})


def request_of(token: str, body: bytes) -> bytes:
    return f"{UPDATE}Authorization: Bearer {token}\r\nContent-Length: {len(body)}\r\n\r\n".encode() + body


def bad_ones(players: list[SignedIn], accepted: list[bytes]) -> list[Sent]:
    """Of each kind as many; what is replayed was accepted before."""
    now = int(time.time() * 1000)
    forged, stale, token = (403, "signature_invalid"), (422, "timestamp_out_of_window"), (401, "token_invalid")
    kinds: list[tuple[str, tuple[int, str], Callable[[SignedIn, SignedIn], bytes]]] = [
        ("signed with another's key", forged, lambda a, b: as_json(sign(a.account, key=b.account.secret_key))),
        ("signed for another", forged, lambda a, b: as_json(sign(b.account))),
        ("value altered", forged, lambda a, b: as_json(sign(a.account), value=9)),
        ("action altered", forged, lambda a, b: as_json(sign(a.account), action="boss_defeated")),
        ("signature invented", forged, lambda a, b: as_json(sign(a.account), signature="0" * 64)),
        ("too old", stale, lambda a, b: as_json(sign(a.account, timestamp=now - 301_000))),
        ("from the future", stale, lambda a, b: as_json(sign(a.account, timestamp=now + 400_000))),
        ("token altered", token, lambda a, b: as_json(sign(a.account))),
    ]
    dice = random.Random(7)
    sent = []
    for number in range(BAD):
        a, b = dice.sample(players, 2)
        if number % 9 == 8:  # a captured request, once more: told what it was told before, and counted no second time
            sent.append(Sent(dice.choice(accepted), (202, None), "updates: captured and sent again"))
            continue
        name, expected, body = kinds[number % len(kinds)]
        bearer = a.access_token[:-4] + "AAAA" if name == "token altered" else a.access_token
        sent.append(Sent(request_of(bearer, body(a, b)), expected, f"updates: {name}"))
    return sent


def refused() -> Counter[str]:
    codes = ("signature_invalid", "timestamp_out_of_window", "token_invalid", "nonce_reused", "action_id_conflict")
    return Counter({c: REGISTRY.get_sample_value("scoreboard_refused_total", {"code": c}) or 0 for c in codes})


def test_none_of_the_bad_changes_anything(
    api: Flask, connect: Callable[[], Line], sign_up: Callable[[], SignedIn], drain, query, eventually, tried: Tried
) -> None:
    players = [sign_up() for _ in range(20)]
    first = [as_json(sign(player.account, f"first-{at}")) for at, player in enumerate(players)]
    accepted = [request_of(player.access_token, body) for player, body in zip(players, first, strict=True)]
    line = connect()
    for data in accepted:
        line.send(data)
        assert line.answer().status == 202
    good = [
        Sent(request_of(p.access_token, as_json(sign(p.account, f"good-{at}"))), (202, None))
        for at in range(GOOD // len(players))
        for p in players
    ]
    everything = [*good, *bad_ones(players, accepted)]
    random.Random(11).shuffle(everything)
    before = refused()

    def play(share: list[Sent]) -> Counter[tuple[int, str | None]]:
        mine, told = connect(), Counter[tuple[int, str | None]]()
        for sent in share:
            mine.send(sent.data)
            answer = mine.answer()
            got = answer.status, answer.document.get("code")
            assert got == sent.expected, (got, sent)
            told[got] += 1
        return told

    with ThreadPoolExecutor(CONNECTIONS) as pool:
        told = sum(pool.map(play, [everything[at::CONNECTIONS] for at in range(CONNECTIONS)]), Counter())
    while drain().applied:
        pass
    assert query("SELECT count(*), count(DISTINCT (user_id, action_id)) FROM score_history") == [
        (GOOD + len(players), GOOD + len(players))
    ]
    assert query("SELECT DISTINCT score FROM scores WHERE board = 'global'") == [((GOOD // len(players) + 1) * 10,)]
    for attack, times in Counter(sent.attack for sent in everything if sent.attack).items():
        tried(attack, times=times)
    codes = Counter({code: count for (_, code), count in told.items() if code})
    assert sum(codes.values()) + told[(202, None)] == BAD + GOOD
    eventually(lambda: refused() - before == codes)  # every one of them is in the metrics
