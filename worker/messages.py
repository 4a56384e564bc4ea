"""Reads what lies in a Redis broker's queues: what is no message becomes one that Celery refuses.

kombu takes for granted that every entry of a list is a message: one that is not ends the worker, which had taken it
from the list. RabbitMQ's messages have their frame from the protocol.
"""

from __future__ import annotations

from typing import Any, cast
from uuid import uuid4

import structlog
from kombu.transport import redis, virtual
from kombu.utils.json import loads

log = structlog.get_logger(__name__)


def install() -> None:
    """Put `read` where kombu decodes an entry, and a look at what it gave where kombu hands it on."""
    redis.loads = read  # type: ignore[assignment]  # of its parameters kombu uses the first
    setattr(redis.Transport, "_deliver", _deliver)  # noqa: B010 - kombu has no seam there


def read(entry: str) -> Any:
    """What an entry says; None when it is no JSON."""
    try:
        return loads(entry)
    except ValueError:
        return None


def message_of(entry: Any) -> dict[str, Any]:
    """The entry, or in place of nonsense a message without a task, which Celery logs and drops."""
    if _is_message(entry):
        return cast(dict[str, Any], entry)
    log.warning("an entry of the broker's queue is no message", **{"event.action": "wake"})
    return {
        "body": "",
        "content-type": "application/json",
        "content-encoding": "utf-8",
        "headers": {},
        "properties": {"delivery_tag": str(uuid4()), "delivery_info": {"exchange": "", "routing_key": ""}},
    }


def _deliver(transport: redis.Transport, entry: Any, queue: str) -> None:
    virtual.Transport._deliver(transport, message_of(entry), queue)  # noqa: SLF001 - what it overrides


def _is_message(message: Any) -> bool:
    if not isinstance(message, dict) or not isinstance(message.get("body"), str):
        return False
    properties, headers = message.get("properties"), message.get("headers")
    return (
        isinstance(headers, dict)
        and isinstance(properties, dict)
        and isinstance(properties.get("delivery_tag"), str)
        and isinstance(properties.get("delivery_info"), dict)
    )
