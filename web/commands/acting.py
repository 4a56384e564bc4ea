"""Options that every act of an operator takes: who acts, why, and for how long."""

from __future__ import annotations

import getpass
import re
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any, Final, TypeVar

import click

from models.guard.desk import Why

F = TypeVar("F", bound=Callable[..., Any])

_UNITS: Final = {"s": 1, "m": 60, "h": 3600, "d": 86_400}
_SPAN: Final = re.compile(r"\A(\d{1,6})([smhd])\Z")


class _Seconds(click.ParamType[int]):
    """A span of time, as `10m`."""

    name = "time"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        """Seconds."""
        if isinstance(value, int):
            return value
        match = _SPAN.match(value)
        if match is None:
            self.fail(f"{value!r} is no span of time: write 90s, 10m, 12h or 7d", param, ctx)
        return int(match[1]) * _UNITS[match[2]]


class _Instant(click.ParamType[datetime]):
    """A moment (RFC 3339); without a zone it is in UTC."""

    name = "instant"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        """A datetime with its zone."""
        if isinstance(value, datetime):
            return value
        try:
            instant = datetime.fromisoformat(value)
        except ValueError:
            self.fail(f"{value!r} is no moment: write 2026-11-25T10:00:00Z", param, ctx)
        return instant if instant.tzinfo else instant.replace(tzinfo=UTC)


SECONDS: Final = _Seconds()
INSTANT: Final = _Instant()


def with_reason(command: F) -> F:
    """Adds `--reason` and `--by`; `why` takes them."""
    command = click.option("--by", default=getpass.getuser, help="Who does it; your login when left out.")(command)
    return click.option("--reason", required=True, help="Why; kept for good, and sealed.")(command)


def why(reason: str, by: str) -> Why:
    """Who acts and why."""
    return Why(by, reason)
