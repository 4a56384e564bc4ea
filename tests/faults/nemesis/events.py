"""Family 7: gaps in the events: the subscriber cut, frozen, overflown; a worker that dies before it publishes."""

from __future__ import annotations

import os
import random
import signal
import time
from collections.abc import Iterator
from typing import Final

from tests.faults.laboratory import CONVERGED_SECONDS, Fault, Laboratory
from tests.faults.service import signal_all

FROZEN_SECONDS: Final = 8.0


def _cut(lab: Laboratory, dice: random.Random) -> Iterator[float]:
    """The subscription's connection is ended, again and again; what is published meanwhile is heard by nobody."""
    client = lab.cache.client()
    for _ in range(5):
        client.execute_command("CLIENT", "KILL", "TYPE", "pubsub")
        time.sleep(dice.uniform(0.0, 0.7))
    yield 0.0


def _freeze(lab: Laboratory, _dice: random.Random) -> Iterator[float]:
    frozen = lab.service.children("sockets")
    signal_all(frozen, signal.SIGSTOP)
    yield FROZEN_SECONDS
    signal_all(frozen, signal.SIGCONT)


def _overflow(lab: Laboratory, _dice: random.Random) -> Iterator[float]:
    """More is published than a subscriber may be behind: the cache ends the connection in the middle of it."""
    client = lab.cache.client()
    before = client.config_get("client-output-buffer-limit")["client-output-buffer-limit"]
    client.config_set("client-output-buffer-limit", "pubsub 65536 65536 1")
    for _ in range(40):
        client.publish("sb:events:global", b"x" * 500_000)
    yield 1.0
    client.config_set("client-output-buffer-limit", before)


def _die_before_publishing(lab: Laboratory, dice: random.Random) -> Iterator[float]:
    """Committed, and killed while the cache does not answer: the mark in `refreshes` is all that tells of it."""
    lab.cache.proxy.stall()
    time.sleep(dice.uniform(0.1, 0.4))
    for pid in lab.service.children("worker"):
        os.kill(pid, signal.SIGKILL)
    yield 0.1
    lab.cache.proxy.flow()


FAULTS: Final = (
    Fault("subscriber-cut", "events", "the subscription's connection ended five times", _cut, CONVERGED_SECONDS),
    Fault("subscriber-frozen", "events", f"the sockets stopped for {FROZEN_SECONDS:.0f} s", _freeze, CONVERGED_SECONDS),
    Fault("subscriber-overflown", "events", "more events than its buffer holds", _overflow, CONVERGED_SECONDS),
    Fault("unpublished", "events", "killed between commit and publish", _die_before_publishing, CONVERGED_SECONDS),
)
