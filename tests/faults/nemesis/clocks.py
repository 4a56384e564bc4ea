"""Family 6: clocks of API, worker and clients minutes and an hour apart, and set while they run (see clock.c)."""

from __future__ import annotations

import os
import random
import signal
from collections.abc import Iterator, Sequence
from typing import Final

from tests.faults.laboratory import BROKER_SECONDS, PROCESS_SECONDS, Fault, Laboratory, Strike
from tests.faults.service import signal_all
from tests.fixtures.waiting import eventually

MINUTES: Final = 120
HOUR: Final = 3_600
HOLD_SECONDS: Final = 3.0
_API: Final = ("web", "sockets")
_WORK: Final = ("worker", "beat")
_ALL: Final = (*_API, *_WORK)
#: Beyond the contract's 300 s an action's timestamp is refused, and a token is too old or not made yet.
_TOO_FAR: Final = frozenset({401, 422})


def _apart(names: Sequence[str], seconds: int) -> Strike:
    """Kill these processes: they come back under another clock. It is set right while they run."""

    def strike(lab: Laboratory, _dice: random.Random) -> Iterator[float]:
        _install(lab)
        _set(lab, names, seconds)
        _kill(lab, names)
        _require_service(lab, f"with {' and '.join(names)} {seconds:+} s")
        yield HOLD_SECONDS
        _set(lab, names, 0)

    return strike


def _jump(seconds: int) -> Strike:
    """Set the clock of all processes while they run, forth and back."""

    def strike(lab: Laboratory, _dice: random.Random) -> Iterator[float]:
        _install(lab)
        _set(lab, _ALL, seconds)
        _require_service(lab, f"after a jump of {seconds:+} s")
        yield HOLD_SECONDS
        _set(lab, _ALL, 0)

    return strike


def _nothing(_lab: Laboratory, _dice: random.Random) -> Iterator[float]:
    """It is the clients' clocks that are wrong, all the time."""
    yield HOLD_SECONDS


def _set(lab: Laboratory, names: Sequence[str], seconds: int) -> None:
    for name in names:
        (lab.folder / f"clock-{name}").write_text(f"{seconds:+}\n", "ascii")
        (lab.folder / f"clock-{name}").chmod(0o644)


def _install(lab: Laboratory) -> None:
    """Have every process look at a clock of ours, from now on."""
    if all(_is_faked(lab.service.pid(name)) for name in _ALL):
        return
    _set(lab, _ALL, 0)
    for name in _ALL:
        lab.service.give(
            name, {"LD_PRELOAD": str(lab.fake_clock), "LABORATORY_CLOCK": str(lab.folder / f"clock-{name}")}
        )
    _kill(lab, _ALL)
    _require_service(lab, "with the laboratory's clock")


def _kill(lab: Laboratory, names: Sequence[str]) -> None:
    pids = {name: lab.service.pid(name) for name in names}
    signal_all(list(pids.values()), signal.SIGKILL)
    for name, pid in pids.items():
        lab.service.await_successor(name, pid)
    eventually(lambda: all(_is_faked(lab.service.pid(name)) for name in names), 10)


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
