"""The pair of PostgreSQL servers behind PgBouncer: what was acknowledged outlives the primary's disk (I1)."""

from __future__ import annotations

import os
import shutil
import signal
import threading
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager

import psutil
import psycopg
import pytest

from deploy.local.errors import StackError
from deploy.postgres.alone import go_alone, go_together
from deploy.postgres.server import Server
from deploy.production.servers import postgres
from models import deadlines
from models.errors import QueueUnavailable
from models.settings import Settings
from models.stores import open_stores
from tests.fixtures.pair import Pair
from tests.fixtures.people import register, sign
from tests.fixtures.service import environment_for
from tests.fixtures.waiting import eventually

pytestmark = pytest.mark.faults
_WRITERS = 3
#: Just enough for a write to be tried: who has less is refused at once.
WAIT_SECONDS = 2.5


class Writers:
    """Clients of PgBouncer that write, and remember what they were told was committed."""

    def __init__(self, pair: Pair) -> None:
        self._pair = pair
        self._ending = threading.Event()
        self.told: set[int] = set()
        self.longest_pause = 0.0
        self._threads = [threading.Thread(target=self._write, args=(n,)) for n in range(_WRITERS)]

    def __enter__(self) -> Writers:
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._ending.set()
        for thread in self._threads:
            thread.join(20)

    def more(self, least: int = 50) -> None:
        """Wait until so many more were committed."""
        wanted = len(self.told) + least
        eventually(lambda: len(self.told) >= wanted, 15)

    def _write(self, number: int) -> None:
        value, told_at = number, time.monotonic()
        while not self._ending.is_set():
            try:
                with closing(self._pair.connect()) as connection:
                    while not self._ending.is_set():
                        connection.execute("INSERT INTO promised VALUES (%s) ON CONFLICT DO NOTHING", (value,))
                        self.told.add(value)
                        self.longest_pause = max(self.longest_pause, time.monotonic() - told_at)
                        value, told_at = value + _WRITERS, time.monotonic()
            except psycopg.Error:
                time.sleep(0.02)


@pytest.fixture(autouse=True)
def table(pair: Pair) -> None:
    with pair.connect() as connection:
        connection.execute("CREATE TABLE IF NOT EXISTS promised (value integer PRIMARY KEY)")
        connection.execute("TRUNCATE promised")


def held(server: Server) -> set[int]:
    with server.connect("scoreboard") as connection:
        return {value for (value,) in connection.execute("SELECT value FROM promised")}  # type: ignore[misc]


@contextmanager
def frozen(server: Server) -> Iterator[None]:
    """It takes bytes, and does nothing with them."""
    pid = server.running()
    assert pid is not None
    processes = [psutil.Process(pid), *psutil.Process(pid).children(recursive=True)]
    for process in processes:
        os.kill(process.pid, signal.SIGSTOP)
    try:
        yield
    finally:
        for process in processes:
            os.kill(process.pid, signal.SIGCONT)


def test_what_was_committed_can_be_read_at_the_replica_at_once(pair: Pair) -> None:
    with pair.connect() as primary, pair.connect("DATABASE_REPLICA_URL") as replica:
        for value in range(100):
            primary.execute("INSERT INTO promised VALUES (%s)", (value,))
            assert replica.execute("SELECT max(value) FROM promised").fetchone() == (value,)


def test_nothing_that_was_told_is_lost_with_the_primarys_disk_and_its_clients_go_on(pair: Pair) -> None:
    with Writers(pair) as writers:
        writers.more()
        pair.kill(pair.one)
        shutil.rmtree(pair.one.data)
        seconds = pair.promote(pair.two, pair.one)
        writers.more()
        assert "copied" in pair.rejoin(pair.one, pair.two)
        pair.start(pair.one)
        pair.have_both(pair.two, pair.one)
        writers.more()
    assert writers.told <= held(pair.two)
    assert held(pair.one) >= writers.told  # the standby has it too: commits wait for it again
    assert seconds < 10
    assert writers.longest_pause < 20


def test_an_old_primary_cannot_take_a_write_and_follows_again_once_it_is_turned_back(pair: Pair) -> None:
    """Back to postgres-1, which the test before has left as the standby: both are alive this time."""
    with pair.two.connect("scoreboard") as connection:
        connection.execute("INSERT INTO promised VALUES (-1)")
    old = pair.promote(pair.one, pair.two) and pair.two
    assert old.follows
    pair.forget(old)
    pair.start(old)  # as a supervisor would
    with old.connect("scoreboard") as connection, pytest.raises(psycopg.errors.ReadOnlySqlTransaction):
        connection.execute("INSERT INTO promised VALUES (-2)")
    with pytest.raises(StackError, match="stop it first"):
        pair.rejoin(old, pair.one)
    pair.stop(old)
    assert "rewound" in pair.rejoin(old, pair.one)
    pair.start(old)
    pair.have_both(pair.one, old)
    with pair.connect() as client:
        client.execute("INSERT INTO promised VALUES (-3)")
    assert {-1, -3} <= held(old)
    assert postgres.primary_of((pair.one, pair.two)) == pair.one


def test_without_its_standby_nothing_is_promised_until_it_is_told_to_go_alone(pair: Pair, redis_url, tmp_path) -> None:
    """Not even by a repeat of what the primary has on its own disk (I1)."""
    pair.migrate()
    settings = Settings.from_env({**environment_for(pair.service_url(), redis_url, tmp_path), **pair.environment()})
    with open_stores(settings) as stores:
        (player,) = register(stores, 1)
        update = sign(player)

        def accept(seconds: float = 10.0) -> bool:
            with deadlines.within(seconds):
                return stores.acceptor.accept(player.user_id, update, address=None, request_id="r").replayed

        stores.acceptor.warm_up()
        with frozen(pair.two):
            with pytest.raises(QueueUnavailable):
                accept(WAIT_SECONDS)
            with pair.one.connect("scoreboard") as connection:
                # As a restart of the primary would, this shows what waits for the standby, and has not got it.
                connection.execute(
                    "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE wait_event = 'SyncRep'"
                )
                eventually(lambda: connection.execute("SELECT 1 FROM inbox").fetchone())
                with pytest.raises(QueueUnavailable):
                    accept(WAIT_SECONDS)
                go_alone(connection)
            assert accept()
        eventually(lambda: pair.ready(pair.two))
        with pair.one.connect() as connection:
            go_together(connection)
        assert accept()


def test_no_password_is_in_a_log_a_command_line_or_a_file_that_others_may_read(pair: Pair) -> None:
    told = [*postgres.passwords(pair.folder).values(), pair.pooler.passfile.read_text().rpartition(":")[2].strip()]
    assert len(told) == 4
    commands = " ".join(" ".join(each.info["cmdline"] or ()) for each in psutil.process_iter(["cmdline"]))
    assert [password for password in told if password in commands] == []
    for path in pair.folder.rglob("*"):
        if path.is_file() and not path.is_relative_to(pair.one.data) and not path.is_relative_to(pair.two.data):
            holds = any(password in path.read_text("utf-8", "replace") for password in told)
            assert not holds or path.stat().st_mode & 0o077 == 0, path
