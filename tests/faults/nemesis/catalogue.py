"""All faults there are, in the order in which `make faults` tries them."""

from __future__ import annotations

from tests.faults.laboratory import Fault
from tests.faults.nemesis import messages, network, postgres, processes, redises

FAULTS: tuple[Fault, ...] = (
    *processes.FAULTS,
    *redises.FAULTS,
    *postgres.FAULTS,
    *network.FAULTS,
    *messages.FAULTS,
)
