"""Revoked and blocked are refused by every process within a second, and nobody passes unchecked (I10)."""

from __future__ import annotations

import time
from collections.abc import Callable
from uuid import uuid4

import pytest
from sqlalchemy.exc import OperationalError

from models.accounts import revocation, tokens
from models.accounts.revocation import Revocations
from models.accounts.tokens import Claims
from models.errors import NotReady, ScoreboardError, TokenRevoked, UserBlocked
from models.guard.desk import Why
from models.settings import Settings
from models.stores import Stores
from tests.fixtures.own_postgres import OwnPostgres
from tests.fixtures.people import register
from tests.fixtures.threads import at_once

WHY = Why("tests", "a test")

FAR = 4_000_000_000


def claims(user_id: str = "", family: str = "") -> Claims:
    return Claims(user_id or str(uuid4()), str(uuid4()), family or str(uuid4()), "access", frozenset(), FAR)


def refused(check: Callable[..., None], of: object) -> bool:
    try:
        check(of)
    except ScoreboardError:
        return True
    return False


@pytest.fixture
def elsewhere(open_process: Callable[[], Stores]) -> Stores:
    """Another process, whose replica is kept fresh as in the service."""
    other = open_process()
    other.revocations.start()
    other.revocations.refuse_if_revoked(claims())
    return other


def seconds_until(condition: Callable[[], bool], eventually: Callable[..., object]) -> float:
    began = time.monotonic()
    eventually(condition)
    return time.monotonic() - began


def test_a_revoked_token_is_refused_in_another_process_within_a_second(stores, elsewhere, eventually) -> None:
    token = claims()
    elsewhere.revocations.refuse_if_revoked(token)
    stores.sign_in.revoke(token.jti, reason="test")
    assert seconds_until(lambda: refused(elsewhere.revocations.refuse_if_revoked, token), eventually) < 1
    with pytest.raises(TokenRevoked):
        stores.revocations.refuse_if_revoked(token)


def test_a_revoked_family_refuses_every_token_of_it_and_no_other(stores, elsewhere, eventually) -> None:
    family = str(uuid4())
    old, other = claims(family=family), claims()
    stores.sign_in.revoke(family, reason="test")
    assert seconds_until(lambda: refused(elsewhere.revocations.refuse_if_revoked, old), eventually) < 1
    with pytest.raises(TokenRevoked):
        elsewhere.revocations.refuse_if_revoked(claims(family=family))
    elsewhere.revocations.refuse_if_revoked(other)


def test_a_blocked_player_is_refused_in_another_process_within_a_second_and_may_come_back(
    stores, elsewhere, players, eventually
) -> None:
    blocked, other = players(2)

    def block(yes: bool) -> None:
        if yes:
            stores.desk.restrict("user", blocked.username.upper(), "block", WHY)
        else:
            stores.desk.lift("user", blocked.username.upper(), "block", WHY)

    block(True)
    assert seconds_until(lambda: refused(elsewhere.revocations.refuse_if_blocked, blocked.user_id), eventually) < 1
    with pytest.raises(UserBlocked):
        elsewhere.revocations.refuse_if_blocked(blocked.user_id)
    elsewhere.revocations.refuse_if_blocked(other.user_id)
    block(False)
    assert seconds_until(lambda: not refused(elsewhere.revocations.refuse_if_blocked, blocked.user_id), eventually) < 1


def test_a_revocation_whose_transaction_was_long_is_not_missed(stores, elsewhere, eventually) -> None:
    """It becomes visible at its commit, later than the time written in it."""
    token = claims()
    with stores.engine.begin() as connection:
        tokens.revoke(connection, token.jti, reason="test", expires_at=FAR)
        time.sleep(0.6)  # two polls of the other process pass by
        elsewhere.revocations.refuse_if_revoked(token)
    assert seconds_until(lambda: refused(elsewhere.revocations.refuse_if_revoked, token), eventually) < 1


def test_revocations_need_no_redis(environment, open_process) -> None:
    stores = open_process(Settings.from_env({**environment, "REDIS_URL": "unix:///nobody-is-here"}))
    token = claims()
    stores.sign_in.revoke(token.jti, reason="test")
    with pytest.raises(TokenRevoked):
        stores.revocations.refuse_if_revoked(token)


def test_an_emptied_redis_revives_nothing(stores, open_process) -> None:
    token = claims()
    stores.sign_in.revoke(token.jti, reason="test")
    stores.redis.flushdb()
    for process in (stores, open_process()):
        with pytest.raises(TokenRevoked):
            process.revocations.refuse_if_revoked(token)


def test_a_process_that_just_started_knows_what_was_revoked_before(stores, open_process) -> None:
    token = claims()
    stores.sign_in.revoke(token.jti, reason="test")
    fresh = open_process()
    fresh.revocations.start()
    with pytest.raises(TokenRevoked):
        fresh.revocations.refuse_if_revoked(token)


def test_a_revocation_stays_known_over_every_kind_of_reading(stores, query, monkeypatch) -> None:
    """Older than the overlap, and read anew in whole."""
    token = claims()
    stores.sign_in.revoke(token.jti, reason="test")
    query("UPDATE revoked_tokens SET revoked_at = revoked_at - interval '1 hour'")
    stores.revocations.renew()
    with pytest.raises(TokenRevoked):
        stores.revocations.refuse_if_revoked(token)
    monkeypatch.setattr(revocation, "RELOAD_SECONDS", 0.0)
    stores.revocations.renew()
    with pytest.raises(TokenRevoked):
        stores.revocations.refuse_if_revoked(token)


def test_a_check_of_a_fresh_replica_asks_nobody(stores, monkeypatch) -> None:
    stores.revocations.renew()
    monkeypatch.setattr(Revocations, "_read", lambda self: pytest.fail("asked Postgres"))
    stores.revocations.refuse_if_revoked(claims())
    stores.revocations.refuse_if_blocked(str(uuid4()))


def test_a_stale_replica_is_not_believed_and_never_fails_open(stores, monkeypatch) -> None:
    stores.revocations.renew()
    monkeypatch.setattr(revocation, "BELIEVED_SECONDS", 0.0)
    reads = []

    def away(self: Revocations) -> None:
        reads.append(1)
        raise OperationalError("SELECT", {}, Exception("away"))

    monkeypatch.setattr(Revocations, "_read", away)
    for check, of in (
        (stores.revocations.refuse_if_revoked, claims()),
        (stores.revocations.refuse_if_blocked, str(uuid4())),
    ):
        with pytest.raises(NotReady) as refusal:
            check(of)  # type: ignore[operator]
        assert refusal.value.retry_after_seconds == 1
    assert len(reads) == 2


def test_while_postgres_does_not_answer_nobody_waits_for_more_than_one_look_at_it(stores, monkeypatch) -> None:
    """I8: the looks of twenty requests do not add up."""
    looks = []

    def slow(self: Revocations) -> None:
        looks.append(1)
        time.sleep(0.2)
        raise OperationalError("SELECT", {}, Exception("no answer"))

    monkeypatch.setattr(Revocations, "_read_from_postgres", slow)
    answers = at_once([lambda: stores.revocations.refuse_if_revoked(claims()) for _ in range(20)])
    assert {type(answer) for answer in answers} == {NotReady}
    assert len(looks) <= 2


def test_with_postgres_stopped_every_check_says_not_ready_and_then_recovers(
    own_postgres: OwnPostgres, open_process, settings_on_own_postgres, eventually
) -> None:
    stores = open_process(settings_on_own_postgres)
    stores.revocations.start()
    [player] = register(stores, 1)
    known, unknown = claims(), claims()
    stores.sign_in.revoke(known.jti, reason="test")
    own_postgres.stop()

    def answers() -> set[type]:
        asked = [known, unknown] * 5
        return {type(a) for a in at_once([lambda c=c: stores.revocations.refuse_if_revoked(c) for c in asked])}

    assert seconds_until(lambda: answers() == {NotReady}, eventually) < 3
    with pytest.raises(NotReady):
        stores.revocations.refuse_if_blocked(player.user_id)
    own_postgres.start()
    eventually(lambda: not refused(stores.revocations.refuse_if_revoked, unknown))
    with pytest.raises(TokenRevoked):
        stores.revocations.refuse_if_revoked(known)


class TestFamilies:
    """RFC 9700 §4.14.2: each refresh token works once; a second use ends its family."""

    @pytest.fixture
    def family(self, stores: Stores, player) -> Claims:
        """The first refresh token of a sign-in."""
        token = Claims(player.user_id, str(uuid4()), str(uuid4()), "refresh", frozenset(), FAR)
        stores.sign_in.start(
            family=token.family, user_id=player.user_id, refresh_jti=token.jti, expires_at=token.expires_at
        )
        return token

    def next_of(self, token: Claims) -> Claims:
        return Claims(token.subject, str(uuid4()), token.family, "refresh", frozenset(), FAR)

    def test_each_refresh_token_leads_to_the_next(self, stores, family) -> None:
        token = family
        for _ in range(3):
            following = self.next_of(token)
            stores.sign_in.refresh(token, next_jti=following.jti, expires_at=FAR)
            token = following
        stores.revocations.refuse_if_revoked(token)

    def test_a_spent_one_revokes_the_whole_family_everywhere(self, stores, family, elsewhere, eventually) -> None:
        following = self.next_of(family)
        stores.sign_in.refresh(family, next_jti=following.jti, expires_at=FAR)
        with pytest.raises(TokenRevoked):
            stores.sign_in.refresh(family, next_jti=str(uuid4()), expires_at=FAR)
        with pytest.raises(TokenRevoked):
            stores.revocations.refuse_if_revoked(following)
        assert seconds_until(lambda: refused(elsewhere.revocations.refuse_if_revoked, following), eventually) < 1

    def test_of_twenty_at_once_with_one_token_one_wins(self, open_process, family) -> None:
        processes = [open_process(), open_process()]
        answers = at_once(
            [
                lambda n=n: processes[n % 2].sign_in.refresh(family, next_jti=str(uuid4()), expires_at=FAR)
                for n in range(20)
            ]
        )
        assert [type(answer) for answer in answers if answer is not None] == [TokenRevoked] * 19

    def test_families_are_apart(self, stores, player, family) -> None:
        other = Claims(player.user_id, str(uuid4()), str(uuid4()), "refresh", frozenset(), FAR)
        stores.sign_in.start(family=other.family, user_id=player.user_id, refresh_jti=other.jti, expires_at=FAR)
        with pytest.raises(TokenRevoked):
            stores.sign_in.refresh(self.next_of(family), next_jti=str(uuid4()), expires_at=FAR)
        stores.sign_in.refresh(other, next_jti=str(uuid4()), expires_at=FAR)

    def test_what_has_expired_is_forgotten_and_what_has_not_is_kept(self, stores, family, query) -> None:
        stores.sign_in.revoke(str(uuid4()), reason="test")
        with stores.engine.begin() as connection:
            assert tokens.forget_families(connection, 10) == tokens.forget_revocations(connection, 10) == 0
        query("UPDATE token_families SET expires_at = now() - interval '2 minutes'")
        query("UPDATE revoked_tokens SET expires_at = now() - interval '2 minutes'")
        with stores.engine.begin() as connection:
            assert tokens.forget_families(connection, 10) == tokens.forget_revocations(connection, 10) == 1
