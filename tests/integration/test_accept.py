"""Accepting: one row, one true answer, whatever is repeated, raced, cut off or in doubt (I1, I2, I9)."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable
from secrets import token_hex
from uuid import uuid4

import msgspec
import psycopg
import pytest
from sqlalchemy.exc import OperationalError
from structlog.testing import capture_logs

from models.accounts.users import Registered
from models.errors import (
    ActionIdConflict,
    ActionUnknown,
    NonceReused,
    NotFound,
    Overloaded,
    QueueUnavailable,
    RateLimited,
    ScoreboardError,
    SignatureInvalid,
    TimestampOutOfWindow,
    TokenInvalid,
    ValidationFailed,
)
from models.pipeline import inbox_writer, pressure
from models.pipeline.accept import ServerUpdate
from models.pipeline.inbox_writer import Receipt
from models.pipeline.updates import SignedUpdate
from models.settings import Settings
from models.stores import Stores
from tests.fixtures.own_postgres import OwnPostgres
from tests.fixtures.people import register, server_update, sign
from tests.fixtures.threads import at_once

ADDRESS = "192.0.2.7"


def take(stores: Stores, player: Registered, update: SignedUpdate) -> Receipt:
    return stores.acceptor.accept(player.user_id, update, address=ADDRESS, request_id="r-1")


def changed(update: SignedUpdate, **members: object) -> SignedUpdate:
    return msgspec.structs.replace(update, **members)


def test_an_accepted_update_is_a_committed_row_with_all_that_was_signed(stores, player, raw) -> None:
    """I1: another connection sees it as soon as accept returns."""
    update = sign(player, "a-1", value=7)
    assert take(stores, player, update) == Receipt("a-1", replayed=False, shard=0)
    [row] = raw.execute(
        "SELECT user_id::text, action_id, action, value, nonce, encode(signature, 'hex'), host(ip_address), request_id,"
        " attempts FROM inbox"
    ).fetchall()
    assert row == (player.user_id, "a-1", "level_complete", 7, update.nonce, update.signature, ADDRESS, "r-1", 0)


def test_fifty_equal_requests_at_once_are_one_row_and_one_answer_is_new(open_process, player, query) -> None:
    """I2, over two processes."""
    processes = [open_process(), open_process()]
    update = sign(player)
    answers = at_once([lambda n=n: take(processes[n % 2], player, update) for n in range(50)])
    assert Counter(answer.replayed for answer in answers) == {False: 1, True: 49}
    assert query("SELECT count(*) FROM inbox") == query("SELECT count(*) FROM inbox_keys") == [(1,)]


def test_fifty_requests_signed_afresh_for_one_action_are_one_row(open_process, player, query) -> None:
    processes = [open_process(), open_process()]
    answers = at_once([lambda n=n: take(processes[n % 2], player, sign(player, "a-1")) for n in range(50)])
    assert Counter(answer.replayed for answer in answers) == {False: 1, True: 49}
    assert query("SELECT count(*) FROM inbox") == [(1,)]


def test_one_nonce_raced_for_fifty_actions_is_spent_once(open_process, player, query) -> None:
    processes = [open_process(), open_process()]
    nonce = token_hex(16)
    updates = [sign(player, f"a-{n}", nonce=nonce) for n in range(50)]
    answers = at_once([lambda n=n, u=u: take(processes[n % 2], player, u) for n, u in enumerate(updates)])
    assert Counter(type(answer) for answer in answers) == {Receipt: 1, NonceReused: 49}
    assert query("SELECT count(*) FROM inbox") == [(1,)]


def test_one_id_raced_for_two_values_goes_to_one_of_them(open_process, player, query) -> None:
    processes = [open_process(), open_process()]
    answers = at_once(
        [lambda n=n: take(processes[n % 2], player, sign(player, "a-1", value=1 + n % 3)) for n in range(30)]
    )
    [(value,)] = query("SELECT value FROM inbox")
    for number, answer in enumerate(answers):
        expected = Receipt if 1 + number % 3 == value else ActionIdConflict
        assert isinstance(answer, expected)


def test_a_repeat_is_answered_as_one_at_any_later_time(stores, player, drain, contents) -> None:
    update = sign(player, "a-1")
    first = take(stores, player, update)
    drain()
    before = contents()
    assert take(stores, player, update) == first._replace(replayed=True)
    assert take(stores, player, sign(player, "a-1")) == first._replace(replayed=True)
    assert contents() == before


def test_ids_and_nonces_are_each_players_own(stores, players, query) -> None:
    nonce = token_hex(16)
    for player in players(3):
        assert not take(stores, player, sign(player, "a-1", nonce=nonce)).replayed
    assert query("SELECT count(*) FROM inbox") == [(3,)]


def test_a_nonce_in_capitals_is_the_same_nonce(stores, player) -> None:
    take(stores, player, sign(player, nonce="abcdef0123456789"))
    with pytest.raises(NonceReused):
        take(stores, player, sign(player, nonce="ABCDEF0123456789"))


def refusals(player: Registered, other: Registered, taken: SignedUpdate) -> dict[str, tuple[SignedUpdate, type]]:
    now = int(time.time() * 1000)
    fresh = sign(player)
    return {
        "too old": (sign(player, timestamp=now - 310_000), TimestampOutOfWindow),
        "from the future": (sign(player, timestamp=now + 310_000), TimestampOutOfWindow),
        "signed by another player": (sign(player, key=other.secret_key), SignatureInvalid),
        "for another player": (sign(other), SignatureInvalid),
        "another action_id": (changed(fresh, action_id="other"), SignatureInvalid),
        "another value": (changed(fresh, value=2), SignatureInvalid),
        "another nonce": (changed(fresh, nonce="0" * 32), SignatureInvalid),
        "another timestamp": (changed(fresh, timestamp=now - 5), SignatureInvalid),
        "another action": (changed(fresh, action="penalty"), SignatureInvalid),
        "a signature of zeros": (changed(fresh, signature="0" * 64), SignatureInvalid),
        "an action nobody knows": (sign(player, action="fly"), ActionUnknown),
        "more than the most": (sign(player, value=101), ValidationFailed),
        "less than the least": (sign(player, value=0), ValidationFailed),
        "another value for a taken id": (sign(player, taken.action_id, value=2), ActionIdConflict),
        "another action for a taken id": (sign(player, taken.action_id, "penalty"), ActionIdConflict),
        "a taken nonce": (sign(player, nonce=taken.nonce), NonceReused),
    }


def test_a_refused_update_changes_nothing(stores, players, contents) -> None:
    """I9."""
    player, other = players(2)
    taken = sign(player, "taken")
    take(stores, player, taken)
    before = contents()
    for name, (update, error) in refusals(player, other, taken).items():
        with pytest.raises(ScoreboardError) as refused:
            take(stores, player, update)
        assert isinstance(refused.value, error), name
        assert contents() == before, name


def test_a_player_who_does_not_exist_cannot_be_played_for(stores, player, contents) -> None:
    before = contents()
    with pytest.raises(TokenInvalid):
        stores.acceptor.accept(str(uuid4()), sign(player), address=None, request_id="r")
    assert contents() == before


class TestCoolDown:
    """`daily_bonus` counts once in an hour."""

    def test_the_second_in_time_is_told_to_wait(self, stores, player, contents) -> None:
        take(stores, player, sign(player, action="daily_bonus"))
        before = contents()
        with pytest.raises(RateLimited) as refused:
            take(stores, player, sign(player, action="daily_bonus"))
        assert 3590 <= refused.value.retry_after_seconds <= 3600
        assert contents() == before

    def test_a_repeat_of_the_first_is_a_repeat(self, stores, player) -> None:
        update = sign(player, action="daily_bonus")
        take(stores, player, update)
        assert take(stores, player, update).replayed

    def test_it_counts_again_when_the_time_is_over(self, stores, player, query) -> None:
        take(stores, player, sign(player, action="daily_bonus"))
        query("UPDATE cooldowns SET until = now() - interval '1 second'")
        assert not take(stores, player, sign(player, action="daily_bonus")).replayed
        with pytest.raises(RateLimited):
            take(stores, player, sign(player, action="daily_bonus"))

    def test_it_is_each_players_own_and_stops_no_other_action(self, stores, players) -> None:
        for player in players(2):
            take(stores, player, sign(player, action="daily_bonus"))
            take(stores, player, sign(player))

    def test_of_thirty_at_once_one_counts(self, open_process, player, query) -> None:
        processes = [open_process(), open_process()]
        answers = at_once(
            [lambda n=n: take(processes[n % 2], player, sign(player, action="daily_bonus")) for n in range(30)]
        )
        assert Counter(type(answer) for answer in answers) == {Receipt: 1, RateLimited: 29}
        assert query("SELECT count(*) FROM inbox") == [(1,)]

    def test_of_two_in_one_batch_one_counts(self, stores, player, submit_batch) -> None:
        first, second = submit_batch([server_update(player, "daily_bonus") for _ in range(2)])
        assert isinstance(first, Receipt)
        assert isinstance(second, RateLimited)

    def test_an_update_refused_for_its_nonce_does_not_start_it(self, stores, player, contents) -> None:
        """I9: or the player would wait an hour for a bonus that never came."""
        taken = sign(player)
        take(stores, player, taken)
        before = contents()
        with pytest.raises(NonceReused):
            take(stores, player, sign(player, action="daily_bonus", nonce=taken.nonce))
        assert contents() == before
        assert not take(stores, player, sign(player, action="daily_bonus")).replayed

    def test_a_conflict_does_not_start_it(self, stores, player, contents) -> None:
        take(stores, player, sign(player, "a-1"))
        before = contents()
        with pytest.raises(ActionIdConflict):
            take(stores, player, sign(player, "a-1", "daily_bonus"))
        assert contents() == before


class TestBatch:
    """A game server's updates."""

    def test_each_item_gets_its_own_verdict_in_order(self, submit_batch, players, query) -> None:
        ada, bob = players(2)
        known = server_update(ada, action_id="k-1")
        submit_batch([known])
        verdicts = submit_batch(
            [
                server_update(bob, action_id="k-1", value=3),
                known,
                known._replace(value=2),
                server_update(ada, "fly"),
                server_update(ada, value=101),
                ServerUpdate(str(uuid4()), "k-2", "level_complete", 1),
                server_update(ada, "penalty", 10, action_id="k-3"),
            ]
        )
        assert verdicts[0] == Receipt("k-1", replayed=False, shard=0)
        assert verdicts[1] == Receipt("k-1", replayed=True, shard=0)
        assert [type(verdict) for verdict in verdicts[2:6]] == [
            ActionIdConflict,
            ActionUnknown,
            ValidationFailed,
            NotFound,
        ]
        assert verdicts[6] == Receipt("k-3", replayed=False, shard=0)
        rows = query("SELECT user_id::text, action_id, value, nonce, signature FROM inbox ORDER BY seq")
        expected = [(ada.user_id, "k-1", 1), (bob.user_id, "k-1", 3), (ada.user_id, "k-3", 10)]
        assert rows == [(*row, None, None) for row in expected]

    def test_updates_go_into_the_inbox_in_the_order_of_the_batch(self, submit_batch, player, query) -> None:
        submit_batch([server_update(player, action_id=f"k-{n}") for n in range(9)])
        assert query("SELECT action_id FROM inbox ORDER BY seq") == [(f"k-{n}",) for n in range(9)]

    def test_the_same_item_twice_in_a_batch_is_one_row(self, submit_batch, player, query) -> None:
        update = server_update(player)
        verdicts = submit_batch([update, update, update._replace(value=2)])
        assert [type(verdict) for verdict in verdicts] == [Receipt, Receipt, ActionIdConflict]
        assert [verdict.replayed for verdict in verdicts[:2]] == [False, True]
        assert query("SELECT value FROM inbox") == [(1,)]

    def test_an_empty_batch_is_nothing(self, submit_batch, query) -> None:
        assert submit_batch([]) == []
        assert query("SELECT count(*) FROM inbox") == [(0,)]

    def test_one_id_from_a_player_and_from_a_server_is_one_action(self, stores, player, submit_batch, query) -> None:
        take(stores, player, sign(player, "a-1"))
        [verdict] = submit_batch([server_update(player, action_id="a-1")])
        assert verdict.replayed
        assert query("SELECT count(*) FROM inbox") == [(1,)]

    def test_large_batches_of_many_servers_at_once_lose_and_double_nothing(self, open_process, players, query) -> None:
        """Overlapping batches in opposite orders."""
        people = players(20)
        updates = [server_update(people[n % 20], action_id=f"k-{n}") for n in range(400)]
        processes = [open_process(), open_process()]
        orders = [updates, updates[::-1], updates[200:] + updates[:200], updates[::2]] * 2
        answers = at_once(
            [
                lambda n=n, order=order: processes[n % 2].acceptor.accept_batch(order, address=None, request_id=f"{n}")
                for n, order in enumerate(orders)
            ]
        )
        receipts = [verdict for verdicts in answers for verdict in verdicts]
        assert sum(not receipt.replayed for receipt in receipts) == 400
        assert query("SELECT count(*), count(DISTINCT action_id) FROM inbox") == [(400, 400)]

    def test_overlapping_batches_never_hold_what_each_other_waits_for(
        self, open_process, players, raw, admin, database_url, query, eventually
    ) -> None:
        """I3: both are stopped half-way by a key of ours; a deadlock would be retried, and told in the log alone."""
        people = sorted(player.user_id for player in players(20))
        updates = [ServerUpdate(user_id, f"k-{n:02}", "level_complete", 1) for user_id in people for n in range(20)]
        processes = [open_process(), open_process()]
        for process in processes:
            process.acceptor.warm_up()
        raw.execute("BEGIN")
        middle = updates[len(updates) // 2]
        raw.execute(
            "INSERT INTO inbox_keys (user_id, action_id, action, value) VALUES (%s, %s, '', 1)",
            (middle.user_id, middle.action_id),
        )

        def let_go() -> None:
            eventually(lambda: waiting_for_lock(admin, database_url) == 2)
            raw.execute("ROLLBACK")

        with capture_logs() as logs:
            forth, back, _ = at_once(
                [
                    lambda: processes[0].acceptor.accept_batch(updates, address=None, request_id="forth"),
                    lambda: processes[1].acceptor.accept_batch(updates[::-1], address=None, request_id="back"),
                    let_go,
                ]
            )
        assert sum(not receipt.replayed for receipt in [*forth, *back]) == 400
        assert query("SELECT count(*), count(DISTINCT (user_id, action_id)) FROM inbox") == [(400, 400)]
        assert [entry for entry in logs if entry["log_level"] == "warning"] == []


class TestConnectionsThatDie:
    """A connection may go at any moment; no answer may be wrong for it."""

    def test_between_two_updates_the_next_one_goes_through(self, stores, player, admin, database_url) -> None:
        take(stores, player, sign(player))
        terminate(admin, database_url)
        assert not take(stores, player, sign(player)).replayed

    def test_during_a_write_it_is_tried_again_and_counts_once(
        self, stores, player, admin, raw, database_url, query, eventually
    ) -> None:
        """The write waits for a lock of ours when its connection is cut."""
        blocker = lock_keys(raw)
        [answer] = at_once_with(
            lambda: take(stores, player, sign(player, "a-1")),
            meanwhile=lambda: (
                eventually(lambda: waiting_for_lock(admin, database_url)),
                terminate(admin, database_url, but=raw),
                raw.execute("ROLLBACK"),
            ),
        )
        assert blocker
        assert answer == Receipt("a-1", replayed=False, shard=0)
        assert query("SELECT count(*) FROM inbox") == [(1,)]

    def test_a_commit_in_doubt_counts_once_and_is_answered_as_accepted(
        self, stores, player, query, monkeypatch
    ) -> None:
        """I1, I2: the rows are in, the connection broke before we heard so."""
        original = inbox_writer.inbox.accept
        broken = iter([True])

        def commit_and_break(connection: psycopg.Connection[object], arrivals: object) -> set[tuple[str, str]]:
            new = original(connection, arrivals)
            if next(broken, False):
                connection.close()
                raise psycopg.OperationalError("the server closed the connection unexpectedly")
            return new

        monkeypatch.setattr(inbox_writer.inbox, "accept", commit_and_break)
        assert take(stores, player, sign(player, "a-1")).action_id == "a-1"
        assert take(stores, player, sign(player, "a-1")).replayed
        assert query("SELECT count(*) FROM inbox") == [(1,)]

    def test_what_cannot_be_written_is_not_called_accepted_and_can_be_sent_again(
        self, stores, player, query, monkeypatch
    ) -> None:
        def fail(connection: object, arrivals: object) -> set[tuple[str, str]]:
            raise psycopg.OperationalError("no")

        with monkeypatch.context() as broken:
            broken.setattr(inbox_writer.inbox, "accept", fail)
            with pytest.raises(QueueUnavailable) as refused:
                take(stores, player, sign(player, "a-1"))
        assert refused.value.retry_after_seconds == 1
        assert query("SELECT count(*) FROM inbox_keys") == [(0,)]
        assert not take(stores, player, sign(player, "a-1")).replayed

    def test_killed_again_and_again_under_load_nothing_is_lost_or_doubled(
        self, stores, players, admin, database_url, query
    ) -> None:
        """What was answered is in; what is in was answered, or was refused in doubt and is taken as a repeat."""
        people = players(8)
        updates = [(person, sign(person)) for person in people for _ in range(12)]

        def play(number: int) -> list[Receipt | Exception]:
            answers: list[Receipt | Exception] = []
            for person, update in updates[number::8]:
                try:
                    answers.append(take(stores, person, update))
                except QueueUnavailable as error:
                    answers.append(error)
            return answers

        def kill() -> list[Receipt | Exception]:
            for _ in range(10):
                terminate(admin, database_url)
            return []

        at_once([*(lambda n=n: play(n) for n in range(8)), kill])
        for person, update in updates:
            take(stores, person, update)
        assert query("SELECT count(*), count(DISTINCT (user_id, action_id)) FROM inbox") == [(96, 96)]


class TestAnOutage:
    """I8: an answer in time, and work again as soon as Postgres is back."""

    def test_postgres_stopped_is_told_within_ten_seconds_and_ends_by_itself(
        self, own_postgres: OwnPostgres, open_process: Callable[[Settings], Stores], settings_on_own_postgres: Settings
    ) -> None:
        stores = open_process(settings_on_own_postgres)
        [player] = register(stores, 1)
        update = sign(player, "a-1")
        take(stores, player, update)
        own_postgres.stop()
        began = time.monotonic()
        answers = at_once([lambda: take(stores, player, sign(player)) for _ in range(20)])
        assert time.monotonic() - began < 10
        assert {type(answer) for answer in answers} == {QueueUnavailable}
        own_postgres.start()
        assert take(stores, player, update).replayed
        assert not take(stores, player, sign(player)).replayed

    def test_postgres_frozen_is_told_within_ten_seconds_to_all_and_ends_by_itself(
        self, own_postgres: OwnPostgres, open_process: Callable[[Settings], Stores], settings_on_own_postgres: Settings
    ) -> None:
        """It still takes connections and answers nothing: no time-out of the server's own can help."""
        stores = open_process(settings_on_own_postgres)
        [player] = register(stores, 1)
        update = sign(player, "a-1")
        take(stores, player, update)
        own_postgres.freeze()
        began = time.monotonic()
        answers = at_once([lambda: take(stores, player, sign(player)) for _ in range(5)])
        assert time.monotonic() - began < 10
        assert {type(answer) for answer in answers} == {QueueUnavailable}
        own_postgres.thaw()
        assert take(stores, player, update).replayed
        assert not take(stores, player, sign(player)).replayed


class TestPressure:
    """I8: the inbox has a bound."""

    def test_a_deep_inbox_refuses_updates_and_batches_until_it_is_drained(
        self, environment, open_process, eventually, contents
    ) -> None:
        settings = Settings.from_env({**environment, "INBOX_DEPTH_LIMIT": "3"})
        stores = open_process(settings)
        [player] = register(stores, 1)
        stores.acceptor.accept_batch([server_update(player) for _ in range(3)], address=None, request_id="b")

        def refused() -> bool:
            try:
                take(stores, player, sign(player, "late"))
            except Overloaded as error:
                return error.retry_after_seconds == 2
            return False

        eventually(refused)
        before = contents()
        with pytest.raises(Overloaded):
            stores.acceptor.accept_batch([server_update(player)], address=None, request_id="b")
        assert contents() == before
        worker = stores.drain()
        worker.drain(0)
        worker.close()

        def taken() -> bool:
            try:
                return bool(take(stores, player, sign(player)))
            except Overloaded:
                return False

        eventually(taken)

    def test_an_old_inbox_refuses(self, environment, open_process, query, eventually) -> None:
        stores = open_process(Settings.from_env({**environment, "INBOX_AGE_LIMIT_SECONDS": "60"}))
        [player] = register(stores, 1)
        take(stores, player, sign(player))
        query("UPDATE inbox SET accepted_at = now() - interval '61 seconds'")

        def refused() -> bool:
            try:
                take(stores, player, sign(player))
            except Overloaded:
                return True
            return False

        eventually(refused)

    def test_a_depth_that_cannot_be_known_refuses_nobody(self, stores, player, monkeypatch, eventually) -> None:
        """The write itself tells the caller when Postgres is away."""
        looks = []

        def away(connection: object) -> None:
            looks.append(connection)
            raise OperationalError("SELECT", {}, Exception("away"))

        monkeypatch.setattr(pressure.inbox, "state", away)
        assert not take(stores, player, sign(player)).replayed
        eventually(lambda: looks)
        assert not take(stores, player, sign(player)).replayed


def terminate(
    admin: psycopg.Connection[object], database_url: str, but: psycopg.Connection[object] | None = None
) -> None:
    """Cut every connection to this test's database, except one."""
    admin.execute(
        "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = %s AND pid <> pg_backend_pid()"
        " AND pid <> %s",
        (database_of(database_url), but.info.backend_pid if but else 0),
    )


def waiting_for_lock(admin: psycopg.Connection[tuple[int]], database_url: str) -> int:
    """How many connections to this test's database do."""
    row = admin.execute(
        "SELECT count(*) FROM pg_stat_activity WHERE datname = %s AND wait_event_type = 'Lock'",
        (database_of(database_url),),
    ).fetchone()
    return row[0] if row else 0


def lock_keys(raw: psycopg.Connection[object]) -> bool:
    raw.execute("BEGIN")
    raw.execute("LOCK TABLE inbox_keys IN ACCESS EXCLUSIVE MODE")
    return True


def at_once_with(call: Callable[[], object], *, meanwhile: Callable[[], object]) -> list[object]:
    answer, other = at_once([call, meanwhile])
    if isinstance(other, Exception):
        raise other
    return [answer]


def database_of(database_url: str) -> str:
    return database_url.partition("?")[0].rpartition("/")[2]
