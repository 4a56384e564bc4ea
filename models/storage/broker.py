"""How Celery's senders and workers talk to the broker: no wait without end (I8)."""

from __future__ import annotations

from typing import Any, Final

#: A wake-up is a hint (I7): rather lost than waited for.
SEND_TIMEOUT_SECONDS: Final = 1.0
_VISIBILITY_SECONDS: Final = 60


def transport_options(broker_url: str, *, sending: bool) -> dict[str, Any]:
    """Celery's `broker_transport_options` for a URL; `sending` for processes that only publish.

    A worker's connection blocks on purpose while its queues are empty, so only senders get a command time-out.
    """
    if broker_url.startswith(("amqp", "amqps")):
        return {"confirm_publish": True, "connect_timeout": SEND_TIMEOUT_SECONDS}
    options: dict[str, Any] = {
        "socket_connect_timeout": SEND_TIMEOUT_SECONDS,
        "socket_keepalive": True,
        "retry_on_timeout": False,
        "visibility_timeout": _VISIBILITY_SECONDS,
        "health_check_interval": 5,
    }
    if sending:
        options |= {"socket_timeout": SEND_TIMEOUT_SECONDS, "max_connections": 4}
    return options
