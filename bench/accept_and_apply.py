"""How many rows a second do the two statements of an update cost PostgreSQL: accept in groups, apply in batches?

    .venv/bin/python -m bench.accept_and_apply --rows 20000 --rounds 5

A PostgreSQL of its own, one connection, no web, no Redis: what a change of tables or statements costs shows here
first. Compare neighbours in time only; on a busy machine believe the CPU rather than the rate.
"""

from __future__ import annotations

import argparse
import shutil
import statistics
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from uuid import uuid4

import psutil
import psycopg
from sqlalchemy import create_engine, text

from deploy.local.embedded import postgres
from migrations import schema
from models.pipeline import drain, inbox, ledger
from models.pipeline.inbox import Arrival
from models.pipeline.ledger import Window, Worth
from models.pipeline.vouching import VOUCH_BYTES
from models.storage.database import open_connection

GROUP_ROWS = 100
BATCH_ROWS = 500
PLAYERS = 1_000
WORTHS = [Worth("level_complete", "global", 1, 10)]


@dataclass
class Cost:
    """Of one statement, over one round."""

    rows_a_second: float = 0.0
    cpu_us_a_row: float = 0.0  # of the server process that ran it

    def __str__(self) -> str:
        return f"{self.rows_a_second:,.0f} rows/s, {self.cpu_us_a_row:.1f} us CPU a row"


def arrivals(user_ids: list[str], rows: int) -> list[Arrival]:
    """That many updates, player by player in turn."""
    return [
        Arrival(
            user_id=user_ids[at % len(user_ids)],
            action_id=f"a-{uuid4().hex}",
            action="level_complete",
            value=1,
            nonce=uuid4().hex,
            signature=bytes(32),
            address="192.0.2.7",
            request_id="bench",
            shard=0,
            vouch=bytes(VOUCH_BYTES),
            cooldown_seconds=0,
        )
        for at in range(rows)
    ]


def make_players(url: str) -> list[str]:
    """Players, and the board they play on."""
    with create_engine(url).begin() as connection:
        connection.execute(text("INSERT INTO boards (name, title) VALUES ('global', 'Global')"))
        connection.execute(text("INSERT INTO seasons (board, number) VALUES ('global', 1)"))
        rows = connection.execute(
            text(
                "INSERT INTO users (username, email, secret_key, secret_key_kid)"
                " SELECT 'p' || n, n || '@example.org', '', 'b' FROM generate_series(1, :players) n RETURNING id"
            ),
            {"players": PLAYERS},
        )
        return [str(user_id) for user_id in rows.scalars()]


def accept(url: str, updates: list[Arrival]) -> Cost:
    """A commit a group."""
    with open_connection(url) as connection:
        connection.autocommit = True
        inbox.accept(connection, [])  # prepared now
        with measured(connection, len(updates)) as cost:
            for at in range(0, len(updates), GROUP_ROWS):
                inbox.accept(connection, updates[at : at + GROUP_ROWS])
    return cost


def apply(url: str, rows: int) -> Cost:
    """A transaction a batch."""
    with open_connection(url, planner=drain._PLANNER) as connection:  # noqa: SLF001 - the worker's own
        connection.autocommit = True
        marks: list[int] = []
        with measured(connection, rows) as cost:
            while True:
                with connection.transaction():
                    batch = ledger.applied(
                        ledger.apply(connection, shard=0, window=Window(BATCH_ROWS), worths=WORTHS, refreshed=marks)
                    )
                if not batch.claimed:
                    break
                marks = [batch.refresh_id] if batch.refresh_id is not None else []
    return cost


@contextmanager
def measured(connection: psycopg.Connection[Any], rows: int) -> Iterator[Cost]:
    """Time and the server process' CPU of what is done inside."""
    server, cost = psutil.Process(connection.info.backend_pid), Cost()
    started, before = time.perf_counter(), server.cpu_times()
    yield cost
    after = server.cpu_times()
    cost.rows_a_second = rows / (time.perf_counter() - started)
    cost.cpu_us_a_row = 1e6 * (after.user + after.system - before.user - before.system) / rows


def main() -> None:
    """Print each round, then the medians."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rows", type=int, default=20_000)
    parser.add_argument("--rounds", type=int, default=5)
    options = parser.parse_args()
    folder = Path(tempfile.mkdtemp(prefix="sb-bench-"))
    figures: list[tuple[Cost, Cost]] = []
    try:
        with postgres.start_postgres(folder) as server:
            url = server.replace("//postgres@/postgres", "//scoreboard@/scoreboard")
            schema.upgrade(url)
            user_ids = make_players(url)
            for number in range(1, options.rounds + 1):
                updates = arrivals(user_ids, options.rows)
                figures.append((accept(url, updates), apply(url, options.rows)))
                print(f"round {number}: accept {figures[-1][0]}; apply {figures[-1][1]}")
    finally:
        shutil.rmtree(folder, ignore_errors=True)
    for name, costs in zip(("accept", "apply"), zip(*figures, strict=True), strict=True):
        median = Cost(
            statistics.median(cost.rows_a_second for cost in costs),
            statistics.median(cost.cpu_us_a_row for cost in costs),
        )
        print(f"median: {name} {median}")


if __name__ == "__main__":
    main()
