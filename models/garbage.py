"""Python's garbage collector, told what a server's process is like."""

from __future__ import annotations

import gc
from typing import Final

#: Objects that come to be before the youngest generation is looked at, and how often it is before the next older one.
#: A batch of 500 updates makes some 10,000; with the default of 700 a third of its time went into looking at them.
THRESHOLDS: Final = (20_000, 20, 50)


def settle() -> None:
    """Leave what is there now alone for good: call it once all is imported and opened."""
    gc.collect()
    gc.freeze()
    gc.set_threshold(*THRESHOLDS)
