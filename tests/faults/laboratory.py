"""The laboratory: stores, service, players, spectators; a fault strikes again and again, and the checker decides."""

from __future__ import annotations

import dataclasses
import random
import shutil
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

from deploy.local.embedded import valkey
from deploy.local.procfile import ROOT
from tests.faults.checker import Verdict, judge
from tests.faults.ledger import Action, Ledger
from tests.faults.players import POINTS, Crowd
from tests.faults.service import Service
from tests.faults.spectators import Spectators
from tests.faults.stores import Postgres, Valkey
from tests.faults.ways import Ways

#: The recovery that is promised, from the kill, or from the moment the store is back.
PROCESS_SECONDS: Final = 5.0
POSTGRES_SECONDS: Final = 10.0
BROKER_SECONDS: Final = 15.0
CONVERGED_SECONDS: Final = 10.0

#: How long a service may take to be itself again before the laboratory stops waiting.
RECOVERY_SECONDS_MOST: Final = 60.0
CLIENTS: Final = 40
#: "Itself again": an update is applied, told, and on every spectator's list within this.
PROBE_SECONDS_MOST: Final = 1.5
#: … and goes on like that for as long: one lucky answer is no recovery.
WELL_SECONDS: Final = 0.5

#: What a fault does: harm, then yield how long the harm lasts (seconds), then heal.
Strike = Callable[["Laboratory", random.Random], Iterator[float]]


@dataclass(frozen=True)
class Fault:
    """One way in which the world goes wrong."""

    name: str
    family: str
    sentence: str
    strike: Strike
    recovery_seconds_most: float
    #: Whether the harm is done at once and mended by the service's own supervisor: recovery counts from the strike.
    mends_itself: bool = False
    rounds: int = 5
    #: Statuses that are right here and nowhere else.
    refusals: frozenset[int] = frozenset()
    #: How many players there are, calls a second of each client, and how many watch.
    users: int = 25
    per_second: float = 4.0
    spectators: int = 12
    #: How far the clients' clocks are ahead (seconds).
    clients_clock: float = 0.0


class Unavailable(Exception):
    """This machine lacks what a fault needs; the message says what."""


@dataclass
class Round:
    """When the fault struck, when it was healed and when the service was itself again, in seconds of the run."""

    struck_at: float
    healed_at: float = 0.0
    recovered_at: float | None = None

    @property
    def recovery_seconds(self) -> float:
        """From the healing to normal service."""
        return (RECOVERY_SECONDS_MOST if self.recovered_at is None else self.recovered_at) - (
            0.0 if self.recovered_at is None else self.healed_at
        )


@dataclass
class Outcome:
    """What a fault did to the service."""

    fault: Fault
    seed: int
    rounds: list[Round]
    verdict: Verdict
    longest_stall: float
    calls: int
    slowest_answer: float
    accepted_at: list[float]
    refused_at: list[float]
    unanswered_at: list[float]
    heard_at: list[float]
    notes: dict[str, Any] = field(default_factory=dict)

    @property
    def recovery_seconds(self) -> float:
        """The slowest recovery of all rounds."""
        return max(round_.recovery_seconds for round_ in self.rounds)


class Laboratory:
    """A service on stores of its own, with everything that can be done to them; a context manager."""

    def __init__(self, say: Callable[[str], None] = lambda _: None, tree: Path = ROOT) -> None:
        """`tree` is the folder whose code the service runs."""
        self.tree = tree
        self.folder = Path(tempfile.mkdtemp(prefix="sbf-"))
        self.folder.chmod(0o711)
        self.say = say
        self.notes: dict[str, Any] = {}
        self.parked: set[str] = set()
        self._closers: list[Callable[[], None]] = []
        try:
            self._open()
        except BaseException:
            self.close()
            raise

    def _open(self) -> None:
        small = {"shared_buffers": "64MB", "max_wal_size": "64MB", "min_wal_size": "32MB", "max_connections": "60"}
        self.postgres = Postgres(self.folder / "p", small)
        self._closers.append(self.postgres.close)
        self.cache = Valkey(self.folder / "c", "cache", dict(valkey.CACHE))
        self._closers.append(self.cache.close)
        self.broker = Valkey(self.folder / "b", "broker", dict(valkey.BROKER))
        self._closers.append(self.broker.close)
        no_rules = self.folder / "rules.toml"  # the crowd's cheats would be blocked, and what they try not be judged
        no_rules.write_text("", "utf-8")
        self.service = Service(
            self.folder / "d",
            {
                "DATABASE_URL": self.postgres.url,
                "REDIS_URL": self.cache.url,
                "BROKER_URL": self.broker.url,
                "LIMIT_USER": "100000/second",
                "LIMIT_ADDRESS": "100000/second",
                "LIMIT_REGISTRATION": "100000/second",
                "RULES_FILE": str(no_rules),
            },
            self.tree,
        )
        self._closers.append(self.service.stop)

    def __enter__(self) -> Laboratory:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """End all of it; nothing stays."""
        for closer in reversed(self._closers):
            closer()
        self._closers.clear()
        shutil.rmtree(self.folder, ignore_errors=True)

    def keep_logs(self, folder: Path) -> None:
        """Copy what the service's processes have said; it goes with the laboratory otherwise."""
        shutil.copytree(self.service.folders.logs, folder, dirs_exist_ok=True)

    def note(self, name: str, value: object) -> None:
        """Remember what a round measured; it goes into the report."""
        self.notes.setdefault(name, []).append(value)

    def store(self, name: str) -> Postgres | Valkey:
        """`postgres`, `cache` or `broker`."""
        return self.postgres if name == "postgres" else self.valkey(name)

    def valkey(self, name: str) -> Valkey:
        """`cache` or `broker`."""
        return {"cache": self.cache, "broker": self.broker}[name]

    def run(self, fault: Fault, *, rounds: int, seed: int, clients: int = CLIENTS, patience: float = 1.0) -> Outcome:
        """Let a fault strike again and again at random moments under load, then judge.

        `patience` is how many times the promised time a recovery may take: on a machine that does other work too.
        """
        dice = random.Random(seed)
        self.begin(fault, seed=seed, clients=clients)
        history = []
        try:
            for _ in range(rounds):
                time.sleep(dice.uniform(1.0, 3.0))
                history.append(self.strike(fault, dice))
            time.sleep(1.0)
        finally:
            self.crowd.stop()
        try:
            verdict = judge(
                self.ledger, self.postgres, Ways([self.service.api]), self.spectators, parked=frozenset(self.parked)
            )
        finally:
            self.spectators.stop()
        for number, each in enumerate(history, start=1):
            if each.recovery_seconds > fault.recovery_seconds_most * patience:
                verdict.wrong.append(f"round {number}: itself again after {each.recovery_seconds:.1f} s")
        return self._outcome(fault, seed, history, verdict)

    def begin(self, fault: Fault, *, seed: int, clients: int) -> None:
        """Players play and spectators watch, as the fault wants them; with a ledger of their own."""
        self.notes, self.parked = {}, set()
        self.ledger = Ledger()
        self.crowd = Crowd(
            Ways([self.service.api]),
            self.ledger,
            clients=clients,
            users=fault.users,
            per_second=fault.per_second,
            seed=seed,
            clock=fault.clients_clock,
        )
        self.crowd.refusals_expected = fault.refusals
        self.spectators = Spectators(Ways([self.service.sockets]), self.ledger, count=fault.spectators)
        self.spectators.start()
        self.crowd.start()

    def strike(self, fault: Fault, dice: random.Random) -> Round:
        """Do the harm, heal it, and wait until the service is itself again."""
        harm = fault.strike(self, dice)
        done = Round(self.ledger.now())
        seconds = next(harm)
        time.sleep(seconds)
        for _ in harm:
            raise AssertionError(f"{fault.name} heals twice")
        done.healed_at = done.struck_at if fault.mends_itself else self.ledger.now()
        done.recovered_at = self.await_recovery()
        self.say(f"  struck at {done.struck_at:.1f} s, healed after {done.healed_at - done.struck_at:.1f} s, "
                 f"itself again after {done.recovery_seconds:.1f} s")  # fmt: skip
        return done

    @property
    def fake_clock(self) -> Path:
        """The library that sets a process's clock off, built at first use."""
        library = self.folder / "laboratory-clock.so"
        if not library.exists():
            compiler = shutil.which("cc") or shutil.which("gcc")
            if compiler is None:
                raise Unavailable("there is no C compiler (Debian: apt-get install gcc libc6-dev)")
            source = Path(__file__).with_name("clock.c")
            subprocess.run([compiler, "-O2", "-shared", "-fPIC", "-o", str(library), str(source)], check=True)
        return library

    def await_recovery(self, seconds: float = RECOVERY_SECONDS_MOST) -> float | None:
        """When (seconds of the run) an update went all the way quickly again; None: not in time."""
        deadline = time.monotonic() + seconds
        well_since: float | None = None
        while time.monotonic() < deadline:
            if not self._is_itself():
                well_since = None
            elif well_since is None:
                well_since = self.ledger.now()
            elif self.ledger.now() - well_since > WELL_SECONDS:
                return well_since
            time.sleep(0.05)
        return None

    def _is_itself(self) -> bool:
        began = time.monotonic()
        if not self.service.answers():
            return False
        player = self.crowd.players[0]
        action = Action(player.user_id, f"probe-{random.randbytes(8).hex()}", 1, POINTS)
        answer = self.crowd.probe(player, action)
        if answer.status in self.crowd.refusals_expected:
            return True
        if answer.status != 200:
            return False
        version = self.crowd.board_version()
        while any(spectator.version < version for spectator in self.spectators.all):
            if time.monotonic() - began > PROBE_SECONDS_MOST:
                return False
            time.sleep(0.01)
        return time.monotonic() - began <= PROBE_SECONDS_MOST

    def _outcome(self, fault: Fault, seed: int, rounds: list[Round], verdict: Verdict) -> Outcome:
        calls = self.ledger.calls
        return Outcome(
            fault=fault,
            seed=seed,
            rounds=rounds,
            verdict=verdict,
            longest_stall=self.ledger.longest_stall(),
            calls=len(calls) + len(self.ledger.others),
            slowest_answer=max((call.seconds for call in [*calls, *self.ledger.others] if call.status), default=0.0),
            accepted_at=self.ledger.accepted_at(),
            refused_at=[call.sent_at + call.seconds for call in calls if call.status in (429, 503)],
            unanswered_at=[call.sent_at + call.seconds for call in calls if call.status == 0],
            heard_at=self.spectators.heard_at,
            notes=self.notes,
        )


def as_documents(outcomes: list[Outcome]) -> list[dict[str, Any]]:
    """The outcomes as they are written down, without the single moments."""
    return [
        {
            "fault": each.fault.name,
            "family": each.fault.family,
            "what": each.fault.sentence,
            "seed": each.seed,
            "rounds": [dataclasses.asdict(round_) for round_ in each.rounds],
            "calls": each.calls,
            "accepted": each.verdict.accepted,
            "refused": each.verdict.refused,
            "maybe": each.verdict.maybe,
            "parked": each.verdict.parked,
            "lost": each.verdict.lost,
            "doubled": each.verdict.doubled,
            "wrong": each.verdict.wrong,
            "recovery_seconds": round(each.recovery_seconds, 2),
            "recovery_seconds_most": each.fault.recovery_seconds_most,
            "longest_stall_seconds": round(each.longest_stall, 2),
            "slowest_answer_seconds": round(each.slowest_answer, 2),
            "notes": each.notes,
        }
        for each in outcomes
    ]
