"""Celery's connections to the broker, of worker and beat: no loss ends them, they are back soon, no try is for ever."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final

import kombu
from celery.app.amqp import AMQP

#: Celery would wait up to 30 s between tries after an outage of minutes; updates are to be applied sooner.
RECONNECT_SECONDS_MOST: Final = 3.0
#: Of a message that is lost a newer one follows.
PUBLISH_RETRIES: Final = 1


class BrokerConnection(kombu.Connection):
    """A connection whose waits suit hints."""

    #: Told again and again while the broker is waited for: who waits is alive.
    on_wait: Callable[[], object] | None = None

    def ensure_connection(self, *arguments: Any, **options: Any) -> kombu.Connection:
        """Connect, trying as often as the caller says, but never seconds apart."""
        pace = {"interval_start": 1.0, "interval_step": 1.0, "interval_max": RECONNECT_SECONDS_MOST}
        if self.on_wait is not None:
            options["callback"] = _both(self.on_wait, options.get("callback"))
        super().ensure_connection(*arguments, **{**pace, **options})  # type: ignore[no-untyped-call]
        return self

    def collect(self, socket_timeout: float | None = None) -> None:
        """Let go of a lost connection and all its channels, without asking the broker for anything.

        In a Redis, a channel that waits for a message fails on its first close; only a second one closes it. Kombu
        leaves it open, and the close after that fails for want of the connection when a message is in hand: the worker
        would end. What is in hand is not put back: it is a hint (I7), and the broker may not answer.
        """
        channels = list(getattr(self._transport, "channels", ()))
        for channel in channels * 2:
            channel.do_restore = False
            self.maybe_close_channel(channel)  # type: ignore[no-untyped-call]
        super().collect(socket_timeout)  # type: ignore[no-untyped-call]

    def ensure(self, obj: Any, fun: Callable[..., Any], *arguments: Any, **options: Any) -> Callable[..., Any]:
        """Try again as often as the caller says, or PUBLISH_RETRIES times.

        Celery sends the events of its heart with retries but no limit: the worker's loop would stand still, and
        could not even be stopped, for as long as RabbitMQ has an alarm.
        """
        if not arguments and options.get("max_retries") is None:
            options["max_retries"] = PUBLISH_RETRIES
        ensured: Callable[..., Any] = super().ensure(obj, fun, *arguments, **options)  # type: ignore[no-untyped-call]
        return ensured


class BrokerAMQP(AMQP):
    """Celery's queues and producers over such connections."""

    Connection = BrokerConnection


def _both(first: Callable[[], object], second: Callable[[], object] | None) -> Callable[[], None]:
    def call() -> None:
        first()
        if second is not None:
            second()

    return call
