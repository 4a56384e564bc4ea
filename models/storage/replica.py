"""Reads at a replica, for as long as it is known to be near enough to the primary.

How old its state is follows from the primary alone: every look notes where the primary's WAL was at a moment, and the
replica is as new as the latest such moment whose WAL it has replayed. So no clock is compared with another's, and an
idle primary makes nobody old.
"""

from __future__ import annotations

import _thread
import threading
import time
from collections import deque
from collections.abc import Callable
from typing import Final

import structlog
from sqlalchemy import Connection, Engine, text
from sqlalchemy.exc import SQLAlchemyError

from models import deadlines
from models.observers import nobody

#: How often it is looked at, at most, while somebody asks.
LOOK_SECONDS: Final = 0.2
#: Where the WAL was, for as long as the largest limit that makes sense.
_MARKS_MOST: Final = 20_000
#: What a look, a read, or waiting for the replica to catch up may take: then there is time left to ask the primary.
ANSWER_SECONDS: Final = 1.5
#: How long a replica is given to replay what was committed before: usually it has.
CATCH_UP_SECONDS: Final = 0.5
_POLL_SECONDS: Final = 0.005
#: After it failed it is left alone for this long.
DISTRUST_SECONDS: Final = 5.0
#: All that a returned COMMIT has written lies before this.
_PRIMARY: Final = text("SELECT pg_wal_lsn_diff(pg_current_wal_flush_lsn(), '0/0')::bigint")
#: NULL for a server that follows nobody: it may be a former primary, and is no replica of ours.
_REPLAYED: Final = text(
    "SELECT CASE WHEN pg_is_in_recovery() THEN pg_wal_lsn_diff(pg_last_wal_replay_lsn(), '0/0')::bigint END"
)

log = structlog.get_logger(__name__)


class Replica:
    """One replica of the primary, or none."""

    def __init__(self, primary: Engine, replica: Engine | None, *, lag_limit_seconds: float) -> None:
        self._primary = primary
        self._replica = replica
        self._limit = lag_limit_seconds
        self._marks: deque[tuple[float, int]] = deque(maxlen=_MARKS_MOST)
        self._as_of = self._looked_at = self._distrusted_until = float("-inf")
        self._looking = threading.Lock()
        #: Hears of every read whether the replica answered it.
        self.on_read: Callable[[bool], None] = nobody

    def is_near(self) -> bool:
        """Whether it is known to be within the limit, and answered when last asked. Waits for nothing."""
        if self._replica is None:
            return False
        return self.lag_seconds() <= self._limit and time.monotonic() >= self._distrusted_until

    def connect(self) -> Connection:
        """A connection to it.

        Raises:
            SQLAlchemyError: it cannot be reached, or there is none: tell `distrust`, and read the primary.
        """
        if self._replica is None:
            raise SQLAlchemyError("there is no replica")
        return self._replica.connect()

    def open_current(self) -> Connection | None:
        """A connection in a transaction at the replica, whose every statement sees what was committed before this call.

        None: the replica has not got it within CATCH_UP_SECONDS, or none can be reached; read the primary.

        It is not one snapshot: each statement sees what its moment has. The transaction is what keeps it with one
        server behind a pooler.
        """
        if self._replica is None or time.monotonic() < self._distrusted_until:
            return None
        connection = None
        try:
            with deadlines.within(ANSWER_SECONDS):
                upto = self._written()
                connection = self._replica.connect()
                if _replays(connection, upto):
                    return connection
        except SQLAlchemyError as error:
            self.distrust(error)
        if connection is not None:
            connection.close()
        return None

    def lag_seconds(self) -> float:
        """How old its state may be; infinite when that is not known. Asking has it looked at again."""
        now = time.monotonic()
        if now - self._looked_at > LOOK_SECONDS and self._replica is not None and self._looking.acquire(blocking=False):
            self._looked_at = now
            _thread.start_new_thread(self._look, ())  # as in pressure.py
        return now - self._as_of

    def distrust(self, error: SQLAlchemyError) -> None:
        """It failed: read the primary for a while."""
        self._distrusted_until = time.monotonic() + DISTRUST_SECONDS
        log.warning("the replica cannot be read", **{"event.action": "replica"}, error=str(error))

    def close(self) -> None:
        """See a look that is under way through to its end, and look no more; repeatable."""
        self._looked_at = float("inf")
        if self._looking.acquire(timeout=2 * ANSWER_SECONDS):
            self._looking.release()
        if self._replica is not None:
            self._replica.dispose()

    def _look(self) -> None:
        try:
            if self._replica is None or time.monotonic() < self._distrusted_until:
                return
            with deadlines.within(ANSWER_SECONDS):
                self._marks.append((time.monotonic(), self._written()))
                with self._replica.connect() as connection:
                    replayed = connection.execute(_REPLAYED).scalar_one()
            while self._marks and replayed is not None and self._marks[0][1] <= replayed:
                self._as_of = self._marks.popleft()[0]
        except SQLAlchemyError as error:
            self.distrust(error)
        finally:
            self._looking.release()

    def _written(self) -> int:
        with self._primary.connect() as connection:
            return int(connection.execute(_PRIMARY).scalar_one())


def _replays(connection: Connection, upto: int) -> bool:
    """Whether the server has replayed so far, within CATCH_UP_SECONDS."""
    deadline = time.monotonic() + CATCH_UP_SECONDS
    while True:
        replayed = connection.execute(_REPLAYED).scalar_one()
        if replayed is None or replayed >= upto:
            return replayed is not None
        if time.monotonic() > deadline:
            return False
        time.sleep(_POLL_SECONDS)
