"""JSON log lines with the field names of the Elastic Common Schema (ECS), one line an event.

What ECS has no name for stands under `scoreboard.`; `deploy/elk/fields.yml` lists every field there is, and its type.
"""

from __future__ import annotations

import fcntl
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
    "urllib3": logging.WARNING,
}


#: Of the fields' names and types. ecs-logging says 1.6.0 and still writes `log.original`, which is gone since 8.0.
ECS_VERSION: Final = "8.17.0"
#: Two JSON objects in base64url: a token, as in the path of an address.
_TOKEN: Final = re.compile(r"eyJ[\w-]{4,}\.eyJ[\w.-]+")
#: Characters that JSON may hold as they are, and that a terminal or a reader of lines obeys: controls, ends of lines,
#: and what turns the direction of text or is not seen (Unicode categories Cc, Zl, Zp and Cf).
_OBEYED: Final = re.compile("[\x7f-\x9f\xad\u061c\u200b-\u200f\u2028-\u202e\u2060-\u206f\ufeff\ufff9-\ufffb]")
#: Keys that the formatter or another processor gives a place of their own.
_PLACED: Final = ("event", "exception", "exc_info")
#: What a record of the standard library has by itself; what libraries add beside it is nobody's field.
_OF_A_RECORD: Final = frozenset(logging.makeLogRecord({}).__dict__)


#: Of the pipe to a supervisor, where there is one; the most that Linux gives to any user.
PIPE_BYTES: Final = 1024 * 1024


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


class OwnLines(ecs_logging.StructlogFormatter):
    """Our own events as lines."""

    def format_to_ecs(self, event_dict: dict[str, Any]) -> dict[str, Any]:
        """The event with what every line has."""
        line: dict[str, Any] = super().format_to_ecs({**event_dict, "ecs.version": ECS_VERSION})
        return line


class ServerLines(ecs_logging.StdlibFormatter):
    """Records of the standard library, from servers and libraries, as lines."""

    def __init__(self, service: str) -> None:
        super().__init__(extra={"service.name": service}, exclude_fields=["log.original"])

    def format_to_ecs(self, record: logging.LogRecord) -> dict[str, Any]:
        """The record, without what its library hung on it: names and types of that are not known."""
        own = {name: value for name, value in record.__dict__.items() if name in _OF_A_RECORD}
        line = super().format_to_ecs(logging.makeLogRecord(own))
        return {**line, "ecs.version": ECS_VERSION}


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
            cast(Any, OwnLines()),
        ],
        wrapper_class=structlog.make_filtering_bound_logger(logging.getLevelNamesMapping()[level.upper()]),
        logger_factory=structlog.WriteLoggerFactory(file=cast(TextIO, UnfailingFile(sys.stderr))),
        cache_logger_on_first_use=False,
    )
    handler = logging.StreamHandler(cast(TextIO, UnfailingFile(sys.stderr)))
    handler.setFormatter(ServerLines(service))
    _widen(sys.stderr)
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(level.upper())
    for name, quiet_level in _QUIET.items():
        logging.getLogger(name).setLevel(quiet_level)


def server_logging(service: str) -> dict[str, Any]:
    """The configuration (`logging.config`) by which gunicorn's own lines look like the service's."""
    return {
        "formatters": {"ecs": {"()": "models.logs.ServerLines", "service": service}},
        "handlers": {"console": {"class": "logging.StreamHandler", "formatter": "ecs", "stream": "ext://sys.stderr"}},
        "loggers": {"gunicorn.error": {"level": "INFO", "handlers": ["console"], "propagate": False}},
    }


def place_fields(_logger: Any, _method: str, event: MutableMapping[str, Any]) -> MutableMapping[str, Any]:
    """Put each field where ECS has it: `error` under `error.`, what is ours alone under `scoreboard.`.

    `error=` takes an exception, or its class where the message may hold what is nobody's business, or a sentence.
    """
    failure = event.get("exc_info")
    failure = event.pop("error", sys.exc_info()[1] if failure is True else failure)
    if isinstance(failure, type):
        event["error.type"] = failure.__name__
    elif isinstance(failure, BaseException):
        event["error.type"], event["error.message"] = type(failure).__name__, str(failure)
    elif isinstance(failure, str):
        event["error.message"] = failure
    for name in [name for name in event if "." not in name and name not in _PLACED]:
        value = event.pop(name)
        if value is not None:
            event[f"scoreboard.{name}"] = value
    return event


def _widen(file: TextIO) -> None:
    """Make room in the pipe that standard error is, if it is one. Several processes of ours share it, and only what
    finds room at once goes in in one piece: else their lines would mix while a supervisor does not read.
    """
    size = getattr(fcntl, "F_SETPIPE_SZ", None)  # Linux has it
    if size is not None:
        with suppress(OSError, ValueError):
            fcntl.fcntl(file.fileno(), size, PIPE_BYTES)
