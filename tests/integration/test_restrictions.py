"""Blocks, throttles and quarantines hold everywhere within a second, and end by themselves or when lifted (I10)."""

from __future__ import annotations

import time
from collections.abc import Callable

import pytest
from flask.testing import FlaskClient

from models.accounts import restrictions
from models.errors import Forbidden, NotFound, UserBlocked, ValidationFailed
from models.guard.desk import Why
from models.pipeline import ledger
from models.stores import Stores
from tests.fixtures.people import server_update
from web.commands import install_commands

WHY = Why("ada", "a test")


def refused(check: Callable[[str], None], subject: str) -> bool:
    try:
        check(subject)
    except (UserBlocked, Forbidden):
        return True
    return False


def seconds_until(true: Callable[[], bool]) -> float:
    started = time.monotonic()
    while not true():
        assert time.monotonic() - started < 5
        time.sleep(0.01)
    return time.monotonic() - started


@pytest.fixture
def elsewhere(open_process: Callable[..., Stores]) -> Stores:
    """Another process of the service."""
    other = open_process()
    other.revocations.start()
    other.revocations.renew()
    return other


def test_a_block_holds_elsewhere_within_a_second_and_ends_by_itself(stores: Stores, elsewhere: Stores, players) -> None:
    blocked, other = players(2)
    check = elsewhere.revocations.refuse_if_blocked
    stores.desk.restrict("user", blocked.username.upper(), "block", WHY, seconds=2)
    assert seconds_until(lambda: refused(check, blocked.user_id)) < 1
    check(other.user_id)
    assert 1 < seconds_until(lambda: not refused(check, blocked.user_id)) < 3


def test_the_later_end_stands(stores: Stores, players, query) -> None:
    [player] = players(1)
    for seconds in (600, 60):
        stores.desk.restrict("user", player.username, "block", WHY, seconds=seconds)
    [(left,)] = query("SELECT extract(epoch FROM ends_at - now())::float8 FROM restrictions")
    assert 590 < left < 601
    stores.desk.restrict("user", player.username, "block", WHY)
    stores.desk.restrict("user", player.username, "block", WHY, seconds=60)
    assert query("SELECT ends_at, count(*) OVER () FROM restrictions") == [(None, 1)]
    stores.desk.lift("user", player.username, "block", WHY)
    with pytest.raises(NotFound):
        stores.desk.lift("user", player.username, "block", WHY)
    stores.revocations.refuse_if_blocked(player.user_id)


@pytest.mark.parametrize(
    ("blocked", "inside", "outside"),
    [
        ("192.0.2.7", "192.0.2.7", "192.0.2.8"),
        ("192.0.2.0/24", "192.0.2.200", "192.0.3.1"),
        ("2001:db8:1:2::9", "2001:db8:1:2:ffff::1", "2001:db8:1:3::9"),
        ("2001:db8::/32", "2001:db8:ffff::1", "2001:db9::1"),
    ],
)
def test_an_address_or_a_network_is_blocked(
    stores: Stores, elsewhere: Stores, blocked: str, inside: str, outside: str
) -> None:
    check = elsewhere.revocations.refuse_if_address_is_blocked
    stores.desk.restrict("address", blocked, "block", WHY)
    assert seconds_until(lambda: refused(check, inside)) < 1
    check(outside)
    check("unknown")
    stores.desk.lift("address", blocked, "block", WHY)
    assert seconds_until(lambda: not refused(check, inside)) < 1


def test_what_is_no_address_is_refused(stores: Stores) -> None:
    with pytest.raises(ValidationFailed):
        stores.desk.restrict("address", "everywhere", "block", WHY)
    with pytest.raises(NotFound):
        stores.desk.restrict("user", "nobody-of-that-name", "block", WHY)


def test_a_blocked_address_is_told_so(client: FlaskClient, services, sign_up) -> None:
    player = sign_up()
    services.stores.desk.restrict("address", "127.0.0.1", "block", WHY)
    for answer in (
        client.get("/api/v1/scores/me", headers=player.headers),
        client.post("/api/v1/scores/update", json={}, headers=player.headers),
        client.post("/api/v1/auth/token", json={}),
    ):
        assert (answer.status_code, answer.json["code"]) == (403, "forbidden")
    assert client.get("/healthz").status_code == 200
    services.stores.desk.lift("address", "127.0.0.1", "block", WHY)
    assert client.get("/api/v1/scores/me", headers=player.headers).status_code == 200


def test_who_is_throttled_has_a_limit_of_their_own(client: FlaskClient, services, sign_up) -> None:
    slow, other = sign_up(), sign_up()
    services.stores.desk.restrict("user", slow.account.username, "throttle", WHY, throttle_to="2/hour")
    codes = [client.post("/api/v1/auth/logout", headers=slow.headers).status_code for _ in range(1)]
    answers = [client.post("/api/v1/scores/update", json={}, headers=other.headers).status_code for _ in range(5)]
    assert 429 not in answers
    assert codes == [204]


@pytest.mark.parametrize(
    ("kind", "subject", "options", "fault"),
    [
        ("quarantine", "192.0.2.1", {}, "only a user"),
        ("throttle", "192.0.2.1", {}, "belongs to a throttle"),
        ("throttle", "192.0.2.1", {"throttle_to": "often"}, "must look like"),
        ("throttle", "192.0.2.1", {"throttle_to": "0/second"}, "must look like"),
        ("block", "192.0.2.1", {"throttle_to": "1/second"}, "belongs to a throttle"),
        ("block", "nowhere", {}, "neither an address nor a network"),
    ],
)
def test_what_is_no_restriction_is_refused(api, stores: Stores, query, kind, subject, options, fault) -> None:
    """By the commands as by the API: a quarantine of an address, or a limit that does not read, would stop others."""
    with pytest.raises(ValidationFailed):
        stores.desk.restrict("address", subject, kind, WHY, **options)
    install_commands(api)
    command = ["blocks", "add", "address", subject, "--kind", kind, "--reason", "x"]
    limit = ["--to", options["throttle_to"]] if options else []
    said = api.test_cli_runner().invoke(args=command + limit)
    assert said.exit_code == 1
    assert fault in said.output
    assert query("SELECT count(*) FROM restrictions") == query("SELECT count(*) FROM acts") == [(0,)]


def test_quarantine_holds_back_and_releases_in_order(stores: Stores, players, submit_batch, drain, query) -> None:
    held, other = players(2)
    stores.desk.restrict("user", held.username, "quarantine", WHY)
    for at in range(3):
        submit_batch([server_update(held, action_id=f"h-{at}", value=at + 1), server_update(other)])
    drained = drain()
    assert (drained.applied, drained.held) == (3, 3)
    assert query("SELECT count(*) FROM scores WHERE user_id = :id", id=held.user_id) == [(0,)]
    submit_batch([server_update(held, action_id="h-3", value=4)])  # waits in the inbox as the release comes
    assert stores.desk.release(held.username, WHY)[0] == 4
    drain()
    assert query("SELECT action_id FROM score_history WHERE user_id = :id ORDER BY version", id=held.user_id) == [
        (f"h-{at}",) for at in range(4)
    ]
    assert query("SELECT count(*) FROM quarantine") == [(0,)]
    submit_batch([server_update(held)])
    assert drain().held == 0


def test_what_is_rejected_never_counts_and_is_told_so(stores: Stores, players, submit_batch, drain, query) -> None:
    [held] = players(1)
    stores.desk.restrict("user", held.username, "quarantine", WHY)
    submit_batch([server_update(held, action_id="bad")])
    drain()
    with stores.engine.connect() as connection:
        outcome = ledger.outcome(connection, held.user_id, "bad")
    assert outcome is not None
    assert outcome.status == "queued"
    assert stores.desk.reject(held.username, WHY) == 1
    with stores.engine.connect() as connection:
        outcome = ledger.outcome(connection, held.user_id, "bad")
    assert outcome is not None
    assert (outcome.status, outcome.code) == ("rejected", "rejected_by_operator")
    with stores.engine.connect() as connection:
        assert [r.kind for r in restrictions.standing(connection)] == ["quarantine"]
