"""A sender's connection to the broker: every send ends soon, whatever state the broker is in (I8)."""

from __future__ import annotations

from typing import Any, Final

import kombu
import redis
from celery import Celery
from kombu.exceptions import KombuError, OperationalError

from models import names
from models.storage.broker import SEND_TIMEOUT_SECONDS, is_rabbitmq, queue_arguments, transport_options

#: No queue has this name: RabbitMQ confirms the message and drops it.
_NOWHERE: Final = "scoreboard.probe"


class Sender:
    """Publishes over one connection, made when it is needed and dropped without a good-bye when it fails.

    A good-bye would be waited for: in an alarm, or frozen, RabbitMQ does not answer one. That is why Celery's own
    pool, which closes what failed in good order, is not used. One thread at a time may use a sender.
    """

    def __init__(self, broker_url: str, shards: int = 1) -> None:
        self._url = broker_url
        self._celery = Celery("scoreboard-sender", broker=broker_url, set_as_current=False)
        self._celery.conf.update(
            broker_transport_options=transport_options(broker_url, sending=True),
            broker_connection_timeout=SEND_TIMEOUT_SECONDS,
            task_queues=[
                kombu.Queue(name, queue_arguments=queue_arguments(broker_url)) for name in names.queues(shards)
            ],
            task_ignore_result=True,
            task_serializer="json",
        )
        self._connection: kombu.Connection | None = None

    def send(
        self,
        task: str,
        arguments: tuple[Any, ...],
        *,
        queue: str,
        lapses_seconds: float,
        headers: dict[str, str] | None = None,
    ) -> None:
        """Send a task; a connection from earlier that turns out to be dead is replaced once.

        Raises:
            OperationalError: the broker did not take it within about 2 s.
        """
        reused = self._connection is not None
        try:
            self._send(task, arguments, queue, lapses_seconds, headers)
        except OperationalError:
            if not reused:
                raise
            self._send(task, arguments, queue, lapses_seconds, headers)

    def waiting(self, queue: str) -> int:
        """How many messages wait in a queue of a Redis; a RabbitMQ bounds its queues itself, so it is not asked.

        Raises:
            OperationalError: the broker cannot tell within about 2 s.
        """
        if is_rabbitmq(self._url):
            return 0
        try:
            return int(self._producer().channel.queue_declare(queue).message_count)
        except self._failures() as error:
            self._drop()
            raise OperationalError(_name(error)) from error

    def probe(self) -> None:
        """See that the broker takes messages, without leaving one in it.

        Raises:
            OperationalError: it does not, or not within about 1 s.
        """
        try:
            producer = self._producer()
            if is_rabbitmq(self._url):  # it takes connections in an alarm too, and lets only publishers wait
                producer.publish({}, routing_key=_NOWHERE, confirm_timeout=SEND_TIMEOUT_SECONDS)
        except self._failures() as error:
            self._drop()
            raise OperationalError(_name(error)) from error

    def close(self) -> None:
        """Close the connection; waits for an answer no longer than a send does."""
        if self._connection is not None:
            self._connection.release()
        self._celery.close()

    def _send(
        self,
        task: str,
        arguments: tuple[Any, ...],
        queue: str,
        lapses_seconds: float,
        headers: dict[str, str] | None,
    ) -> None:
        try:
            self._celery.send_task(
                task,
                arguments,
                queue=queue,
                # Counted by RabbitMQ itself. Celery's `expires` is a time of day: a worker whose clock is ahead of ours
                # would throw away every wake-up there is.
                expiration=lapses_seconds,
                producer=self._producer(),
                timeout=SEND_TIMEOUT_SECONDS,
                confirm_timeout=SEND_TIMEOUT_SECONDS,
                ignore_result=True,
                retry=False,
                headers=headers,
            )
        except self._failures() as error:
            self._drop()
            raise OperationalError(_name(error)) from error

    def _producer(self) -> kombu.Producer:
        if self._connection is None:
            self._connection = self._celery.connection_for_write()
            self._connection.ensure_connection(max_retries=1, interval_start=0.1, timeout=SEND_TIMEOUT_SECONDS)
        return kombu.Producer(self._connection, auto_declare=False)

    def _failures(self) -> tuple[type[Exception], ...]:
        """What a transport may raise, a refused declaration among it: not all of that is an OSError."""
        connection = self._connection or self._celery.connection_for_write()
        told: tuple[type[Exception], ...] = connection.connection_errors + connection.channel_errors
        return (KombuError, redis.RedisError, OSError, *told)

    def _drop(self) -> None:
        connection, self._connection = self._connection, None
        if connection is not None:
            connection.collect(SEND_TIMEOUT_SECONDS)


def _name(error: Exception) -> str:
    """What happened, without the message, which could hold a URL with its password; kombu wraps what it raises."""
    return type(error.__cause__ or error).__name__
