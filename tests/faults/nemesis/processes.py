"""Family 1: kill -9 of each kind of process, of all at once, and in the window where a broker loses a message."""

from __future__ import annotations

import os
import random
import signal
import time
from collections.abc import Iterator
from contextlib import suppress
from typing import Final

from tests.faults.laboratory import BROKER_SECONDS, POSTGRES_SECONDS, PROCESS_SECONDS, Fault, Laboratory, Strike
from tests.faults.service import signal_all

_PARENTS: Final = {
    "web": "web's parent",
    "sockets": "the sockets' parent",
    "worker": "the worker's parent",
    "beat": "beat",
}
_CHILDREN: Final = {"web": "one web worker", "sockets": "a sockets worker", "worker": "one pool process"}
_STORES: Final = {"cache": "the cache", "broker": "the broker", "postgres": "PostgreSQL"}


def _kill(name: str) -> Strike:
    def strike(lab: Laboratory, _dice: random.Random) -> Iterator[float]:
        pid = lab.service.pid(name)
        os.kill(pid, signal.SIGKILL)
        yield 0.0
        lab.service.await_successor(name, pid)

    return strike


def _kill_child(name: str) -> Strike:
    def strike(lab: Laboratory, dice: random.Random) -> Iterator[float]:
        with suppress(ProcessLookupError):
            os.kill(dice.choice(lab.service.children(name)), signal.SIGKILL)
        yield 0.0

    return strike


def _kill_server(name: str) -> Strike:
    def strike(lab: Laboratory, dice: random.Random) -> Iterator[float]:
        server = lab.store(name)
        server.kill()
        yield dice.uniform(0.2, 1.0)
        server.start()

    return strike


def _kill_backend(lab: Laboratory, _dice: random.Random) -> Iterator[float]:
    lab.postgres.kill_backend()
    yield 0.0


def _kill_everything(lab: Laboratory, _dice: random.Random) -> Iterator[float]:
    signal_all(lab.service.everything(), signal.SIGKILL)
    for name in _STORES:
        lab.store(name).kill()
    yield 0.5
    for name in _STORES:
        lab.store(name).start()


def _lose_message(lab: Laboratory, dice: random.Random) -> Iterator[float]:
    """The worker's parent has a BRPOP outstanding: what is published now is popped for it and dies with it."""
    parent = lab.service.pid("worker")
    os.kill(parent, signal.SIGSTOP)
    time.sleep(dice.uniform(0.3, 1.0))
    os.kill(parent, signal.SIGKILL)
    yield 0.0
    lab.service.await_successor("worker", parent)


FAULTS: Final = (
    *(
        Fault(f"kill-{name}", "processes", f"kill -9 of {what}", _kill(name), PROCESS_SECONDS, mends_itself=True)
        for name, what in _PARENTS.items()
    ),
    *(
        Fault(
            f"kill-{name}-child",
            "processes",
            f"kill -9 of {what}",
            _kill_child(name),
            PROCESS_SECONDS,
            mends_itself=True,
        )
        for name, what in _CHILDREN.items()
    ),
    *(
        Fault(
            f"kill-{name}",
            "processes",
            f"kill -9 of {what}",
            _kill_server(name),
            POSTGRES_SECONDS if name == "postgres" else BROKER_SECONDS,
        )
        for name, what in _STORES.items()
    ),
    Fault("kill-backend", "processes", "kill -9 of a PostgreSQL backend", _kill_backend, POSTGRES_SECONDS),
    Fault("kill-everything", "processes", "kill -9 of all processes at once", _kill_everything, BROKER_SECONDS),
    Fault(
        "lost-message",
        "processes",
        "worker frozen, a message popped for it, kill -9",
        _lose_message,
        PROCESS_SECONDS,
        mends_itself=True,
    ),
)
