"""Celery's consumer, less what would hold its loop or fill the broker when that is a RabbitMQ."""

from __future__ import annotations

from typing import Any

import kombu
from celery.worker import consumer

from models.storage.broker import SEND_TIMEOUT_SECONDS
from worker.app import pulse


class Consumer(consumer.Consumer):
    """Celery's own, without the step for delayed tasks, and with events that are not waited for."""

    class Blueprint(consumer.Consumer.Blueprint):
        """The steps of a connection.

        We delay no task; the step left out would make 28 queues for that, and warn of each of ours.
        """

        default_steps = tuple(step for step in consumer.Consumer.Blueprint.default_steps if "delayed" not in step)

    def ensure_connected(self, conn: kombu.Connection) -> kombu.Connection:
        """Connect; however long that takes, the loop turns."""
        conn.on_wait = pulse.turn  # type: ignore[attr-defined]  # it is one of worker/connection.py's
        connected: kombu.Connection = super().ensure_connected(conn)
        return connected

    def connection_for_write(self, url: str | None = None, heartbeat: float | None = None) -> kombu.Connection:
        """The connection for Flower's events, which the loop itself sends.

        Confirmed, each would stop the loop until its time-out in an alarm, and the next would be due by then. The
        shorter time-out lets a worker end in time when its good-bye is not answered.
        """
        hasty: dict[str, Any] = {"confirm_publish": False, "read_timeout": SEND_TIMEOUT_SECONDS}
        connection = self.app.connection_for_write(url=url, heartbeat=heartbeat, transport_options=hasty)
        connected: kombu.Connection = self.ensure_connected(connection)
        return connected
