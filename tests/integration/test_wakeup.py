"""Wake-ups are hints: coalesced, never waited for, and nothing is lost with them (I7, I8)."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack

import pytest
import redis

from deploy.local.embedded import valkey
from models import names
from models.pipeline import wake
from models.settings import Settings
from web.wakeup import Wakeup


@pytest.fixture
def queue_length(valkey_server: str, environment: dict[str, str], servers_folder) -> Iterator[Callable[[], int]]:
    """How many messages wait in the apply queue; the broker is database 5 of the run's Valkey."""
    environment["BROKER_URL"] = valkey.broker_url(servers_folder / "vk", "cache").replace("host=0", "host=5")
    with redis.Redis.from_url(valkey_server.replace("db=0", "db=5")) as client:
        client.flushdb()
        yield lambda: client.llen(names.APPLY_QUEUE)
        client.flushdb()


@pytest.fixture
def open_wakeup(stores) -> Iterator[Callable[[Settings], Wakeup]]:
    opened: list[Wakeup] = []

    def run(settings: Settings) -> Wakeup:
        opened.append(Wakeup(settings, stores.redis))
        return opened[-1]

    yield run
    for each in opened:
        each.close()


def test_a_hundred_wake_ups_of_a_shard_are_one_message_until_it_was_empty(
    queue_length, open_wakeup, environment, stores, eventually
) -> None:
    wakeup = open_wakeup(Settings.from_env(environment))
    for _ in range(100):
        wakeup.wake(0)
    eventually(lambda: queue_length() == 1)
    wakeup.wake(0)
    wakeup.wake(1)
    eventually(lambda: queue_length() == 2)
    wake.lower_flag(stores.redis, 0)
    wakeup.wake(0)
    eventually(lambda: queue_length() == 3)


def test_a_flag_nobody_lowers_ends_by_itself(stores) -> None:
    assert wake.call(stores.redis, 7) == "nobody"
    assert wake.call(stores.redis, 7) == "under way"
    assert 0 < stores.redis.pttl("sb:wake:{7}") <= wake.FLAG_MS
    wake.hold_flag(stores.redis, 8)
    assert wake.call(stores.redis, 8) == "under way"


@pytest.fixture
def attend(stores) -> Iterator[Callable[[int], tuple[wake.Attendance, list[int]]]]:
    """`attend(shard)` is a worker that stays, and how often it has sent for another."""
    with ExitStack() as staying:

        def run(shard: int) -> tuple[wake.Attendance, list[int]]:
            sent: list[int] = []
            return staying.enter_context(wake.Attendance(stores.redis, shard, lambda: sent.append(shard))), sent

        yield run


class TestAttendance:
    """A worker that stays with a shard is called without Celery."""

    def test_a_call_reaches_who_stays_and_no_message_is_sent(
        self, queue_length, open_wakeup, environment, attend
    ) -> None:
        attendance, _ = attend(0)
        wakeup = open_wakeup(Settings.from_env(environment))
        wakeup.wake(0)
        assert attendance.called()
        wakeup.wake(1)
        assert attendance.called() is False, "the call was another shard's"
        assert queue_length() == 1

    def test_after_silence_nobody_stays_and_the_next_call_is_a_message(self, stores, attend, monkeypatch) -> None:
        monkeypatch.setattr(wake, "LISTEN_SECONDS", 0.05)
        attendance, sent = attend(0)
        assert not attendance.called()
        assert wake.call(stores.redis, 0) == "nobody"
        assert sent == []

    def test_who_goes_while_there_is_something_to_do_sends_for_another(self, stores, attend, monkeypatch) -> None:
        monkeypatch.setattr(wake, "ATTEND_SECONDS", 0.0)
        attendance, sent = attend(0)
        assert wake.call(stores.redis, 0) == "heard"
        assert attendance.called()
        assert sent == [0]
        wake.lower_flag(stores.redis, 0)
        assert not attendance.called()
        assert sent == [0], "once"
        assert wake.call(stores.redis, 0) == "nobody"

    def test_who_never_finds_the_shard_empty_sends_for_another_and_leaves_after_a_last_look(
        self, stores, attend, monkeypatch
    ) -> None:
        monkeypatch.setattr(wake, "ATTEND_SECONDS", 0.0)
        monkeypatch.setattr(wake, "RELIEF_SECONDS", 0.0)
        attendance, sent = attend(0)
        assert not attendance.leaves()
        assert sent == [0]
        assert wake.call(stores.redis, 0) == "heard"
        assert not attendance.leaves(), "the call is answered"
        assert attendance.leaves()
        assert sent == [0], "once"

    def test_of_two_who_stay_with_a_shard_one_leaves_and_sends_for_nobody(self, stores, attend, monkeypatch) -> None:
        """Else each sends for another for ever, and under load two drain the shard in batches half as large."""
        monkeypatch.setattr(wake, "ATTEND_SECONDS", 0.0)
        first, sent_by_first = attend(0)
        second, sent_by_second = attend(0)
        assert [first.leaves(), first.leaves()] == [False, True]
        assert sent_by_first == []
        assert [second.leaves(), second.leaves()] == [False, False]
        assert sent_by_second == [0]

    def test_who_leaves_to_another_lowers_the_flag_lest_both_leave(self, stores, attend, monkeypatch) -> None:
        """I7."""
        monkeypatch.setattr(wake, "ATTEND_SECONDS", 0.0)
        both = [attend(0)[0] for _ in range(2)]
        monkeypatch.setattr(wake.Attendance, "_others_listen", lambda self: True)  # each has seen the other
        wake.hold_flag(stores.redis, 0)
        for attendance in both:
            attendance.leaves()
        assert wake.call(stores.redis, 0) == "nobody", "so somebody is sent for"

    def test_who_watches_all_channels_drains_nothing(self, stores) -> None:
        with stores.redis.pubsub() as curious:
            curious.psubscribe("*")
            assert curious.get_message(timeout=1)
            assert wake.call(stores.redis, 0) == "nobody"

    def test_without_redis_nobody_stays(self, attend, monkeypatch, stores) -> None:
        def away(*_: object) -> None:
            raise redis.ConnectionError

        monkeypatch.setattr(redis.client.PubSub, "execute_command", away)
        attendance, _ = attend(0)
        assert not attendance.called()


def test_who_goes_still_answers_a_call_that_came_before(stores, attend, monkeypatch) -> None:
    """I7: whoever called was told that it is heard, and has sent for nobody."""
    monkeypatch.setattr(wake, "ATTEND_SECONDS", 0.0)
    monkeypatch.setattr(wake, "RELIEF_SECONDS", 0.0)
    attendance, _ = attend(0)
    assert wake.call(stores.redis, 0) == "heard"
    assert attendance.called()
    assert not attendance.called()


def test_without_a_broker_nobody_waits_and_closing_is_quick(open_wakeup, environment) -> None:
    wakeup = open_wakeup(Settings.from_env({**environment, "BROKER_URL": "redis://127.0.0.1:1/0"}))
    began = time.monotonic()
    for _ in range(1000):
        wakeup.wake(0)
    assert time.monotonic() - began < 0.5
    began = time.monotonic()
    wakeup.close()
    assert time.monotonic() - began < 5


def test_when_the_broker_is_back_wake_ups_go_out_again(
    queue_length, open_wakeup, environment, monkeypatch, eventually
) -> None:
    wakeup = open_wakeup(Settings.from_env(environment))
    original, refused = wakeup._sender._celery.send_task, []

    def away(*arguments: object, **options: object) -> object:
        if not refused:
            refused.append(1)
            raise OSError("away")
        return original(*arguments, **options)

    monkeypatch.setattr(wakeup._sender._celery, "send_task", away)
    wakeup.wake(0)
    eventually(lambda: refused)
    wakeup.wake(1)
    eventually(lambda: queue_length() == 1)
