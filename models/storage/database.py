"""Opens Postgres: one pool a process, each wait bounded."""

from __future__ import annotations

import math
import time
import traceback
from collections.abc import Mapping
from typing import Any, Final, Self, TypeVar

import psycopg
from psycopg.abc import RV, PQGen
from psycopg.rows import Row
from sqlalchemy import Engine, create_engine, event, exc
from sqlalchemy.engine import make_url

from models import deadlines

CONNECT_TIMEOUT_SECONDS: Final = 2
STATEMENT_TIMEOUT_MS: Final = 5_000
LOCK_TIMEOUT_MS: Final = 2_000
#: A frozen process must not hold a shard's lock for longer than this (I8).
IDLE_IN_TRANSACTION_TIMEOUT_MS: Final = 10_000
#: A process that died during a statement is noticed by the server after this: its locks go with it.
CLIENT_CHECK_MS: Final = 500
#: Half-open peers are noticed after this, whatever the kernel's retransmissions would allow.
TCP_USER_TIMEOUT_MS: Final = 5_000
#: `statement_timeout` is kept by the server; past this the server itself has stopped (frozen, or its disk hangs).
ANSWER_SECONDS: Final = 6.0
POOL_SIZE: Final = 8
POOL_TIMEOUT_SECONDS: Final = 2

#: What the pool's connections raise while Postgres is away, starting, or slower than our time-outs.
AWAY: Final = (exc.OperationalError, exc.InterfaceError, exc.InternalError, exc.TimeoutError)


def connect_options() -> dict[str, str | int]:
    """libpq parameters for every connection of the service; units are in the names above."""
    return {
        "connect_timeout": CONNECT_TIMEOUT_SECONDS,
        "tcp_user_timeout": TCP_USER_TIMEOUT_MS,
        "keepalives_idle": 10,
        "keepalives_interval": 5,
        "keepalives_count": 3,
        "application_name": "scoreboard",
        "options": (
            f"-c statement_timeout={STATEMENT_TIMEOUT_MS} -c lock_timeout={LOCK_TIMEOUT_MS} "
            f"-c idle_in_transaction_session_timeout={IDLE_IN_TRANSACTION_TIMEOUT_MS} "
            f"-c client_connection_check_interval={CLIENT_CHECK_MS} -c timezone=UTC"
        ),
    }


class BoundedConnection(psycopg.Connection[Row]):
    """A connection that waits for no answer without end (I8), whatever state the server is in."""

    #: When its owner must have an answer, by the monotonic clock, if that is sooner than ANSWER_SECONDS and than the
    #: deadline of the request it works for.
    answer_by = math.inf

    def __init__(self, *arguments: Any, **options: Any) -> None:
        super().__init__(*arguments, **options)
        #: Names of the statements that this connection's server process knows (`prepared.py`).
        self.prepared: set[bytes] = set()

    @classmethod
    def connect(cls, *arguments: Any, **options: Any) -> Self:
        """psycopg's own, which leaves an attempt that failed to the garbage collector.

        It is still held, open, by the frames that the error went through (psycopg 3.3), and the collector comes late
        (`garbage.py`): after a server was frozen for a while, such attempts had taken all of its connections.

        Raises:
            psycopg.OperationalError: as psycopg does.
        """
        try:
            return super().connect(*arguments, **options)
        except psycopg.Error as error:
            cause: BaseException | None = error
            while cause is not None:
                traceback.clear_frames(cause.__traceback__)
                cause = cause.__context__
            raise

    def wait(self, gen: PQGen[RV], interval: float = 0.1, timeout: float | None = None) -> RV:
        """psycopg's one place to wait; a statement that was not answered leaves the connection closed.

        Raises:
            psycopg.OperationalError: no answer in time; what was sent may or may not come to pass.
        """
        if timeout is not None:
            return self.wait_within(gen, interval, timeout)
        started = time.monotonic()
        seconds = max(0.0, min(ANSWER_SECONDS, self.answer_by - started, deadlines.remaining()))
        try:
            return self.wait_within(gen, interval, seconds)
        except psycopg.OperationalError as error:
            if time.monotonic() - started < seconds:
                raise
            self.close()
            raise psycopg.OperationalError(f"no answer from Postgres within {seconds:.1f} s") from error

    def wait_within(self, gen: PQGen[RV], interval: float, seconds: float) -> RV:
        """Wait for so long at most; how, is another's to say (`loop_connection.py`)."""
        return super().wait(gen, interval, seconds)


Opened = TypeVar("Opened", bound=BoundedConnection[tuple[Any, ...]])


def _connect_seconds() -> int:
    """Whole seconds, as libpq has it, of what is left of the request's time.

    Raises:
        psycopg.OperationalError: nothing is left.
    """
    left = min(float(CONNECT_TIMEOUT_SECONDS), deadlines.remaining())
    if left < 1:
        raise psycopg.OperationalError("no time is left to connect to Postgres")
    return int(left)


def open_engine(database_url: str) -> Engine:
    """An engine whose pool hands out checked connections and never waits without end.

    Args:
        database_url: SQLAlchemy URL with the driver `postgresql+psycopg`.
    """
    engine = create_engine(
        database_url,
        pool_size=POOL_SIZE,
        max_overflow=POOL_SIZE,
        pool_timeout=POOL_TIMEOUT_SECONDS,
        pool_pre_ping=True,
        pool_recycle=1800,
        hide_parameters=True,  # an error's words go to the log, and what a client sent does not
        connect_args=connect_options(),
    )

    @event.listens_for(engine, "do_connect")
    def connect(_dialect: Any, _record: Any, arguments: Any, options: Any) -> psycopg.Connection[Any]:
        return BoundedConnection.connect(*arguments, **{**options, "connect_timeout": _connect_seconds()})

    return engine


def open_connection(
    database_url: str, *, planner: Mapping[str, str] | None = None
) -> BoundedConnection[tuple[Any, ...]]:
    """A connection outside the pool, for the one loop that owns it; statements are prepared at first use.

    Args:
        planner: settings of Postgres' planner for this connection.

    Raises:
        psycopg.OperationalError: Postgres cannot be reached within the connect time-out.
    """
    return open_as(BoundedConnection, database_url, planner)


def open_as(kind: type[Opened], database_url: str, planner: Mapping[str, str] | None = None) -> Opened:
    """The same of a kind that waits in another way."""
    url = make_url(database_url)
    conninfo = url.set(drivername="postgresql").render_as_string(hide_password=False)
    options = connect_options()
    options["options"] = " ".join([str(options["options"]), *(f"-c {k}={v}" for k, v in (planner or {}).items())])
    return kind.connect(conninfo, prepare_threshold=0, **options)
