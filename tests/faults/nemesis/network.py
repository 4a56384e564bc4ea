"""Family 4: the network between the service and its stores: cut at random, stalled; clients that hang up."""

from __future__ import annotations

import random
from collections.abc import Iterator
from typing import Final

from tests.faults.laboratory import BROKER_SECONDS, POSTGRES_SECONDS, Fault, Laboratory, Strike

STALL_SECONDS: Final = 15.0
STORES: Final = {"postgres": POSTGRES_SECONDS, "cache": BROKER_SECONDS, "broker": BROKER_SECONDS}


def _unreliable(lab: Laboratory, dice: random.Random) -> Iterator[float]:
    for name in STORES:
        lab.store(name).proxy.cut_now_and_then(0.01)
    yield dice.uniform(4.0, 8.0)
    for name in STORES:
        lab.store(name).proxy.cut_now_and_then(0.0)


def _cut(lab: Laboratory, _dice: random.Random) -> Iterator[float]:
    for name in STORES:
        lab.store(name).proxy.cut()
    yield 0.0


def _stall(name: str) -> Strike:
    def strike(lab: Laboratory, dice: random.Random) -> Iterator[float]:
        lab.store(name).proxy.stall()
        yield STALL_SECONDS
        lab.store(name).proxy.flow()
        if dice.random() < 0.5:  # what was half-open turns out to be dead
            lab.store(name).proxy.cut()

    return strike


def _hang_up(lab: Laboratory, dice: random.Random) -> Iterator[float]:
    """Every second update is sent by somebody who does not wait for the answer."""
    lab.crowd.hanging_up = 0.5
    yield dice.uniform(3.0, 6.0)
    lab.crowd.hanging_up = 0.01


FAULTS: Final = (
    Fault("network-cut", "network", "every connection to every store reset at once", _cut, POSTGRES_SECONDS),
    Fault("network-unreliable", "network", "one chunk in a hundred resets its connection", _unreliable,
          POSTGRES_SECONDS),
    *(
        Fault(f"network-stalled-{name}", "network", f"nothing passes to the {name} for {STALL_SECONDS:.0f} s",
              _stall(name), seconds)
        for name, seconds in STORES.items()
    ),
    Fault("clients-hang-up", "network", "half of the clients leave without their answer", _hang_up, 2.0),
)  # fmt: skip
