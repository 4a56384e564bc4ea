"""Family 9: rolling restarts under load, twice, and five thousand clients who come back at once."""

from __future__ import annotations

import random
import time
from collections.abc import Iterator
from typing import Final

from deploy.local import reload
from tests.faults.crowd import Spectacle
from tests.faults.laboratory import PROCESS_SECONDS, Fault, Laboratory

REQUESTS_LEAST: Final = 10_000
CLIENTS: Final = 5_000
BACK_SECONDS_MOST: Final = 60.0


def _roll(lab: Laboratory, _dice: random.Random) -> Iterator[float]:
    """Everything but the stores is replaced, twice, while 10,000 requests are made: not one may fail."""
    lab.crowd.hanging_up, lab.crowd.resending = 0.0, True
    first = len(lab.ledger.calls) + len(lab.ledger.others)
    began = lab.ledger.now()
    closed = len(lab.spectators.codes)
    for _ in range(2):
        reload.roll(lab.service.folders, lambda _sentence: None)
    while len(lab.ledger.calls) + len(lab.ledger.others) - first < REQUESTS_LEAST:
        time.sleep(0.1)
    made = [call for call in [*lab.ledger.calls, *lab.ledger.others] if call.sent_at >= began]
    failed = [call for call in made if call.status == 0 or call.status >= 500]
    lab.note("requests", len(made))
    lab.note("failed", len(failed))
    lab.note("sent_again", lab.ledger.resent)
    codes = lab.spectators.codes[closed:]
    lab.note("sockets_sent_away", codes.count(1001))
    if failed:
        lab.ledger.complain(f"{len(failed)} of {len(made)} requests failed, the first with {failed[0]}")
    if set(codes) - {1001}:
        lab.ledger.complain(f"sockets ended with {sorted(set(codes))}")
    yield 0.0


def _come_back(lab: Laboratory, _dice: random.Random) -> Iterator[float]:
    """Five thousand sockets are sent away at once, come back with `resume`, and are right again."""
    spectacle = Spectacle(lab.service.sockets, lab.ledger, count=CLIENTS)
    spectacle.start()
    began = time.monotonic()
    reload.succeed(lab.service.folders, "sockets")
    seconds = spectacle.await_return(BACK_SECONDS_MOST)
    lab.note("back_after_seconds", round(time.monotonic() - began if seconds is None else seconds, 1))
    lab.note("resumed_by_delta", spectacle.resumed_by_delta)
    if seconds is None:
        lab.ledger.complain(
            f"{spectacle.missing()} of {CLIENTS} clients were not right after {BACK_SECONDS_MOST:.0f} s"
        )
    spectacle.stop()
    yield 0.0


FAULTS: Final = (
    Fault("rolling-restart", "rolling", f"all processes replaced twice during {REQUESTS_LEAST:,} requests", _roll,
          PROCESS_SECONDS, per_second=8.0),
    Fault("come-back", "rolling", f"{CLIENTS:,} sockets sent away at once", _come_back, PROCESS_SECONDS, rounds=5),
)  # fmt: skip
