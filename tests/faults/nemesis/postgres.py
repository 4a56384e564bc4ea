"""Family 3: PostgreSQL restarted, frozen, cut off during COMMIT, out of connections, out of disk."""

from __future__ import annotations

import random
import signal
import time
from collections.abc import Iterator
from contextlib import ExitStack
from typing import Final

import psycopg

from tests.faults.laboratory import POSTGRES_SECONDS, Fault, Laboratory, Strike

FROZEN_SECONDS: Final = 15.0


def _restart(number: signal.Signals) -> Strike:
    def strike(lab: Laboratory, dice: random.Random) -> Iterator[float]:
        lab.postgres.stop(number)
        yield dice.uniform(0.0, 1.0)
        lab.postgres.start()

    return strike


def _freeze(lab: Laboratory, _dice: random.Random) -> Iterator[float]:
    lab.postgres.freeze()
    yield FROZEN_SECONDS
    lab.postgres.thaw()


def _doubt(lab: Laboratory, dice: random.Random) -> Iterator[float]:
    """A third of all commits are carried out, or not, and nobody is told."""
    lab.postgres.proxy.doubt(0.33)
    yield dice.uniform(3.0, 6.0)
    lab.postgres.proxy.doubt(0.0)


def _use_up_connections(lab: Laboratory, _dice: random.Random) -> Iterator[float]:
    with ExitStack() as held:
        deadline = time.monotonic() + 8.0
        while time.monotonic() < deadline:
            try:
                held.enter_context(lab.postgres.connect())
            except psycopg.OperationalError:  # not one is left
                time.sleep(0.05)
        yield 0.0


def _cut_off_and_use_up(lab: Laboratory, dice: random.Random) -> Iterator[float]:
    """The service's own connections are ended while others take every place there is."""
    lab.postgres.query("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE application_name = 'scoreboard'")
    yield from _use_up_connections(lab, dice)


def _fill_disk(lab: Laboratory, dice: random.Random) -> Iterator[float]:
    lab.postgres.fill_disk()
    yield dice.uniform(5.0, 10.0)
    lab.postgres.clear_disk()
    lab.postgres.start()  # it may have ended itself: a supervisor would try again and again


FAULTS: Final = (
    Fault("postgres-fast-restart", "postgres", "fast shutdown and start", _restart(signal.SIGINT), POSTGRES_SECONDS),
    Fault(
        "postgres-immediate-restart",
        "postgres",
        "immediate shutdown, crash recovery",
        _restart(signal.SIGQUIT),
        POSTGRES_SECONDS,
    ),
    Fault("postgres-frozen", "postgres", f"stopped for {FROZEN_SECONDS:.0f} s", _freeze, POSTGRES_SECONDS),
    Fault(
        "doubtful-commit", "postgres", "a third of all commits cut off before their answer", _doubt, POSTGRES_SECONDS
    ),
    Fault(
        "out-of-connections",
        "postgres",
        "our connections ended, every place taken for 8 s",
        _cut_off_and_use_up,
        POSTGRES_SECONDS,
    ),
    Fault("disk-full", "postgres", "no byte left on its disk for 5–10 s", _fill_disk, POSTGRES_SECONDS),
)
