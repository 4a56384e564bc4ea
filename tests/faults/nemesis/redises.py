"""Family 2: the broker and the cache, each and both: killed and away, frozen, emptied, full."""

from __future__ import annotations

import random
from collections.abc import Iterator, Sequence
from typing import Final

from tests.faults.laboratory import BROKER_SECONDS, Fault, Laboratory, Strike

FROZEN_SECONDS: Final = 20.0
AWAY_SECONDS: Final = 120.0
FULL_SECONDS: Final = 10.0
_WHO: Final = {"broker": ("broker",), "cache": ("cache",), "both": ("broker", "cache")}
_NAMES: Final = {"broker": "the broker", "cache": "the cache", "both": "broker and cache"}


def _freeze(names: Sequence[str]) -> Strike:
    def strike(lab: Laboratory, _dice: random.Random) -> Iterator[float]:
        for name in names:
            lab.store(name).freeze()
        yield FROZEN_SECONDS
        for name in names:
            lab.store(name).thaw()

    return strike


def _empty(names: Sequence[str]) -> Strike:
    def strike(lab: Laboratory, _dice: random.Random) -> Iterator[float]:
        for name in names:
            lab.valkey(name).client().flushall()
        yield 0.0

    return strike


def _fill(names: Sequence[str]) -> Strike:
    """No room for a byte more: every write is refused, nothing is evicted."""

    def strike(lab: Laboratory, _dice: random.Random) -> Iterator[float]:
        for name in names:
            lab.valkey(name).client().config_set("maxmemory", "1")
        yield FULL_SECONDS
        for name in names:
            lab.valkey(name).client().config_set("maxmemory", "512mb")

    return strike


def _be_away(names: Sequence[str]) -> Strike:
    def strike(lab: Laboratory, _dice: random.Random) -> Iterator[float]:
        for name in names:
            lab.store(name).kill()
        yield AWAY_SECONDS
        for name in names:
            lab.store(name).start()

    return strike


_HARMS: Final = (
    ("frozen", f"stopped for {FROZEN_SECONDS:.0f} s, connections stay open", _freeze),
    ("emptied", "FLUSHALL", _empty),
    ("full", f"maxmemory reached for {FULL_SECONDS:.0f} s", _fill),
    ("away", f"gone for {AWAY_SECONDS:.0f} s", _be_away),
)

FAULTS: Final = tuple(
    Fault(f"{who}-{harm}", "redis", f"{_NAMES[who]}: {sentence}", make(names), BROKER_SECONDS)
    for who, names in _WHO.items()
    for harm, sentence, make in _HARMS
)
