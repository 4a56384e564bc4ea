"""Waits for an update to be applied, for callers who ask for that with `Prefer: wait` (RFC 7240 §4.3)."""

from __future__ import annotations

import re
import threading
import time
from typing import Final

import msgspec
import structlog

from models import deadlines
from models.errors import NotReady
from models.pipeline import ledger
from models.pipeline.inbox_writer import Receipt
from models.pipeline.ledger import Outcome
from models.storage.database import AWAY
from models.stores import Stores
from web.api.schemas import BoardResult, UpdateState

WAIT_SECONDS_MOST: Final = 10.0
#: Waiting requests hold a place at the gate: an eighth of its 64 may for long, so that other writes are always let in.
WAITERS_MOST: Final = 8
#: More than those wait for as long as a pipeline in good order takes, many times over, and only while it is.
EXTRA_WAIT_SECONDS: Final = 0.5
#: First looks come fast, since an update usually takes 5–20 ms; later ones spare Postgres.
_LOOKS_SECONDS: Final = (0.003, 0.003, 0.004, 0.005, 0.007, 0.01, 0.015, 0.025, 0.05)
#: A look that began in time may end this much later.
_GRACE_SECONDS: Final = 1.0
#: The ranking follows the commit within a few ms; after this the rank is given as it is.
_RANK_PATIENCE_SECONDS: Final = 0.1

log = structlog.get_logger(__name__)

_waiters = threading.BoundedSemaphore(WAITERS_MOST)
_WAIT: Final = re.compile(r"(?:\A|[,\s;])wait\s*=\s*\"?(\d{1,6})\"?(?:\Z|[,\s;])", re.IGNORECASE)


def wanted_seconds(prefer: str | None) -> float | None:
    """How long the caller would wait; None when it did not say."""
    match = _WAIT.search(prefer) if prefer else None
    return min(float(match[1]), WAIT_SECONDS_MOST) if match else None


def settled_within(stores: Stores, user_id: str, receipt: Receipt, seconds: float) -> UpdateState | None:
    """What became of an accepted update, or None: not settled in time, or Postgres cannot tell now.

    Whatever goes wrong here, the update is committed: its sender must never hear that it was refused (I1).
    """
    try:
        with deadlines.within(seconds + _GRACE_SECONDS):
            outcome = wait_until_settled(stores, user_id, receipt.action_id, seconds)
            if outcome.status == "queued":
                return None
            return told_state(stores, user_id, receipt.action_id, outcome, just_now=not receipt.replayed)
    except AWAY as error:
        log.warning("an outcome cannot be read", **{"event.action": "outcome"}, error=type(error))
        return None
    except Exception:  # whatever it is: see above
        log.exception("an outcome cannot be told", **{"event.action": "outcome"})
        return None


def wait_until_settled(stores: Stores, user_id: str, action_id: str, seconds: float) -> Outcome:
    """The update's outcome, as soon as it is settled or when the time is up."""
    may_wait_long = _waiters.acquire(blocking=False)
    if not may_wait_long:
        in_good_order = stores.pressure.state().oldest_age_seconds < EXTRA_WAIT_SECONDS
        seconds = min(seconds, EXTRA_WAIT_SECONDS) if in_good_order else 0
    try:
        deadline = time.monotonic() + seconds
        look = 0
        while True:
            with stores.engine.connect() as connection:
                outcome = ledger.outcome(connection, user_id, action_id)
            if outcome is not None and outcome.status != "queued":
                return outcome
            pause = _LOOKS_SECONDS[min(look, len(_LOOKS_SECONDS) - 1)]
            if time.monotonic() + pause > deadline:
                return Outcome("queued")
            time.sleep(pause)
            look += 1
    finally:
        if may_wait_long:
            _waiters.release()


def told_state(stores: Stores, user_id: str, action_id: str, outcome: Outcome, *, just_now: bool) -> UpdateState:
    """A settled outcome as it is answered, to the first who asks and, with the same ranks, to all repeats."""
    state = settled_state(stores, user_id, action_id, outcome, just_now=just_now)
    if not state.results or all(result.told_rank is not None for result in outcome.results):
        return state
    ranks = {result.board: result.rank for result in state.results if result.rank is not None}
    if len(ranks) < len(state.results):
        return state  # the ranking cannot be read now: a repeat may still be told
    with stores.engine.begin() as connection:
        told = ledger.tell_ranks(connection, user_id, action_id, ranks)
    results = [msgspec.structs.replace(result, rank=told[result.board]) for result in state.results]
    return msgspec.structs.replace(state, results=results)


def settled_state(stores: Stores, user_id: str, action_id: str, outcome: Outcome, *, just_now: bool) -> UpdateState:
    """A settled outcome; ranks are those that were told, or else those of this moment."""
    if outcome.status == "rejected":
        return UpdateState(action_id, "rejected", code=outcome.code, detail=outcome.detail)
    results = [
        BoardResult(
            r.board,
            r.previous_score,
            r.score_increment,
            r.new_score,
            r.told_rank or _rank(stores, user_id, r.board, r.new_score if just_now else None),
        )
        for r in outcome.results
    ]
    return UpdateState(action_id, "applied", results=results)


def _rank(stores: Stores, user_id: str, board: str, score: int | None) -> int | None:
    """The player's rank; with a score, once the ranking has it or patience ends. None without a ranking."""
    deadline = time.monotonic() + _RANK_PATIENCE_SECONDS
    while True:
        try:
            entries = stores.ranking.ranks(board, [user_id]).entries
        except NotReady:
            return None
        current = bool(entries) and score in (None, entries[0].score)
        if current or time.monotonic() > deadline:
            return entries[0].rank if entries else None
        time.sleep(_LOOKS_SECONDS[0])
