"""What beat sends, how often, and how long it is worth doing."""

from __future__ import annotations

from typing import Any, Final

from models import names

SWEEP_SECONDS: Final = 1.0
HEARTBEAT_SECONDS: Final = 2.0
SAMPLE_SECONDS: Final = 10.0
REPAIR_SECONDS: Final = 60.0
FORGET_SECONDS: Final = 60.0


def _every(task: str, seconds: float) -> dict[str, Any]:
    # A tick that was not taken before the next ones came is worth nothing: let it lapse, so none pile up.
    return {"task": task, "schedule": seconds, "options": {"expires": max(5.0, seconds)}}


SCHEDULE: Final = {
    "sweep": _every(names.SWEEP, SWEEP_SECONDS),
    "heartbeat": _every(names.HEARTBEAT, HEARTBEAT_SECONDS),
    "sample": _every(names.SAMPLE, SAMPLE_SECONDS),
    "repair": _every(names.REPAIR, REPAIR_SECONDS),
    "forget": _every(names.FORGET, FORGET_SECONDS),
}
