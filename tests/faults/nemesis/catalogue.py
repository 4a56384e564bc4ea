"""All faults there are, in the order in which `make faults` tries them."""

from __future__ import annotations

from tests.faults.laboratory import Fault
from tests.faults.nemesis import clocks, events, messages, network, postgres, processes, readers, redises, rolling

FAULTS: tuple[Fault, ...] = (
    *processes.FAULTS,
    *redises.FAULTS,
    *postgres.FAULTS,
    *network.FAULTS,
    *messages.FAULTS,
    *clocks.FAULTS,
    *events.FAULTS,
    *readers.FAULTS,
    *rolling.FAULTS,
)
