"""What runs beside the service in the same minutes: a route that does nothing, and the service as one writes it in an
afternoon, on the same stores.
"""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Final
from uuid import uuid4

import redis

from bench.baseline.tables import BOARD, TABLES
from bench.harness.players import Player, connected
from bench.harness.stack import Stack, free_port

THREADS: Final = "16"
READY_SECONDS: Final = 30.0
CHUNK: Final = 1_000


@contextmanager
def bare_route() -> Iterator[str]:
    """A bare Flask route on granian; its URL."""
    port = free_port(1)
    with _process(_granian("bench.baseline.bare:app", port), {}):
        _await(port)
        yield f"http://127.0.0.1:{port}"


@contextmanager
def naive_service(stack: Stack, players: list[Player], *, board: int) -> Iterator[str]:
    """The naive build with these players and others, in a schema and a Redis database of its own; its URL."""
    settings, port = stack.settings, free_port(1)
    url = settings.database_url + ("&" if "?" in settings.database_url else "?") + "options=-csearch_path%3Dnaive"
    cache_url = settings.redis_url.replace("db=0", "db=7")
    environ = {
        "NAIVE_DATABASE_URL": url,
        "NAIVE_REDIS_URL": cache_url,
        "NAIVE_BROKER_URL": settings.broker_url,
        "NAIVE_SECRET": settings.token_keys[0].secret.hex(),
    }
    with connected(settings) as connection:
        connection.autocommit = True
        connection.execute("DROP SCHEMA IF EXISTS naive CASCADE")
        connection.execute("CREATE SCHEMA naive")
        connection.execute("SET search_path TO naive")
        for statement in TABLES:
            connection.execute(statement)
        with connection.cursor().copy("COPY players (id, username, secret_key) FROM STDIN") as copy:
            for player in players:
                copy.write_row((player.user_id, player.user_id[:13], player.key))
    with redis.Redis.from_url(cache_url) as cache:
        cache.flushdb()
        everybody = [player.user_id for player in players] + [str(uuid4()) for _ in range(board - len(players))]
        for at in range(0, board, CHUNK):
            chunk = everybody[at : at + CHUNK]
            cache.hset("names", mapping={user_id: user_id[:13] for user_id in chunk})
            cache.zadd(BOARD, {user_id: at + place for place, user_id in enumerate(chunk)})
    worker = [
        sys.executable,
        "-m",
        "celery",
        "--quiet",
        "--app",
        "bench.baseline.naive",
        "worker",
        "--concurrency",
        "2",
    ]
    with ExitStack() as running:
        running.enter_context(_process(_granian("bench.baseline.naive:app", port), environ))
        running.enter_context(_process(worker, environ))
        _await(port)
        yield f"http://127.0.0.1:{port}"


def _granian(application: str, port: int) -> list[str]:
    command = [str(Path(sys.executable).with_name("granian")), "--interface", "wsgi", "--host", "127.0.0.1"]
    return [*command, "--port", str(port), "--workers", "2", "--blocking-threads", THREADS, "--no-ws", application]


@contextmanager
def _process(command: list[str], environ: Mapping[str, str]) -> Iterator[None]:
    quiet = subprocess.DEVNULL
    process = subprocess.Popen(
        command, env={**os.environ, **environ}, stdout=quiet, stderr=quiet, start_new_session=True
    )
    try:
        yield
    finally:
        os.killpg(process.pid, signal.SIGTERM)
        try:
            process.wait(10)
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, signal.SIGKILL)


def _await(port: int) -> None:
    deadline = time.monotonic() + READY_SECONDS
    while time.monotonic() < deadline:
        try:
            socket.create_connection(("127.0.0.1", port), timeout=1).close()
        except OSError:
            time.sleep(0.1)
        else:
            time.sleep(1)  # its other workers
            return
    raise SystemExit(f"nothing listens on port {port}")
