"""Family 8: slow and dead readers among two hundred sockets."""

from __future__ import annotations

import random
import time
from collections.abc import Iterator
from statistics import quantiles
from typing import Final

import psutil

from tests.faults.laboratory import PROCESS_SECONDS, Fault, Laboratory
from tests.faults.readers import Readers

SLOW, DEAD = 30, 10
WATCH_SECONDS: Final = 12.0
#: What one socket may keep for a reader who takes nothing, with room to spare.
MEMORY_BYTES_MOST: Final = 64 * 2**20
#: The others' delay may differ by the noise of a busy machine.
SPREAD_RATIO_MOST, SPREAD_NOISE_SECONDS = 2.0, 0.05


def _read_slowly(lab: Laboratory, _dice: random.Random) -> Iterator[float]:
    """Thirty sip and ten take nothing: how late are the others, how much memory is held, what do the slow get?"""
    before = _watch(lab)
    memory = _memory(lab)
    readers = Readers(lab.service.sockets, lab.ledger, slow=SLOW, dead=DEAD)
    readers.start()
    time.sleep(1.0)
    during = _watch(lab)
    most = before * SPREAD_RATIO_MOST + SPREAD_NOISE_SECONDS
    if during > most:  # what the readers cost lasts; a slow moment of the machine does not come twice
        during = min(during, _watch(lab))
    grown = _memory(lab) - memory
    readers.stop()
    fewer = [reader.deltas() for reader in readers.all[:SLOW]]
    lab.note("p99_spread_ms_before", round(before * 1000))
    lab.note("p99_spread_ms_during", round(during * 1000))
    lab.note("sockets_memory_grown_mib", round(grown / 2**20, 1))
    lab.note("deltas_of_the_slow", round(sum(fewer) / len(fewer)))
    lab.note("ended_by_the_server", sum(reader.ended for reader in readers.all))
    if during > most:
        lab.ledger.complain(f"the others' p99 went from {before * 1000:.0f} to {during * 1000:.0f} ms")
    if grown > MEMORY_BYTES_MOST:
        lab.ledger.complain(f"{SLOW + DEAD} slow readers cost {grown / 2**20:.0f} MiB")
    yield 0.0


def _watch(lab: Laboratory) -> float:
    """For a while, the p99 (seconds) of how much later than the first a spectator reaches a version."""
    lab.spectators.reached.clear()
    time.sleep(WATCH_SECONDS)
    reached = {version: list(moments) for version, moments in dict(lab.spectators.reached).items()}
    spread = [moment - moments[0] for moments in reached.values() for moment in moments]
    return quantiles(spread, n=100)[98]


def _memory(lab: Laboratory) -> int:
    return sum(psutil.Process(pid).memory_info().rss for pid in lab.service.children("sockets"))


FAULTS: Final = (
    Fault(
        "slow-readers",
        "readers",
        f"{SLOW} slow and {DEAD} dead readers among 200 sockets",
        _read_slowly,
        PROCESS_SECONDS,
        users=150,
        spectators=160,
    ),
)
