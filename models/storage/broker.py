"""How Celery's senders and workers talk to the broker: no wait without end (I8)."""

from __future__ import annotations

import socket
from typing import Any, Final

#: A wake-up is a hint (I7): rather lost than waited for.
SEND_TIMEOUT_SECONDS: Final = 1.0
#: A worker and beat have more patience than a sender: a broker that has just started answers slowly.
WORKER_TIMEOUT_SECONDS: Final = 2.0
#: RabbitMQ and worker hear of each other twice in this time, and part after two of it in silence: with 10, a worker
#: whose connection had gone deaf took 24 s to be back, with 5 it takes 13. Less than 5 RabbitMQ advises against.
HEARTBEAT_SECONDS: Final = 5
#: Wake-ups or ticks of a kind that may wait in a Redis: more would say nothing new to whoever takes them in the end.
WAITING_MOST: Final = 20
_VISIBILITY_SECONDS: Final = 60
#: A peer that is gone without a word is noticed by the kernel after 5 + 3 * 3 s, not after its two hours.
_KEEPALIVE: Final = {socket.TCP_KEEPIDLE: 5, socket.TCP_KEEPINTVL: 3, socket.TCP_KEEPCNT: 3}
_QUORUM: Final = {
    "x-queue-type": "quorum",
    # A message that kills each worker that is given it comes back this often and is gone: the sweeper needs it not.
    "x-delivery-limit": 3,
    # What is older than these is told by what is newer; also a bound for messages that are not ours and never lapse.
    "x-max-length": 10_000,
    "x-overflow": "drop-head",
}


def is_rabbitmq(broker_url: str) -> bool:
    """Whether the URL names a RabbitMQ; otherwise it is a Redis."""
    return broker_url.startswith(("amqp://", "amqps://"))


def queue_arguments(broker_url: str) -> dict[str, Any]:
    """What a queue is declared with, by worker and senders alike: RabbitMQ refuses who declares it otherwise."""
    return dict(_QUORUM) if is_rabbitmq(broker_url) else {}


def transport_options(broker_url: str, *, sending: bool) -> dict[str, Any]:
    """Celery's `broker_transport_options` for a URL; `sending` for processes that only publish."""
    return _rabbitmq(sending=sending) if is_rabbitmq(broker_url) else _redis(sending=sending)


def _rabbitmq(*, sending: bool) -> dict[str, Any]:
    """Each exchange of frames is bounded, also those that take no time-out of their own, as closing a channel does.

    In an alarm RabbitMQ does not read from who publishes: without these bounds a publisher waits until it ends.
    """
    seconds = SEND_TIMEOUT_SECONDS if sending else WORKER_TIMEOUT_SECONDS
    return {
        "confirm_publish": True,
        "connect_timeout": seconds,
        "read_timeout": seconds,
        "write_timeout": seconds,
        "max_retries": 1,
    }


def _redis(*, sending: bool) -> dict[str, Any]:
    """A worker's connection blocks on purpose while its queues are empty, so only senders get a command time-out."""
    options: dict[str, Any] = {
        "socket_connect_timeout": SEND_TIMEOUT_SECONDS,
        "socket_keepalive": True,
        "socket_keepalive_options": _KEEPALIVE,
        "retry_on_timeout": False,
        "visibility_timeout": _VISIBILITY_SECONDS,
        "health_check_interval": 5,
    }
    if sending:
        options |= {"socket_timeout": SEND_TIMEOUT_SECONDS, "max_connections": 4}
    return options
