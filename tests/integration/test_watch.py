"""Who goes over a threshold becomes an incident with evidence, is answered as the rule says, and nobody else is."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import redis
from flask.testing import FlaskClient
from hypothesis import assume, given
from hypothesis import strategies as st

from models.guard import incidents
from models.guard.rules import parse_rules
from models.guard.suspicion import Noted, Subject, Suspicion, faded
from models.guard.watch import (
    EVIDENCE_KEPT,
    REPORT_SECONDS,
    REPORTS_OF_ACCEPTED,
    SPREAD_MOST,
    SUBJECTS_MOST,
    Watch,
    may_matter,
)
from models.settings import Settings
from models.stores import Stores
from tests.fixtures.api import SignedIn
from tests.fixtures.people import as_json, sign

UPDATE = "/api/v1/scores/update"
RULES = """
[rules.forging]
subject = "user"
events = { signature_invalid = 1 }
half_life_seconds = 3600
threshold = 5
answer = "block"
for_seconds = 2

[rules.forged-tokens]
subject = "address"
events = { token_invalid = 1 }
half_life_seconds = 3600
threshold = 5
answer = "alert"

[rules.too-fast]
subject = "user"
events = { "accepted.level_complete" = 1 }
half_life_seconds = 3600
threshold = 100
answer = "quarantine"
"""

DEFAULT_PACE = "half_life_seconds = 60\nthreshold = 1000"


@pytest.fixture
def settings(environment: dict[str, str], tmp_path: Path) -> Settings:
    """With rules that strike soon."""
    rules = tmp_path / "rules.toml"
    rules.write_text(RULES, "utf-8")
    return Settings.from_env({**environment, "RULES_FILE": str(rules)})


def forged(client: FlaskClient, player: SignedIn, **headers: str) -> int:
    """A signature that is wrong, under a right token."""
    body = as_json(sign(player.account, key=b"another"))
    sent = {"Content-Type": "application/json", **player.headers, **headers}
    return client.post(UPDATE, data=body, headers=sent).status_code


def good(client: FlaskClient, player: SignedIn, value: int = 1) -> int:
    body = as_json(sign(player.account, value=value))
    return client.post(UPDATE, data=body, headers={"Content-Type": "application/json", **player.headers}).status_code


@pytest.fixture
def listed(stores: Stores) -> Callable[[], list[incidents.Incident]]:
    """`listed()` are all incidents."""

    def run() -> list[incidents.Incident]:
        with stores.engine.connect() as connection:
            return incidents.listed(connection, open_only=False)

    return run


def test_an_incident_from_the_first_request_to_the_end_of_the_block(
    services, client: FlaskClient, sign_up: Callable[[], SignedIn], listed, eventually
) -> None:
    attacker, other = sign_up(), sign_up()
    for at in range(6):
        assert forged(client, attacker, **{"X-Request-ID": f"forged-{at}"}) == 403
    eventually(lambda: forged(client, attacker) == 403 and listed())
    [incident] = listed()
    assert (incident.rule, incident.subject_kind, incident.subject) == ("forging", "user", attacker.account.user_id)
    assert incident.answer == "block"
    told = [(each["event"], each["request_id"], each["user_id"]) for each in incident.evidence]
    assert told[0] == ("signature_invalid", "forged-0", attacker.account.user_id)
    services.stores.revocations.renew()
    answer = client.post(
        UPDATE, data=as_json(sign(attacker.account)), headers={"Content-Type": "application/json", **attacker.headers}
    )
    assert (answer.status_code, answer.json["code"]) == (403, "user_blocked")
    assert good(client, other) == 202
    eventually(lambda: good(client, attacker) == 202)  # it ends by itself


def test_what_is_sent_in_anothers_name_is_the_addresses(client: FlaskClient, sign_up, listed, eventually) -> None:
    victim = sign_up()
    for at in range(50):  # tokens that name the victim, signed by nobody
        head, payload, _ = victim.access_token.split(".")
        headers = {"Authorization": f"Bearer {head}.{payload}.{'A' * 42}{at % 10}"}
        assert client.post(UPDATE, data=b"{}", headers=headers).json["code"] == "token_invalid"
    eventually(listed)
    [incident] = listed()
    assert (incident.subject_kind, incident.answer) == ("address", "alert")
    assert all("user_id" not in each for each in incident.evidence)
    assert good(client, victim) == 202


def test_who_is_too_fast_is_held_back_and_others_are_not(
    client: FlaskClient, sign_up, drain, query, listed, eventually
) -> None:
    fast, slow = sign_up(), sign_up()
    assert good(client, fast, value=60) == 202
    drain()
    assert good(client, fast, value=60) == 202
    eventually(listed)
    assert good(client, fast, value=7) == good(client, slow, value=7) == 202
    drain()
    scores = dict(query("SELECT user_id::text, score FROM scores"))
    assert scores[slow.account.user_id] == 70
    assert query("SELECT value FROM quarantine ORDER BY accepted_at")[-1:] == [(7,)]


def test_one_subject_fills_one_row_however_long_it_goes_on(stores: Stores, listed) -> None:
    watch = Watch(stores.engine, stores.rules, Suspicion(stores.redis))
    for burst in range(20):
        for _ in range(30):
            watch.note(
                "signature_invalid",
                address="192.0.2.1",
                user_id="0197c1de-0000-7000-8000-000000000001",
                request_id=f"r-{burst}",
            )
        watch.report()
    [incident] = listed()
    assert incident.events == 600
    assert len(incident.evidence) <= incidents.EVIDENCE_MOST + EVIDENCE_KEPT


def test_processes_suspect_together(stores: Stores, listed) -> None:
    somebody = "0197c1de-0000-7000-8000-000000000001"
    one, two = (Watch(stores.engine, stores.rules, Suspicion(stores.redis)) for _ in range(2))
    for process, times in ((one, 4), (two, 3), (one, 2)):
        for _ in range(times):
            process.note("signature_invalid", address=None, user_id=somebody, request_id="r")
        process.report()
        assert len(listed()) == (process is two or times == 2)
    [incident] = listed()
    assert (incident.events, incident.suspicion) == (9, pytest.approx(9, rel=0.01))


def test_too_many_subjects_are_counted_and_not_kept(stores: Stores) -> None:
    watch = Watch(stores.engine, stores.rules, Suspicion(stores.redis))
    unnoted: list[int] = []
    watch.observer = replace(watch.observer, unnoted=unnoted.append)
    for number in range(SUBJECTS_MOST + 7):
        watch.note("token_invalid", address=f"10.{number >> 16}.{number >> 8 & 255}.{number & 255}", request_id="r")
    watch.report()
    assert unnoted == [7]


@given(
    threshold=st.floats(1, 1e6),
    half_life=st.floats(1, 1e5),
    share=st.floats(0.5, 1.0),
    processes=st.integers(1, SPREAD_MOST),
)
def test_nobody_comes_over_a_threshold_by_what_is_not_told(
    threshold: float, half_life: float, share: float, processes: int
) -> None:
    """As fast as goes without being told of, for ever, in as many processes as there may be."""
    [rule, *_] = parse_rules(RULES, source="here").rules
    rule = replace(rule, threshold=threshold, half_life_seconds=half_life)
    seconds = REPORT_SECONDS * REPORTS_OF_ACCEPTED
    weight = share * threshold * (1 - 2 ** (-seconds / half_life)) / SPREAD_MOST
    assume(not may_matter(rule, weight))
    score = 0.0
    for _ in range(200):
        score = faded(score, seconds, half_life) + weight * processes
    assert score < threshold


def test_who_only_plays_is_nobody_to_redis(stores: Stores) -> None:
    rules = parse_rules(RULES.replace("half_life_seconds = 3600\nthreshold = 100", DEFAULT_PACE), source="here")
    those = Watch(stores.engine, rules, Suspicion(stores.redis))
    for _ in range(2):
        those.accepted("level_complete", "0197c1de-0000-7000-8000-000000000001", 1)
    those.accepted("level_complete", "0197c1de-0000-7000-8000-000000000002", 50)
    those.report()
    assert [key.decode()[-1] for key in stores.redis.scan_iter("sb:guard:*")] == ["2"]


def test_a_dry_run_tells_what_it_would_have_done(stores: Stores, listed, query) -> None:
    rules = parse_rules(RULES.replace('answer = "block"', 'answer = "block"\nmode = "dry-run"'), source="here")
    watch = Watch(stores.engine, rules, Suspicion(stores.redis))
    for _ in range(9):
        watch.note("signature_invalid", address=None, user_id="0197c1de-0000-7000-8000-000000000001", request_id="r")
    watch.report()
    assert [incident.answer for incident in listed()] == ["dry-run: block"]
    assert query("SELECT count(*) FROM restrictions") == [(0,)]


def test_suspicion_fades_alike_in_redis_and_here(stores: Stores, monkeypatch: pytest.MonkeyPatch) -> None:
    [rule, *_] = stores.rules.rules
    subject = Subject(replace(rule, half_life_seconds=0.2), "somebody")
    suspicion = Suspicion(stores.redis)
    assert suspicion.add({subject: Noted(4.0, 2)})[subject] == Noted(pytest.approx(4.0), 2)
    time.sleep(0.2)
    assert suspicion.add({subject: Noted(1.0, 1)})[subject] == Noted(pytest.approx(3.0, rel=0.2), 3)
    now = [0.0]
    alone = Suspicion(stores.redis, clock=lambda: now[0])
    monkeypatch.setattr(alone, "_add_in_redis", _away)
    assert alone.add({subject: Noted(4.0, 2)})[subject] == Noted(4.0, 2)
    now[0] = 0.2
    assert alone.add({subject: Noted(1.0, 1)})[subject] == Noted(pytest.approx(3.0), 3)
    assert faded(8.0, 3.0, 1.0) == pytest.approx(1.0)


def _away(*_: Any) -> Any:
    raise redis.ConnectionError
