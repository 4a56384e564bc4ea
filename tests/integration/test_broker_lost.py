"""A worker whose broker is killed while a message is in its hands lets go of the connection and lives on (I8)."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from pathlib import Path

import kombu
import pytest

from deploy.local.embedded import valkey
from models import names
from models.storage.broker import transport_options
from tests.faults.stores import Valkey
from worker.connection import BrokerConnection


@pytest.fixture
def broker() -> Iterator[Valkey]:
    """A broker of the test's own; in a short path, since it has a socket there."""
    with tempfile.TemporaryDirectory(prefix="sb-") as folder:
        server = Valkey(Path(folder) / "b", "broker", dict(valkey.BROKER))
        yield server
        server.close()


def test_a_connection_lost_with_a_message_unacknowledged_is_closed_and_made_anew(broker: Valkey) -> None:
    """The consumer of Celery collects such a connection, then closes it; an error there ends the worker."""
    connection = BrokerConnection(broker.url, transport_options=transport_options(broker.url, sending=False))
    received: list[kombu.Message] = []
    for channel, name in ((connection.default_channel, names.APPLY_QUEUE), (connection.channel(), "another")):
        queue = kombu.Queue(name, channel=channel)
        queue.declare()
        kombu.Consumer(channel, [queue], on_message=received.append).consume()
    kombu.Producer(connection.default_channel).publish({}, routing_key=names.APPLY_QUEUE)
    connection.drain_events(timeout=5)
    assert received
    with pytest.raises(TimeoutError):
        connection.drain_events(timeout=0.1)  # leaves both channels waiting for a message
    broker.kill()
    connection.collect(socket_timeout=1.0)
    connection.close()
    broker.start()
    connection.ensure_connection(max_retries=3)
    assert connection.default_channel.queue_declare(names.APPLY_QUEUE).queue == names.APPLY_QUEUE
    connection.close()
