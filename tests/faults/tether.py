"""Ends what the laboratory started when the laboratory itself is gone, however that ended."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable

from deploy.local.processes import end_with_parent


def tether(number: signal.Signals) -> Callable[[], None]:
    """For `preexec_fn`: the process gets this signal when the laboratory is gone, however that ended."""
    parent = os.getpid()
    return lambda: end_with_parent(number, parent)
