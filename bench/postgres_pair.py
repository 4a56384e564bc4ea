"""What do PgBouncer and a synchronous replica cost, and what would asynchronous replication lose?

    .venv/bin/python -m bench.postgres_pair --rounds 5

A pair and a PgBouncer of its own, as `make production` has them; wants pgbouncer installed. Costs are those of the two
statements of an update, over one connection; losses are commits that were told of and are gone once the primary was
killed with its disk, and the replica promoted. Compare neighbours in time only.
"""

from __future__ import annotations

import argparse
import os
import shutil
import signal
import statistics
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import psutil
import psycopg

from bench.accept_and_apply import WORTHS, arrivals, make_players
from deploy.postgres.alone import go_alone, go_together
from deploy.production.servers import postgres
from models.pipeline import drain, inbox, ledger
from models.pipeline.ledger import Window
from models.settings import Pooling
from models.storage.database import BoundedConnection, open_connection
from tests.fixtures.pair import Pair

PLAYERS = 1_000
GROUPS = 400
BATCH_ROWS = 500
WRITERS = 8
LOAD_SECONDS = 2.0
BEHIND_SECONDS = 0.2


def main() -> None:
    """Measure, and print a table each."""
    parser = argparse.ArgumentParser("python -m bench.postgres_pair", description=__doc__)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--only", choices=("costs", "losses"))
    given = parser.parse_args()
    if given.only != "losses":
        with pair() as made:
            made.migrate()
            costs(made, given.rounds)
    if given.only != "costs":
        losses(given.rounds)


def losses(rounds: int) -> None:
    """What is gone, round by round."""
    print("commits told of and lost with the primary's disk, of so many, in each round")
    for name, synchronous, behind in (
        ("remote_apply", True, 0.0),
        (f"remote_apply, replica deaf for {BEHIND_SECONDS} s", True, BEHIND_SECONDS),
        ("asynchronous", False, 0.0),
        (f"asynchronous, replica deaf for {BEHIND_SECONDS} s", False, BEHIND_SECONDS),
    ):
        lost = []
        for _ in range(rounds):
            with pair() as made:
                lost.append(loss(made, synchronous=synchronous, behind=behind))
        print(f"{name:40}  " + "  ".join(f"{gone:,}/{told:,}" for gone, told in lost), flush=True)


@contextmanager
def pair() -> Iterator[Pair]:
    """One of its own, on a disk."""
    made = Pair(Path(tempfile.mkdtemp(prefix="sb-bench-")))
    try:
        yield made
    finally:
        made.close()


def costs(made: Pair, rounds: int) -> None:
    """Each way in turn, round by round."""
    direct = postgres.migration_environment(made.folder, made.one)["DATABASE_URL"]
    direct, pooled = (url.replace("postgresql://", "postgresql+psycopg://") for url in (direct, made.service_url()))
    user_ids = make_players(direct, PLAYERS)
    ways: list[tuple[str, str, Pooling, bool]] = [
        ("PostgreSQL alone, prepared", direct, "none", False),
        ("the same, unprepared", direct, "transaction", False),
        ("PgBouncer, unprepared", pooled, "transaction", False),
        ("with the replica (remote_apply)", direct, "none", True),
        ("PgBouncer and the replica", pooled, "transaction", True),
    ]
    found: dict[str, list[tuple[float, float, float]]] = {name: [] for name, *_ in ways}
    for _ in range(rounds):
        for name, url, pooling, synchronous in ways:
            with made.one.connect() as connection:
                (go_together if synchronous else go_alone)(connection)
            found[name].append(one_round(url, pooling, user_ids))
    print("statement                                 accept 1    accept 100   apply 500   (ms, median)")
    for name, figures in found.items():
        one, hundred, apply = (statistics.median(each) * 1_000 for each in zip(*figures, strict=True))
        print(f"{name:40}  {one:8.2f}     {hundred:8.2f}    {apply:8.1f}")


def one_round(url: str, pooling: Pooling, user_ids: list[str]) -> tuple[float, float, float]:
    """Seconds of an accept of one, of an accept of a hundred, and of applying a batch."""
    with open_connection(url, pooling=pooling) as connection:
        connection.autocommit = True
        inbox.accept(connection, [])
        one = median(lambda: inbox.accept(connection, arrivals(user_ids[:1], 1)), GROUPS)
        hundred = median(lambda: inbox.accept(connection, arrivals(user_ids, 100)), GROUPS // 4)
    planner = drain._PLANNER  # noqa: SLF001 - the worker's own
    with open_connection(url, planner=planner, pooling=pooling) as connection:
        connection.autocommit = True
        apply = median(lambda: apply_batch(connection, pooling), GROUPS // 4 * 100 // BATCH_ROWS)
    return one, hundred, apply


def apply_batch(connection: BoundedConnection[Any], pooling: Pooling) -> None:
    """As the worker does it."""
    with connection.pipeline():
        connection.execute("BEGIN", prepare=False)
        if pooling == "transaction":
            connection.execute(drain._PLAN_HERE)  # noqa: SLF001 - the worker's own
        ledger.apply(connection, shard=0, window=Window(BATCH_ROWS), worths=WORTHS, refreshed=[])
        connection.execute("COMMIT", prepare=False)


def median(work: Callable[[], object], times: int) -> float:
    """Seconds."""
    taken = []
    for _ in range(times):
        began = time.perf_counter()
        work()
        taken.append(time.perf_counter() - began)
    return statistics.median(taken)


def loss(made: Pair, *, synchronous: bool, behind: float) -> tuple[int, int]:
    """How many commits were told of and are gone, and how many were told of."""
    with made.connect() as connection:
        connection.execute("CREATE TABLE promised (value bigint PRIMARY KEY)")
    if not synchronous:
        with made.one.connect() as connection:
            go_alone(connection)
    told: list[int] = []
    ending = threading.Event()

    def write(number: int) -> None:
        with made.connect() as connection:
            for value in range(number, 10**12, WRITERS):
                if ending.is_set():
                    return
                try:
                    connection.execute("INSERT INTO promised VALUES (%s)", (value,))
                except psycopg.Error:
                    return
                told.append(value)

    writers = [threading.Thread(target=write, args=(n,)) for n in range(WRITERS)]
    for writer in writers:
        writer.start()
    time.sleep(LOAD_SECONDS)
    with deaf(made, behind):
        made.kill(made.one)
        shutil.rmtree(made.one.data)
    ending.set()
    made.promote(made.two, made.one)
    for writer in writers:
        writer.join()
    with made.two.connect("scoreboard") as connection:
        held = {value for (value,) in connection.execute("SELECT value FROM promised")}
    return len(set(told) - held), len(told)


@contextmanager
def deaf(made: Pair, seconds: float) -> Iterator[None]:
    """The replica's receiver has heard nothing for so long when this begins, nor does it hear it when this ends."""
    receivers = [
        each for each in psutil.Process(made.two.running()).children() if "walreceiver" in " ".join(each.cmdline())
    ]
    if seconds:
        for each in receivers:
            os.kill(each.pid, signal.SIGSTOP)
        time.sleep(seconds)
    try:
        yield
    finally:
        for each in receivers:
            with suppress(ProcessLookupError):  # it has noticed that its primary is gone
                if seconds:
                    os.kill(each.pid, signal.SIGTERM)  # what lies in its socket never came, as over a line that broke
                os.kill(each.pid, signal.SIGCONT)


if __name__ == "__main__":
    main()
