"""Forgets what no longer matters, in small batches, and makes the months that history will need."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from typing import Final

import structlog
from sqlalchemy import Connection, Engine
from sqlalchemy.exc import SQLAlchemyError

from models.accounts import tokens
from models.pipeline import history_months, inbox

#: Rows a transaction: about 15 ms of locks on rows nobody else wants.
BATCH_ROWS: Final = 1_000
#: A run's share of the minute between two; what is left over waits for the next.
RUN_SECONDS: Final = 3.0

#: What is forgotten, by the name its metric has; the longest last, since each gets one batch in any case.
KINDS: Final[Mapping[str, Callable[[Connection, int], int]]] = {
    "token_families": tokens.forget_families,
    "revocations": tokens.forget_revocations,
    "cooldowns": inbox.forget_cooldowns,
    "nonces": inbox.forget_nonces,
}

log = structlog.get_logger(__name__)


def forget(engine: Engine) -> dict[str, int]:
    """Forget what is past its time, for RUN_SECONDS at most; returns how many rows, by kind.

    Each batch is a transaction of its own: dying on any line loses one batch's work and nothing else.
    """
    deadline = time.monotonic() + RUN_SECONDS
    gone = dict.fromkeys(KINDS, 0)
    for kind, forget_some in KINDS.items():
        rows = BATCH_ROWS
        while rows == BATCH_ROWS:
            with engine.begin() as connection:
                rows = forget_some(connection, BATCH_ROWS)
            gone[kind] += rows
            if time.monotonic() > deadline:
                break
    return gone


def make_months(engine: Engine) -> list[str]:
    """Make the partitions of history that are missing from this month on; returns their names.

    A month that cannot be made is told and left out, and so are rows that have none: inserts go on in any case, into
    the default partition, and the months after it are made.
    """
    made = []
    with engine.connect() as connection:
        months = history_months.wanted(connection)
        unplaced = history_months.any_unplaced(connection)
    if unplaced:
        log.warning("history has rows without a month", **{"event.action": "forget"})
    for month in months:
        try:
            with engine.begin() as connection:
                made.append(history_months.make(connection, month))
        except SQLAlchemyError as error:
            log.warning(
                "a month of history cannot be made",
                **{"event.action": "forget"},
                month=f"{month:%Y-%m}",
                error=error,
            )
    return made
