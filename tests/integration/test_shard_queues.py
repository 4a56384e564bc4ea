"""Workers that are given a share of the shards: each takes its own, and others stand in for who is gone."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import psycopg
import pytest
import redis

from deploy.local.embedded import valkey
from models import names
from models.pipeline.inbox import shard_of
from models.settings import Settings
from models.stores import Stores
from tests.fixtures.people import register, server_update
from web.broker import Sender
from web.wakeup import Wakeup

ROOT = Path(__file__).resolve().parents[2]
SHARDS = 4
#: Two workers, as docs/sharding.md divides them.
PROCESSES = 3
SHARES = {"worker-1": "apply.0,apply.1,maintenance", "worker-2": "apply.2,apply.3,maintenance"}


class Workers:
    """Real Celery workers, each with its share."""

    def __init__(self, environment: dict[str, str], folder: Path) -> None:
        self._environment = {**os.environ, **environment, "LOG_LEVEL": "info"}
        self._folder = folder
        self.running: dict[str, subprocess.Popen[bytes]] = {}

    def start(self, name: str) -> None:
        command = [sys.executable, "-m", "celery", "--quiet", "--app", "worker.app", "worker", "--queues", SHARES[name]]
        command += ["--hostname", f"{name}@%h", "--concurrency", str(PROCESSES), "--loglevel", "info"]
        command += ["--without-mingle", "--without-gossip"]
        with self.log(name).open("ab") as log:
            self.running[name] = subprocess.Popen(
                command, cwd=ROOT, env=self._environment, stdout=log, stderr=log, start_new_session=True
            )

    def log(self, name: str) -> Path:
        return self._folder / f"{name}.log"

    def drained(self, name: str) -> set[int]:
        """The shards that a worker has applied rows of."""
        return {line["scoreboard"]["shard"] for line in self._lines(name) if line["message"] == "shard drained"}

    def are_ready(self) -> bool:
        """Whether all processes have looked at all shards once, as each does when it starts."""
        ready = [line for name in SHARES for line in self._lines(name) if line["message"] == "warmed up"]
        return len(ready) == PROCESSES * len(SHARES)

    def _lines(self, name: str) -> list[dict[str, Any]]:
        return [json.loads(line) for line in self.log(name).read_text("utf-8").splitlines() if line.startswith("{")]

    def kill(self, name: str) -> None:
        process = self.running.pop(name)
        os.killpg(process.pid, signal.SIGKILL)
        process.wait(10)

    def close(self) -> None:
        for name in list(self.running):
            self.kill(name)


@pytest.fixture
def sharded(
    environment: dict[str, str], open_process, valkey_server: str, servers_folder: Path
) -> Iterator[tuple[Stores, dict[str, str]]]:
    """Stores of an API process with four shards, and the environment; the broker is database 6 of the run's Valkey."""
    environment["SHARDS"] = str(SHARDS)
    environment["BROKER_URL"] = valkey.broker_url(servers_folder / "vk", "cache").replace("host=0", "host=6")
    with redis.Redis.from_url(valkey_server.replace("db=0", "db=6")) as client:
        client.flushdb()
        yield open_process(Settings.from_env(environment)), environment
        client.flushdb()


@pytest.fixture
def workers(sharded: tuple[Stores, dict[str, str]], tmp_path: Path) -> Iterator[Workers]:
    opened = Workers(sharded[1], tmp_path)
    yield opened
    opened.close()


@pytest.mark.slow
def test_each_worker_applies_its_shards_and_when_one_is_gone_the_other_stands_in(
    sharded, workers: Workers, raw: psycopg.Connection[tuple[object, ...]], eventually: Callable[..., object]
) -> None:
    """I7: a queue that nobody takes delays updates by a second or two, and loses none."""
    stores, environment = sharded
    settings = Settings.from_env(environment)
    people = register(stores, 50)  # by chance none in a shard: once in half a million runs
    assert {shard_of(each.user_id, SHARDS) for each in people} == set(range(SHARDS))
    wakeup, sender = Wakeup(settings, stores.redis), Sender(settings.broker_url, SHARDS)
    for name in SHARES:
        workers.start(name)

    ended = threading.Event()

    def beat() -> None:  # what a beat would send
        while not ended.wait(0.5):
            sender.send(names.SWEEP, (), queue=names.MAINTENANCE_QUEUE, lapses_seconds=5)
            for queue in names.apply_queues(SHARDS):
                sender.send(names.HEARTBEAT, (queue,), queue=queue, lapses_seconds=5)

    def play() -> None:
        stores.acceptor.accept_batch([server_update(each) for each in people], address=None, request_id="b")

    def seen() -> list[str]:
        return [queue for queue in names.apply_queues(SHARDS) if stores.redis.exists(names.seen_key(queue))]

    def is_empty() -> bool:
        return raw.execute("SELECT count(*) FROM inbox").fetchall() == [(0,)]

    beating = threading.Thread(target=beat)
    beating.start()
    try:
        eventually(lambda: workers.are_ready() and len(seen()) == SHARDS, 30)
        play()
        for shard in range(SHARDS):
            wakeup.wake(shard)
        eventually(is_empty, 10)
        assert workers.drained("worker-1") <= {0, 1}
        assert workers.drained("worker-2") <= {2, 3}

        workers.kill("worker-2")
        stores.redis.delete(*(names.seen_key(f"apply.{shard}") for shard in (2, 3)))  # as if its last word was long ago
        play()
        for shard in range(SHARDS):
            wakeup.wake(shard)
        eventually(is_empty, 15)
        eventually(lambda: workers.drained("worker-1") == {0, 1, 2, 3})
        assert seen() == ["apply.0", "apply.1"], "who stands in for a queue does not take it"
    finally:
        ended.set()
        beating.join()
    assert raw.execute("SELECT count(*), count(DISTINCT (user_id, action_id)) FROM score_history").fetchall() == [
        (2 * len(people), 2 * len(people))
    ]
    wakeup.close()
    sender.close()
