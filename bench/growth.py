"""How do costs grow: with the players on a board, with workers and shards, with sockets?

    .venv/bin/python -m bench.growth
    .venv/bin/python -m bench.growth --most 100000 --sockets-most 1000

Costs of single operations are times of one caller with nobody beside it, in µs: what is done in parallel is measured by
`rates.py`. Writes all to `bench/results/growth.json`, of which `pictures.py` draws the curves.
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
import random
import statistics
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import psutil
from tqdm import tqdm

from bench.accept_and_apply import arrivals
from bench.harness import machine, players
from bench.harness.players import BOARD, Player
from bench.harness.stack import Stack, running
from bench.sockets import SETTINGS, deltas, fan_out
from models.boards.deltas import delta
from models.boards.places import Standing
from models.pipeline import inbox
from models.settings import Settings
from models.storage.database import open_connection
from models.stores import Stores, open_stores
from web.live import messages
from web.live.recent import Recent

RESULTS = Path(__file__).parent / "results"
SIZES = (1_000, 10_000, 100_000, 1_000_000)
WORKERS = (1, 2, 4)
SOCKETS = (10, 100, 1_000, 5_000)
CALLS = 2_000
WRITES = 10_000
#: Rows that are accepted together: what 32 connections make of it.
GROUP = 8
#: Rows that wait before workers begin: enough for some seconds.
BACKLOG = 100_000

Figures = dict[str, float]


def of_size(players_count: int) -> Figures:
    """Costs on a board of so many players, and the memory they take."""
    with running(SETTINGS) as stack, _without_workers(stack), open_stores(stack.settings) as stores:
        empty = _redis_bytes(stores)
        everybody = players.populate(stack.settings, players_count, playing=min(players_count, 1_000))
        figures = {"redis_bytes_a_player": (_redis_bytes(stores) - empty) / players_count}
        figures |= _postgres_bytes(stack.settings, players_count)
        ranking, ids = stores.ranking, [player.user_id for player in everybody]
        dice = random.Random(2)
        figures["rank"] = _us(lambda: ranking.ranks(BOARD, [dice.choice(ids)]))
        figures["page"] = _us(lambda: ranking.top(BOARD, 100))
        figures["around"] = _us(lambda: ranking.around(BOARD, dice.choice(ids), 10))
        figures["delta"] = _delta_us(stores)
        began = time.perf_counter()
        ranking.rebuild(BOARD)
        figures["rebuild"] = 1e6 * (time.perf_counter() - began)
        return figures | _write_us(stack.settings, stores, everybody)


def of_workers(count: int) -> Figures:
    """Rows a second that as many worker processes apply, each with a shard of its own."""
    with running({**SETTINGS, "SHARDS": str(count)}) as stack, _without_workers(stack):
        everybody = players.populate(stack.settings, 1_000)
        _accept(stack.settings, everybody, BACKLOG, group=500)
        context = multiprocessing.get_context("spawn")
        ready = context.Barrier(count + 1)
        processes = [context.Process(target=_drain, args=(stack.settings, shard, ready)) for shard in range(count)]
        for process in processes:
            process.start()
        ready.wait()
        began = time.perf_counter()
        for process in processes:
            process.join()
        return {"rows_a_second": round(BACKLOG / (time.perf_counter() - began))}


def of_sockets(count: int, seconds: float) -> Figures:
    """CPU of a frame, and the time from a 202 to the delta."""
    with running(SETTINGS) as stack:
        everybody = players.populate(stack.settings, 1_000)
        time.sleep(2)
        fan = fan_out(stack, count, seconds)
        waits = deltas(stack, everybody, count, seconds)
    return {name: fan[name] for name in ("us", "floor_us", "naive_us")} | {
        name: waits[name] for name in ("p50_ms", "p99_ms", "sockets_percent")
    }


def _write_us(settings: Settings, stores: Stores, everybody: Sequence[Player]) -> Figures:
    """Accepted in groups, then applied and told in batches: µs an update, and what is kept of each for good."""
    before = _kept_bytes(settings)
    accepted = _accept(settings, everybody, WRITES, group=GROUP)
    drain = stores.drain()
    began = time.perf_counter()
    drained = drain.drain(0, deadline_seconds=120)
    took = time.perf_counter() - began
    drain.close()
    return {
        "accept": 1e6 * accepted / WRITES,
        "apply": 1e6 * took / max(1, drained.applied),
        "postgres_bytes_an_update": (_kept_bytes(settings) - before) / WRITES,
    }


def _kept_bytes(settings: Settings) -> int:
    """History and keys, indexes included."""
    with players.connected(settings) as connection:
        row = connection.execute(
            "SELECT sum(pg_total_relation_size(oid)) FROM pg_class"
            " WHERE relkind = 'r' AND (relname LIKE 'score_history%' OR relname = 'inbox_keys')"
        ).fetchone()
    return int(str(row[0])) if row else 0


def _accept(settings: Settings, everybody: Sequence[Player], rows: int, *, group: int) -> float:
    """Seconds it took to commit so many updates to the inbox."""
    updates = arrivals([player.user_id for player in everybody], rows)
    updates = [each._replace(shard=inbox.shard_of(each.user_id, settings.shards)) for each in updates]
    with open_connection(settings.database_url) as connection:
        connection.autocommit = True
        inbox.accept(connection, [])  # prepared now
        began = time.perf_counter()
        for at in range(0, rows, group):
            inbox.accept(connection, updates[at : at + group])
        return time.perf_counter() - began


def _drain(settings: Settings, shard: int, ready: Any) -> None:
    with open_stores(settings) as stores:
        drain = stores.drain()
        ready.wait()
        drain.drain(shard, deadline_seconds=120)
        drain.close()


def _delta_us(stores: Stores) -> float:
    """The leader scores; the top is read, and the frame made that leads to it."""
    recent, page = Recent(), stores.ranking.top(BOARD, 100)
    first, score = page.entries[0], page.entries[0].score
    spent = 0.0
    for number in range(200):
        score += 10
        standing = Standing(first.user_id, first.username, score, first.reached_at, 1_000_000 + number)
        stores.ranking.refresh(BOARD, page.season, [standing])
        began = time.perf_counter()
        before = recent.current
        now = stores.ranking.top(BOARD, 100)
        current = recent.add(season=now.season, version=now.version, total=now.total, asked=100, entries=now.entries)
        if before is not None:
            messages.delta(before.version, current.version, current.total, delta(before.lines, current.lines))
        spent += time.perf_counter() - began
    return 1e6 * spent / 200


def _us(call: Callable[[], object]) -> float:
    """Median of the calls."""
    times = []
    for _ in range(CALLS):
        began = time.perf_counter()
        call()
        times.append(time.perf_counter() - began)
    return 1e6 * statistics.median(times)


def _redis_bytes(stores: Stores) -> int:
    return int(stores.redis.info("memory")["used_memory"])


def _postgres_bytes(settings: Settings, players_count: int) -> Figures:
    with players.connected(settings) as connection:
        row = connection.execute("SELECT pg_total_relation_size('users'), pg_total_relation_size('scores')").fetchone()
    users, scores = row or (0, 0)
    return {
        "postgres_bytes_a_user": int(str(users)) / players_count,
        "postgres_bytes_a_score": int(str(scores)) / players_count,
    }


@contextmanager
def _without_workers(stack: Stack) -> Iterator[None]:
    """Nobody else applies anything meanwhile."""
    workers = [each for each in stack.process.children(recursive=True) if "celery" in " ".join(each.cmdline())]
    for worker in workers:
        worker.suspend()
    try:
        yield
    finally:
        for worker in workers:
            try:
                worker.resume()
            except psutil.NoSuchProcess:
                continue


def main() -> None:
    """Measure, print, and keep."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--most", type=int, default=SIZES[-1], help="players on the largest board")
    parser.add_argument("--sockets-most", type=int, default=SOCKETS[-1])
    parser.add_argument("--seconds", type=float, default=5.0, help="of each load on sockets")
    options = parser.parse_args()
    found: dict[str, dict[int, Figures]] = {"players": {}, "workers": {}, "sockets": {}}
    steps: list[tuple[str, int, Callable[[], Figures]]] = []
    steps += [("players", n, lambda n=n: of_size(n)) for n in SIZES if n <= options.most]  # type: ignore[misc]
    steps += [("workers", n, lambda n=n: of_workers(n)) for n in WORKERS]  # type: ignore[misc]
    steps += [
        ("sockets", n, lambda n=n: of_sockets(n, options.seconds))  # type: ignore[misc]
        for n in SOCKETS
        if n <= options.sockets_most
    ]
    for what, count, measured in tqdm(steps, desc="growth"):
        found[what][count] = measured()
        told = ", ".join(f"{name} {value:,.1f}" for name, value in found[what][count].items())
        tqdm.write(f"{count:9,} {what}: {told}")
    RESULTS.mkdir(exist_ok=True)
    kept = {"machine": machine.describe(), **found}
    (RESULTS / "growth.json").write_text(json.dumps(kept, indent=1) + "\n", "utf-8")


if __name__ == "__main__":
    main()
