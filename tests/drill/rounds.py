"""One strike under traffic, from a quiet deployment to a judged one."""

from __future__ import annotations

import random
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from itertools import pairwise
from typing import Any, Final

from tests.drill.alerts import Alerts
from tests.drill.deployment import Deployment
from tests.drill.strikes import Strike
from tests.faults.checker import Verdict, judge
from tests.faults.ledger import Action, Ledger
from tests.faults.players import POINTS, Crowd
from tests.faults.spectators import Spectators
from tests.fixtures.waiting import eventually

#: About 60 calls a second: what two cores carry beside thirty processes without being what is measured.
CLIENTS: Final = 20
PLAYERS: Final = 40
PER_SECOND: Final = 3.0
SPECTATORS: Final = 12
#: Before the strike, so that what was usual is known.
QUIET_SECONDS: Final = 5.0
#: How long an operator who is awake takes to type the command that mends it.
OPERATOR_SECONDS: Final = 3.0
PROBE_SECONDS_MOST: Final = 1.5
#: What waits for a lease, or for who listens to go, comes after a moment of calm.
WELL_SECONDS: Final = 5.0
RECOVERY_SECONDS_MOST: Final = 90.0
ALERT_SECONDS_MOST: Final = 180.0
#: After all is back, until the next part is lost.
SETTLE_SECONDS_MOST: Final = 120.0


@dataclass(slots=True)
class Line:
    """A line of the drill's table; seconds count from the loss."""

    name: str
    sentence: str
    mended_by: str
    alert: str
    alerts: list[str]
    alert_fired_seconds: float | None
    recovery_seconds: float | None
    back_seconds: float
    calls: int
    failed: int
    longest_stall_seconds: float
    accepted: int
    lost: int
    doubled: int
    wrong: list[str]

    def as_json(self) -> dict[str, Any]:
        """For the report."""
        return asdict(self)


def run(deployment: Deployment, strike: Strike, seed: int, say: Callable[[str], None]) -> Line:
    """Play, lose a part, wait for recovery and alert, bring the part back, and judge."""
    ledger = Ledger()
    crowd = Crowd(
        deployment.ways, ledger, clients=CLIENTS, users=PLAYERS, per_second=PER_SECOND, seed=seed,
        service_token=deployment.service_token(),
    )  # fmt: skip
    crowd.cheating = False  # who cheats is blocked here
    crowd.resending = True
    crowd.hanging_up = 0.0  # so that no answer is none of ours
    spectators = Spectators(deployment.ways, ledger, count=SPECTATORS)
    spectators.start()
    crowd.start()
    alerts = Alerts(deployment.alerts_file)
    try:
        time.sleep(QUIET_SECONDS)
        struck_at, struck_on = ledger.now(), time.time()
        say(f"{strike.sentence} …")
        strike.lose(deployment)
        if strike.mended_by.startswith("the command"):
            time.sleep(OPERATOR_SECONDS)
        strike.mend(deployment)
        recovered = _recovery(crowd, spectators, ledger)
        recovery_seconds = None if recovered is None else recovered - struck_at
        say(f"  itself again after {_told(recovery_seconds)}")
        alert_seconds = _alert(alerts, strike.alert, deployment.lost, struck_on) if strike.alert else None
        say(f"  {strike.alert or 'no alert is due'}" + (f" fired after {_told(alert_seconds)}" if strike.alert else ""))
        strike.bring_back(deployment)
        deployment.await_whole(SETTLE_SECONDS_MOST)
        back = ledger.now()
        say(f"  whole again after {back - struck_at:.0f} s")
        time.sleep(QUIET_SECONDS)
    finally:
        crowd.stop()
    try:
        verdict = judge(ledger, deployment, deployment.ways, spectators)
    finally:
        spectators.stop()
    if recovery_seconds is None or recovery_seconds > strike.recovery_seconds_most:
        verdict.wrong.append(f"itself again after {_told(recovery_seconds)}")
    if strike.alert and alert_seconds is None:
        verdict.wrong.append(f"{strike.alert} did not fire within {ALERT_SECONDS_MOST:.0f} s")
    heard = {each.name for each in alerts.since(struck_on) if each.status == "firing"}
    names = sorted(heard - {"Watchdog"})  # it comes all the time, and says that the others would
    return _line(strike, ledger, verdict, struck_at, back, alert_seconds, recovery_seconds, names)


def _recovery(crowd: Crowd, spectators: Spectators, ledger: Ledger) -> float | None:
    """When (seconds of the run) updates went all the way quickly again, and went on to; None: not in time."""
    deadline = time.monotonic() + RECOVERY_SECONDS_MOST
    well_since: float | None = None
    while time.monotonic() < deadline:
        if not _goes_all_the_way(crowd, spectators):
            well_since = None
        elif well_since is None:
            well_since = ledger.now()
        elif ledger.now() - well_since > WELL_SECONDS:
            return well_since
        time.sleep(0.05)
    return None


def _goes_all_the_way(crowd: Crowd, spectators: Spectators) -> bool:
    """An update is applied, told, and on every spectator's list within a moment."""
    began = time.monotonic()
    before = max(spectator.version for spectator in spectators.all)
    player = crowd.players[0]
    action = Action(player.user_id, f"probe-{random.randbytes(8).hex()}", 1, POINTS)
    if crowd.probe(player, action).status != 200:
        return False
    while any(spectator.version <= before for spectator in spectators.all):
        if time.monotonic() - began > PROBE_SECONDS_MOST:
            return False
        time.sleep(0.01)
    return time.monotonic() - began <= PROBE_SECONDS_MOST


def _alert(alerts: Alerts, name: str, part: str, since: float) -> float | None:
    """How long it took until the alert had reached whoever is told; None: it did not."""
    try:
        eventually(lambda: alerts.fired(name, part, since) is not None, ALERT_SECONDS_MOST, 0.5)
    except AssertionError:
        return None
    heard = alerts.fired(name, part, since)
    return None if heard is None else heard.at - since


def _line(
    strike: Strike,
    ledger: Ledger,
    verdict: Verdict,
    struck_at: float,
    back: float,
    alert_seconds: float | None,
    recovery_seconds: float | None,
    alerts: list[str],
) -> Line:
    calls = [call for call in (*ledger.calls, *ledger.others) if call.sent_at + call.seconds >= struck_at]
    return Line(
        name=strike.name,
        sentence=strike.sentence,
        mended_by=strike.mended_by,
        alert=strike.alert,
        alerts=alerts,
        alert_fired_seconds=alert_seconds,
        recovery_seconds=recovery_seconds,
        back_seconds=back - struck_at,
        calls=len(calls),
        failed=sum(1 for call in calls if call.status == 0 or call.status >= 500),
        longest_stall_seconds=_longest_stall(ledger, struck_at),
        accepted=verdict.accepted,
        lost=len(verdict.lost),
        doubled=len(verdict.doubled),
        wrong=verdict.wrong,
    )


def _longest_stall(ledger: Ledger, since: float) -> float:
    """The longest time between two accepted updates from then on, in seconds."""
    moments = [since, *(at for at in ledger.accepted_at() if at >= since)]
    return max((later - earlier for earlier, later in pairwise(moments)), default=0.0)


def _told(seconds: float | None) -> str:
    return "more than that was waited for" if seconds is None else f"{seconds:.1f} s"
