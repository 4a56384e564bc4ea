"""JSON log lines with the field names of the Elastic Common Schema (ECS), one line an event."""

from __future__ import annotations

import logging
import re
import sys
from collections.abc import MutableMapping
from contextlib import suppress
from typing import Any, Final, TextIO, cast

import ecs_logging
import structlog

#: Libraries that say more than an operator wants to read; Flower shows every task's start and end.
_QUIET: Final = {
    "alembic": logging.WARNING,
    "amqp": logging.WARNING,
    "celery.app.trace": logging.WARNING,
    "celery.beat": logging.WARNING,
    "celery.worker.strategy": logging.WARNING,
    "kombu": logging.WARNING,
}


#: Of the fields' names, as ecs-logging writes them.
ECS_VERSION: Final = "1.6.0"
#: Two JSON objects in base64url: a token, as in the path of an address.
_TOKEN: Final = re.compile(r"eyJ[\w-]{4,}\.eyJ[\w.-]+")
#: Characters that JSON may hold as they are, and that a terminal or a reader of lines obeys: controls, ends of lines,
#: and what turns the direction of text or is not seen (Unicode categories Cc, Zl, Zp and Cf).
_OBEYED: Final = re.compile("[\x7f-\x9f\xad\u061c\u200b-\u200f\u2028-\u202e\u2060-\u206f\ufeff\ufff9-\ufffb]")
#: Keys that the formatter or another processor gives a place of their own.
_PLACED: Final = ("event", "exception", "exc_info")


class UnfailingFile:
    """Takes lines of JSON for a file; those it cannot write are lost. What clients put where it does not belong is not
    written as it came: tokens, and characters that would be obeyed.

    Standard error breaks when the supervisor at its other end dies, or its disk is full. A request whose update is
    committed must not turn into an error because of that, and there is nobody left to tell.
    """

    def __init__(self, file: TextIO) -> None:
        self._file = file

    def write(self, text: str) -> None:
        """Write, or not."""
        if "eyJ" in text:
            text = _TOKEN.sub("[token]", text)
        if not text.isascii() or "\x7f" in text:
            text = _OBEYED.sub(lambda found: f"\\u{ord(found[0]):04x}", text)
        with suppress(OSError, ValueError):
            self._file.write(text)

    def flush(self) -> None:
        """Flush, or not."""
        with suppress(OSError, ValueError):
            self._file.flush()


def configure_logging(service: str, level: str) -> None:
    """Send structlog's events and the standard library's records to standard error as ECS JSON.

    Args:
        service: the ECS field `service.name`, such as `scoreboard-web`.
        level: debug, info, warning or error.
    """

    def name_service(_logger: Any, _method: str, event: MutableMapping[str, Any]) -> MutableMapping[str, Any]:
        event["service.name"] = service
        return event

    structlog.configure(
        processors=[
            structlog.contextvars.merge_contextvars,
            name_service,
            place_fields,
            structlog.processors.format_exc_info,
            cast(Any, ecs_logging.StructlogFormatter()),
        ],
        wrapper_class=structlog.make_filtering_bound_logger(logging.getLevelNamesMapping()[level.upper()]),
        logger_factory=structlog.WriteLoggerFactory(file=cast(TextIO, UnfailingFile(sys.stderr))),
        cache_logger_on_first_use=False,
    )
    handler = logging.StreamHandler(cast(TextIO, UnfailingFile(sys.stderr)))
    handler.setFormatter(ecs_logging.StdlibFormatter(extra={"service.name": service}))
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(level.upper())
    for name, quiet_level in _QUIET.items():
        logging.getLogger(name).setLevel(quiet_level)


def server_logging(service: str) -> dict[str, Any]:
    """The configuration (`logging.config`) by which gunicorn's own lines look like the service's."""
    return {
        "formatters": {"ecs": {"()": "ecs_logging.StdlibFormatter", "extra": {"service.name": service}}},
        "handlers": {"console": {"class": "logging.StreamHandler", "formatter": "ecs", "stream": "ext://sys.stderr"}},
        "loggers": {"gunicorn.error": {"level": "INFO", "handlers": ["console"], "propagate": False}},
    }


def place_fields(_logger: Any, _method: str, event: MutableMapping[str, Any]) -> MutableMapping[str, Any]:
    """Put each field where ECS has it: errors under `error.`, what is ours alone under `scoreboard.`."""
    failure = event.get("exc_info")
    if isinstance(failure, BaseException):
        event["error.type"], event["error.message"] = type(failure).__name__, str(failure)
    if "error" in event:
        event["error.message"] = event.pop("error")
    for name in [name for name in event if "." not in name and name not in _PLACED]:
        value = event.pop(name)
        if value is not None:
            event[f"scoreboard.{name}"] = value
    return event
