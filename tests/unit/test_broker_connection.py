"""A worker's and beat's connection: back soon after an outage of any length, and nothing tried for ever (I8)."""

from __future__ import annotations

import pytest
from kombu.exceptions import OperationalError

from models.storage.broker import queue_arguments, transport_options
from worker.connection import PUBLISH_RETRIES, RECONNECT_SECONDS_MOST, BrokerConnection

NOBODY = "amqp://127.0.0.1:1//"


def test_tries_to_reconnect_stay_close_together_however_long_the_outage(monkeypatch) -> None:
    waits: list[float] = []
    monkeypatch.setattr("kombu.utils.functional.sleep", lambda seconds: None)
    with pytest.raises(OperationalError):
        BrokerConnection(NOBODY).ensure_connection(lambda _, seconds: waits.append(seconds), max_retries=20)
    assert len(waits) == 20
    assert max(waits) == RECONNECT_SECONDS_MOST


def test_who_waits_for_the_broker_says_so_all_the_while(monkeypatch) -> None:
    """Else a worker would be called dead, and started anew, for as long as the broker is away."""
    monkeypatch.setattr("kombu.utils.functional.sleep", lambda seconds: None)
    connection, turns, asked = BrokerConnection(NOBODY), [], []
    connection.on_wait = lambda: turns.append(1)
    with pytest.raises(OperationalError):
        connection.ensure_connection(max_retries=5, callback=lambda: asked.append(1))
    assert len(turns) > 5
    assert len(asked) == len(turns), "the caller's own is called as ever"


def test_a_publication_without_a_limit_of_its_own_is_given_up(monkeypatch) -> None:
    """The events of the worker's heart are sent so, from its loop."""
    monkeypatch.setattr("kombu.utils.functional.sleep", lambda seconds: None)
    connection, tries = BrokerConnection(NOBODY), []

    def publish() -> None:
        tries.append(1)
        raise ConnectionResetError

    monkeypatch.setattr(connection, "_ensure_connection", lambda *_, **__: None)
    monkeypatch.setattr(BrokerConnection, "default_channel", object())
    with pytest.raises(OperationalError):
        connection.ensure(type("Producer", (), {"revive": lambda self, channel: None})(), publish)()
    assert len(tries) == 1 + PUBLISH_RETRIES


def test_only_rabbitmq_is_told_of_queue_types_and_confirms() -> None:
    for url in ("redis://there/0", "rediss://there", "redis+socket:///there", "sentinel://there"):
        assert queue_arguments(url) == {}
        assert "confirm_publish" not in transport_options(url, sending=True)
    for url in ("amqp://there//", "amqps://there/scores"):
        assert queue_arguments(url)["x-queue-type"] == "quorum"
        for sending in (True, False):
            options = transport_options(url, sending=sending)
            assert options["confirm_publish"]
            assert 0 < options["read_timeout"] <= 2
            assert 0 < options["write_timeout"] <= 2
