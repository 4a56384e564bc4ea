"""Of two beats one acts; it may be killed, and the Redis with the lease may go: ticks go on."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest
import redis

from deploy.local import procfile
from deploy.local.embedded import valkey
from models import names
from tests.fixtures.service import environment_for
from tests.fixtures.waiting import eventually
from worker.lease import LEASE_MS, RENEW_SECONDS, STEP_BACK_SECONDS, Lease
from worker.pulse import SILENT_SECONDS_MOST, Pulse


class Beats:
    """Two beats on a cache of their own, and the broker they send to."""

    def __init__(self, folder: Path, cache: subprocess.Popen[bytes], started: ExitStack) -> None:
        self.folder = folder
        self.cache = cache
        self.broker = redis.Redis(unix_socket_path=str(valkey.socket_path(folder, "broker")), db=0)
        environ = {**os.environ, **environment_for("postgresql://nowhere/nothing", "redis://", folder)}
        environ |= {"REDIS_URL": valkey.url(folder, "cache"), "BROKER_URL": valkey.broker_url(folder, "broker")}
        environ |= {"LOG_LEVEL": "info", "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}"}
        self.processes = []
        for number in range(2):
            environ["DATA_DIR"] = str(folder / str(number))
            log = started.enter_context((folder / f"{number}.log").open("wb"))
            command = procfile.arguments(procfile.read()["beat"], environ)
            process = subprocess.Popen(command, cwd=procfile.ROOT, env=environ, stdout=log, stderr=log)
            started.callback(process.wait)
            started.callback(process.kill)
            self.processes.append(process)

    def said(self, number: int, what: str) -> bool:
        """Whether a beat's log says so."""
        return what in (self.folder / f"{number}.log").read_text("utf-8")

    def ticks(self, seconds: float = 0.0) -> Counter[str]:
        """What was sent meanwhile, and since the last look."""
        time.sleep(seconds)
        taken = self.broker.lpop(names.MAINTENANCE_QUEUE, 100) or []
        return Counter(json.loads(entry)["headers"]["task"] for entry in taken)


@pytest.fixture(scope="module")
def beats(servers_folder: Path) -> Iterator[Beats]:
    folder = servers_folder / "beats"
    with ExitStack() as started:
        started.enter_context(valkey.start_valkey(folder, valkey.BROKER, "broker"))
        valkey.prepare(folder, folder, "cache", valkey.CACHE, folder)
        cache = subprocess.Popen(valkey.command(folder, "cache"), stdout=subprocess.DEVNULL)
        started.callback(cache.wait)
        started.callback(cache.kill)
        eventually(lambda: valkey.answers(folder, "cache"), 10)
        yield Beats(folder, cache, started)


def test_one_acts_until_it_is_killed_and_ticks_go_on_without_redis(beats: Beats) -> None:
    """I7: no tick has to come once only; that none comes would be the fault."""
    eventually(lambda: {beats.said(0, "beat acts"), beats.said(1, "beat acts")} == {True, False}, 20)
    acting = int(beats.said(1, "beat acts"))
    reserve = 1 - acting
    eventually(lambda: beats.said(reserve, "beat is in reserve"), 20)
    beats.ticks()
    began = time.monotonic()
    assert beats.ticks(2.1)[names.SWEEP] <= time.monotonic() - began + 1, "two beats that act send four in two seconds"
    assert all(Pulse(beats.folder / str(number), "beat").silent_seconds() < SILENT_SECONDS_MOST for number in (0, 1))

    beats.processes[acting].kill()
    beats.ticks()
    killed_at = time.monotonic()
    eventually(lambda: beats.ticks()[names.SWEEP], 20)
    assert time.monotonic() - killed_at < LEASE_MS / 1000 + RENEW_SECONDS + 4, "the machine may be busy"
    assert beats.said(reserve, "beat acts")

    beats.cache.send_signal(signal.SIGSTOP)  # frozen is worse than gone: every question waits for its time-out
    try:
        for _ in range(2):
            beats.ticks()
            eventually(lambda: beats.ticks()[names.SWEEP], 5)
    finally:
        beats.cache.send_signal(signal.SIGCONT)


def test_who_is_told_to_end_lets_the_other_act_at_once(redis_url: str) -> None:
    client = redis.Redis.from_url(redis_url)
    first, second = Lease(client), Lease(client)
    assert (first.held(), second.held()) == (True, False)
    first.release()
    again = Lease(client)
    assert again.held()


def test_who_cannot_send_steps_back_and_is_back_if_nobody_else_acts(redis_url: str) -> None:
    client = redis.Redis.from_url(redis_url)
    now = [100.0]
    first, second = Lease(client, lambda: now[0]), Lease(client)
    assert first.held()
    first.step_back()
    assert not first.held()
    now[0] += STEP_BACK_SECONDS
    assert first.held()
    first.step_back()
    assert second.held()
    now[0] += STEP_BACK_SECONDS
    assert not first.held()


def test_a_holder_renews_and_a_lease_of_another_is_left_alone(redis_url: str) -> None:
    client = redis.Redis.from_url(redis_url)
    now = [100.0]
    holder = Lease(client, lambda: now[0])
    assert holder.held()
    client.pexpire(names.BEAT_KEY, 50)
    now[0] += RENEW_SECONDS
    assert holder.held()
    assert client.pttl(names.BEAT_KEY) > 1_000
    client.set(names.BEAT_KEY, "another")
    holder.release()
    assert client.get(names.BEAT_KEY) == b"another"
    assert not holder.held()
