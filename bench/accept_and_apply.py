"""How many rows a second do the two statements of an update cost PostgreSQL: accept in groups, apply in batches?

    .venv/bin/python -m bench.accept_and_apply --rows 20000 --rounds 5
    .venv/bin/python -m bench.accept_and_apply --players 200000 --by-user 1 4

With several `--by-user` there are as many databases, with scores and history in so many parts, and they take turns.
A PostgreSQL of its own, one connection, no web, no Redis: what a change of tables or statements costs shows here
first. Compare neighbours in time only; on a busy machine believe the CPU rather than the rate.
"""

from __future__ import annotations

import argparse
import random
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
from migrations.partition import partition
from models.pipeline import drain, inbox, ledger
from models.pipeline.inbox import Arrival
from models.pipeline.ledger import Window, Worth
from models.pipeline.vouching import VOUCH_BYTES
from models.storage.database import open_connection

GROUP_ROWS = 100
BATCH_ROWS = 500
WORTHS = [Worth("level_complete", "global", 1, 10)]


@dataclass
class Cost:
    """Of one statement, over one round."""

    rows_a_second: float = 0.0
    cpu_us_a_row: float = 0.0  # of the server process that ran it

    def __str__(self) -> str:
        return f"{self.rows_a_second:,.0f} rows/s, {self.cpu_us_a_row:.1f} us CPU a row"


def arrivals(user_ids: list[str], rows: int) -> list[Arrival]:
    """That many updates, player by player in turn; of many players, those that chance picks."""
    playing = user_ids if len(user_ids) <= rows else random.Random(rows).sample(user_ids, rows)
    return [
        Arrival(
            user_id=playing[at % len(playing)],
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


def make_players(url: str, count: int) -> list[str]:
    """Players who have played before, and the board they play on."""
    with create_engine(url).begin() as connection:
        connection.execute(text("INSERT INTO boards (name, title) VALUES ('global', 'Global')"))
        connection.execute(text("INSERT INTO seasons (board, number) VALUES ('global', 1)"))
        rows = connection.execute(
            text(
                "INSERT INTO users (username, email, secret_key, secret_key_kid)"
                " SELECT 'p' || n, n || '@example.org', '', 'b' FROM generate_series(1, :players) n RETURNING id"
            ),
            {"players": count},
        )
        user_ids = [str(user_id) for user_id in rows.scalars()]
        connection.execute(
            text(
                "INSERT INTO scores (user_id, board, season, score, version, last_action_id, last_action_at)"
                " SELECT id, 'global', 1, 0, 1, 'first', now() FROM users"
            )
        )
        return user_ids


def make_database(server: str, parts: int, players: int) -> tuple[str, list[str]]:
    """A database with players whose scores and history are in so many parts; its URL, and their ids."""
    name = f"parts_{parts}"
    with psycopg.connect(server.replace("+psycopg", ""), autocommit=True) as connection:
        connection.execute(f"CREATE DATABASE {name} OWNER scoreboard")
    url = server.replace("//postgres@/postgres", f"//scoreboard@/{name}")
    schema.upgrade(url)
    user_ids = make_players(url, players)
    partition(url, parts, print)
    with create_engine(url).begin() as connection:  # the month of now too, as it is from the next one on
        connection.execute(text("DROP TABLE score_history_first"))
        connection.execute(text("SELECT make_history_month(now())"))
    return url, user_ids


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
    parser.add_argument("--players", type=int, default=1_000)
    parser.add_argument("--by-user", type=int, nargs="+", default=[1], metavar="N")
    options = parser.parse_args()
    folder = Path(tempfile.mkdtemp(prefix="sb-bench-"))
    figures: dict[int, list[tuple[Cost, Cost]]] = {parts: [] for parts in options.by_user}
    try:
        with postgres.start_postgres(folder) as server:
            databases = {parts: make_database(server, parts, options.players) for parts in figures}
            for number in range(1, options.rounds + 1):
                for parts, (url, user_ids) in databases.items():
                    updates = arrivals(user_ids, options.rows)
                    figures[parts].append((accept(url, updates), apply(url, options.rows)))
                    print(
                        f"round {number}, {parts} parts: accept {figures[parts][-1][0]}; apply {figures[parts][-1][1]}"
                    )
    finally:
        shutil.rmtree(folder, ignore_errors=True)
    for parts, rounds in figures.items():
        for name, costs in zip(("accept", "apply"), zip(*rounds, strict=True), strict=True):
            median = Cost(
                statistics.median(cost.rows_a_second for cost in costs),
                statistics.median(cost.cpu_us_a_row for cost in costs),
            )
            print(f"median, {parts} parts: {name} {median}")


if __name__ == "__main__":
    main()
