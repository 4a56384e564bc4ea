"""Family 6: clocks of API, worker and clients minutes and an hour apart, and set while they run (see clock.c)."""

from __future__ import annotations

import os
import random
import signal
import time
from collections.abc import Iterator, Sequence
from typing import Final

from tests.faults.laboratory import BROKER_SECONDS, PROCESS_SECONDS, Fault, Laboratory, Strike
from tests.faults.service import signal_all
from tests.fixtures.waiting import eventually

MINUTES: Final = 120
HOUR: Final = 3_600
HOLD_SECONDS: Final = 8.0
_API: Final = ("web", "sockets")
_WORK: Final = ("worker", "beat")
#: Beyond the contract's 300 s an action's timestamp is refused, and a token is too old or not made yet.
_TOO_FAR: Final = frozenset({401, 422})


def _apart(names: Sequence[str], seconds: int) -> Strike:
    """Restart these processes under another clock, see that the service works so, and put them back."""

    def strike(lab: Laboratory, _dice: random.Random) -> Iterator[float]:
        _set(lab, names, seconds)
        _restart(lab, names, faked=True)
        _require_service(lab, f"with {' and '.join(names)} {seconds:+} s")
        yield HOLD_SECONDS
        _restart(lab, names, faked=False)

    return strike


def _jump(seconds: int) -> Strike:
    """Set the clock of all processes while they run, forth and back."""

    def strike(lab: Laboratory, _dice: random.Random) -> Iterator[float]:
        names = (*_API, *_WORK)
        _set(lab, names, 0)
        _restart(lab, names, faked=True)
        lab.await_recovery()
        _set(lab, names, seconds)
        if abs(seconds) < HOUR:
            _require_service(lab, f"after a jump of {seconds:+} s")
        yield HOLD_SECONDS
        _set(lab, names, 0)
        _require_service(lab, "after the jump back")
        _restart(lab, names, faked=False)

    return strike


def _nothing(_lab: Laboratory, _dice: random.Random) -> Iterator[float]:
    """It is the clients' clocks that are wrong, all the time."""
    yield HOLD_SECONDS / 4


def _set(lab: Laboratory, names: Sequence[str], seconds: int) -> None:
    for name in names:
        (lab.folder / f"clock-{name}").write_text(f"{seconds:+}\n", "ascii")
        (lab.folder / f"clock-{name}").chmod(0o644)


def _restart(lab: Laboratory, names: Sequence[str], *, faked: bool) -> None:
    """Kill them; they come back with the library that fakes their clock, or without."""
    for name in names:
        clock = {
            "LD_PRELOAD": str(lab.fake_clock),
            "LABORATORY_CLOCK": str(lab.folder / f"clock-{name}"),
        }
        lab.service.give(name, clock if faked else {})
    pids = {name: lab.service.pid(name) for name in names}
    for name in names:
        signal_all([pids[name]], signal.SIGKILL)
    for name, pid in pids.items():
        lab.service.await_successor(name, pid)
    eventually(lambda: all(_is_faked(lab.service.pid(name)) == faked for name in names), 5)
    time.sleep(0.5)


def _is_faked(pid: int) -> bool:
    try:
        with open(f"/proc/{pid}/maps", encoding="utf-8") as maps:  # noqa: PTH123 - a file of the kernel's
            return "laboratory-clock" in maps.read() and os.getpid() != pid
    except OSError:
        return False


def _require_service(lab: Laboratory, when: str) -> None:
    if lab.await_recovery(BROKER_SECONDS) is None:
        lab.ledger.complain(f"{when}: no service within {BROKER_SECONDS:.0f} s")


FAULTS: Final = (
    *(
        Fault(f"clock-{who}{seconds:+}s", "clocks", f"{what} {seconds:+} s from the others", _apart(names, seconds),
              BROKER_SECONDS, refusals=_TOO_FAR if refused else frozenset())
        for who, what, names in (("api", "API and sockets", _API), ("worker", "worker and beat", _WORK))
        for seconds in (MINUTES, -MINUTES, HOUR, -HOUR)
        for refused in (who == "api" and abs(seconds) >= HOUR,)
    ),
    *(
        Fault(f"clock-clients{seconds:+}s", "clocks", f"all clients {seconds:+} s from the service", _nothing,
              PROCESS_SECONDS, refusals=_TOO_FAR if abs(seconds) >= HOUR else frozenset(), clients_clock=seconds)
        for seconds in (MINUTES, -MINUTES, HOUR, -HOUR)
    ),
    *(
        Fault(f"clock-jump{seconds:+}s", "clocks", f"all clocks set by {seconds:+} s while running, and back",
              _jump(seconds), BROKER_SECONDS, refusals=_TOO_FAR if abs(seconds) >= HOUR else frozenset())
        for seconds in (MINUTES, -MINUTES, HOUR, -HOUR)
    ),
)  # fmt: skip
