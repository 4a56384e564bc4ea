"""Opens Postgres: one pool a process, each wait bounded."""

from __future__ import annotations

import math
import time
import traceback
from collections.abc import Mapping
from typing import Any, Final, Self, TypeVar

import psycopg
from psycopg.abc import RV, PQGen
from psycopg.rows import Row, tuple_row
from sqlalchemy import Engine, create_engine, event, exc
from sqlalchemy.engine import make_url

from models import deadlines
from models.settings import Pooling

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
#: What the server is to hold to in our sessions. Behind a transaction pooler a session is nobody's: there they are
#: settings of the role (`python -m deploy.postgres.roles`).
SESSION: Final[Mapping[str, str]] = {
    "statement_timeout": f"{STATEMENT_TIMEOUT_MS}",
    "lock_timeout": f"{LOCK_TIMEOUT_MS}",
    "idle_in_transaction_session_timeout": f"{IDLE_IN_TRANSACTION_TIMEOUT_MS}",
    "client_connection_check_interval": f"{CLIENT_CHECK_MS}",
    "timezone": "UTC",
}

#: What the pool's connections raise while Postgres is away, starting, or slower than our time-outs.
AWAY: Final = (exc.OperationalError, exc.InterfaceError, exc.InternalError, exc.TimeoutError)


def connect_options(pooling: Pooling = "none", planner: Mapping[str, str] | None = None) -> dict[str, Any]:
    """psycopg's parameters for every connection of the service; units are in the names above.

    Behind a transaction pooler nothing is left in the session: no settings, no statement prepared by psycopg or by us
    (`prepared.py`); PgBouncer knows those only since 1.21.
    """
    options: dict[str, Any] = {
        "connect_timeout": CONNECT_TIMEOUT_SECONDS,
        "tcp_user_timeout": TCP_USER_TIMEOUT_MS,
        "keepalives_idle": 10,
        "keepalives_interval": 5,
        "keepalives_count": 3,
        "application_name": "scoreboard",
    }
    if pooling == "transaction":
        return {**options, "prepare_threshold": None}
    settings = {**SESSION, **(planner or {})}
    return {**options, "options": " ".join(f"-c {name}={value}" for name, value in settings.items())}


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


def open_engine(database_url: str, pooling: Pooling = "none") -> Engine:
    """An engine whose pool hands out checked connections and never waits without end.

    Args:
        database_url: SQLAlchemy URL with the driver `postgresql+psycopg`.
        pooling: what stands between; with `transaction` the role must have the settings of SESSION.
    """
    engine = create_engine(
        database_url,
        pool_size=POOL_SIZE,
        max_overflow=POOL_SIZE,
        pool_timeout=POOL_TIMEOUT_SECONDS,
        pool_pre_ping=True,
        pool_recycle=1800,
        hide_parameters=True,  # an error's words go to the log, and what a client sent does not
        connect_args=connect_options(pooling),
    )

    @event.listens_for(engine, "do_connect")
    def connect(_dialect: Any, _record: Any, arguments: Any, options: Any) -> psycopg.Connection[Any]:
        opened = BoundedConnection.connect(*arguments, **{**options, "connect_timeout": _connect_seconds()})
        if pooling == "transaction":
            require_bounds(opened)
        return opened

    return engine


def open_connection(
    database_url: str, *, planner: Mapping[str, str] | None = None, pooling: Pooling = "none"
) -> BoundedConnection[tuple[Any, ...]]:
    """A connection outside the pool, for the one loop that owns it; statements are prepared at first use.

    Args:
        planner: settings of Postgres' planner for this connection; behind a transaction pooler they are for each
            transaction to set.
        pooling: what stands between.

    Raises:
        psycopg.OperationalError: Postgres cannot be reached within the connect time-out.
    """
    return open_as(BoundedConnection, database_url, planner, pooling)


def open_as(
    kind: type[Opened], database_url: str, planner: Mapping[str, str] | None = None, pooling: Pooling = "none"
) -> Opened:
    """The same of a kind that waits in another way."""
    url = make_url(database_url)
    conninfo = url.set(drivername="postgresql").render_as_string(hide_password=False)
    opened = kind.connect(conninfo, **{"prepare_threshold": 0, **connect_options(pooling, planner)})
    if pooling == "transaction":
        require_bounds(opened)
    return opened


def require_bounds(connection: BoundedConnection[Any]) -> None:
    """Check that the role bounds its statements, since we cannot say so in a session that is not ours (I8).

    Raises:
        psycopg.OperationalError: a time-out is off or the time zone is another; the connection is closed.
    """
    names = list(SESSION)
    before, connection.autocommit = connection.autocommit, True
    with connection.cursor(row_factory=tuple_row) as cursor:
        cursor.execute("SELECT " + ", ".join(f"current_setting('{name}')" for name in names))  # constants
        held = dict(zip(names, cursor.fetchone() or (), strict=False))
    connection.autocommit = before
    unset = [name for name in names if held.get(name) == "0" or (name == "timezone" and held.get(name) != "UTC")]
    if unset:
        connection.close()
        raise psycopg.OperationalError(
            f"the database's role lacks {', '.join(unset)}: see `python -m deploy.postgres.roles --help`"
        )
