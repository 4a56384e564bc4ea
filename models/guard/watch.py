"""Watches what is refused, and what is accepted too fast: request, check, log, alert, block.

Who notes an event pays for a look into a dictionary. Once a second a thread adds up what was noted, and whoever is over
a rule's threshold then becomes an incident, with the rule's answer, in one transaction.
"""

from __future__ import annotations

import math
import threading
import time
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass
from itertools import count
from typing import Final

import structlog
from sqlalchemy import Connection, Engine
from sqlalchemy.exc import SQLAlchemyError

from models.accounts import restrictions
from models.accounts.restrictions import Wanted
from models.guard import acts, incidents
from models.guard.incidents import Evidence, Sighting
from models.guard.rules import Rule, Rules
from models.guard.suspicion import Noted, Subject, Suspicion
from models.observers import nobody
from models.subjects import subject_of

REPORT_SECONDS: Final = 1.0
#: Accepted updates are added up for so many reports: they come in numbers, and what they show takes time.
REPORTS_OF_ACCEPTED: Final = 5
#: Processes over which somebody who is too fast may be spread. Who would stay below the threshold even so is not told
#: of to Redis: nearly everybody, as most only play.
SPREAD_MOST: Final = 20
#: Subjects noted between two reports; what others do then is only counted (I8).
SUBJECTS_MOST: Final = 10_000
#: Events kept of a subject for the case that it becomes an incident: the first and the last ones.
EVIDENCE_KEPT: Final = 20
#: Incidents a report opens or adds to: a thousand attackers at once are told one after the other.
INCIDENTS_A_REPORT: Final = 50

log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class WatchObserver:
    """Who wants to know, for metrics."""

    event: Callable[[str, int], None] = nobody
    incident: Callable[[str, str], None] = nobody  # rule, answer
    unnoted: Callable[[int], None] = nobody


class Watch:
    """One a process."""

    def __init__(self, engine: Engine, rules: Rules, suspicion: Suspicion) -> None:
        self._engine = engine
        self._rules = rules
        self._suspicion = suspicion
        self._lock = threading.Lock()
        self._noted: dict[Subject, Noted] = {}
        self._recent: OrderedDict[Subject, list[Evidence]] = OrderedDict()
        self._counted: dict[tuple[str, str], int] = {}  # event, user id
        self._unnoted = 0
        self._stopping = threading.Event()
        self._thread: threading.Thread | None = None
        self.observer = WatchObserver()

    def start(self) -> None:
        """Report from a daemon thread."""
        if self._thread is None:
            self._thread = threading.Thread(target=self._run, name="watch", daemon=True)
            self._thread.start()

    def close(self) -> None:
        """Report what is left, and stop."""
        self._stopping.set()
        if self._thread is not None:
            self._thread.join(timeout=2)

    def note(
        self, event: str, *, address: str | None, user_id: str | None = None, request_id: str, times: int = 1
    ) -> None:
        """Something happened that rules may care about. Never blocks for long, never raises.

        Args:
            user_id: only of who proved to be that player; what was sent in somebody's name is not theirs.
            times: how much of it, as the value of an action.
        """
        rules = self._rules.by_event.get(event)
        if rules is None:
            return
        self.observer.event(event, times)
        for rule in rules:
            name = user_id if rule.subject == "user" else subject_of(address)
            if name is not None:
                self._add(Subject(rule, name), event, times, Evidence(event, time.time(), request_id, user_id, address))

    def accepted(self, action: str, user_id: str, value: int) -> None:
        """A player's update was accepted, of this action and value; its evidence is the history."""
        event = "accepted." + action
        if event not in self._rules.by_event:
            return
        with self._lock:
            key = event, user_id
            if len(self._counted) < SUBJECTS_MOST or key in self._counted:
                self._counted[key] = self._counted.get(key, 0) + abs(value)
            else:
                self._unnoted += 1

    def report(self, *, accepted: bool = True) -> None:
        """Add up what was noted, and raise incidents.

        Args:
            accepted: also what was accepted since the last time this was asked for.

        Raises:
            SQLAlchemyError: some may not be in Postgres; the suspicion stays, so the next event raises them again.
        """
        with self._lock:
            noted, self._noted = self._noted, {}
            counted, self._counted = (self._counted, {}) if accepted else ({}, self._counted)
            unnoted, self._unnoted = self._unnoted, 0
        for (event, user_id), value in counted.items():
            for rule in self._rules.by_event[event]:
                weight = rule.weights[event] * value
                if rule.subject == "user" and may_matter(rule, weight):
                    each = noted.setdefault(Subject(rule, user_id), Noted())
                    each.weight += weight
                    each.events += 1
        if unnoted:
            self.observer.unnoted(unnoted)
        against = self._suspicion.add(noted)
        over = [subject for subject, all_in_all in against.items() if all_in_all.weight >= subject.rule.threshold]
        over.sort(key=lambda subject: against[subject].weight / subject.rule.threshold, reverse=True)
        for subject in over[:INCIDENTS_A_REPORT]:
            self._raise(subject, noted[subject].events, against[subject])

    def _add(self, subject: Subject, event: str, times: int, evidence: Evidence) -> None:
        with self._lock:
            noted = self._noted.get(subject)
            if noted is None:
                if len(self._noted) >= SUBJECTS_MOST:
                    self._unnoted += 1
                    return
                noted = self._noted[subject] = Noted()
            noted.weight += subject.rule.weights[event] * times
            noted.events += 1
            recent = self._recent.get(subject)
            if recent is None:
                recent = self._recent[subject] = []
                if len(self._recent) > SUBJECTS_MOST:
                    self._recent.popitem(last=False)
            recent.append(evidence)
            if len(recent) > EVIDENCE_KEPT:
                del recent[EVIDENCE_KEPT // 2]

    def _raise(self, subject: Subject, events: int, against: Noted) -> None:
        rule = subject.rule
        with self._lock:
            evidence = list(self._recent.pop(subject, ()))
        answer = rule.told_answer
        with self._engine.begin() as connection:
            seen = Sighting(
                rule.name, rule.subject, subject.subject, answer, events, against.events, against.weight, evidence
            )
            noted = incidents.note(connection, seen)
            if noted is None:
                self.observer.unnoted(events)
                return
            incident, is_new = noted
            if rule.imposes:
                _impose(connection, subject, incident, is_new=is_new)
        if is_new:
            self.observer.incident(rule.name, answer)
            log.error(
                "security incident",
                **{"event.action": "incident", "event.kind": "alert", "event.category": ["intrusion_detection"]},
                **{"rule.name": rule.name},
                incident=incident,
                answer=answer,
                suspicion=round(against.weight, 1),
                **({"user.id": subject.subject} if rule.subject == "user" else {}),
            )

    def _run(self) -> None:
        turns, stopping = count(1), False
        while not stopping:
            stopping = self._stopping.wait(REPORT_SECONDS)
            try:
                self.report(accepted=stopping or next(turns) % REPORTS_OF_ACCEPTED == 0)
            except SQLAlchemyError as error:
                log.warning("incidents cannot be written", **{"event.action": "incident"}, error=type(error))


def may_matter(rule: Rule, weight: float) -> bool:
    """Whether so much at every turn, in each of many processes, comes to the threshold: a geometric series."""
    left = math.exp2(-REPORT_SECONDS * REPORTS_OF_ACCEPTED / rule.half_life_seconds)
    return weight * SPREAD_MOST / (1 - left) >= rule.threshold


def _impose(connection: Connection, subject: Subject, incident: str, *, is_new: bool) -> None:
    """The rule's answer, for its time from now on; who goes on is held for longer, and that is no new act."""
    rule = subject.rule
    if rule.answer == "alert":
        return
    by = f"rule {rule.name}"
    reason = f"over the threshold of {rule.threshold:g}"
    restrictions.impose(
        connection,
        Wanted(
            rule.subject,
            subject.subject,
            rule.answer,
            rule.for_seconds,
            reason,
            by,
            incident=incident,
            throttle_to=rule.throttle_to if rule.answer == "throttle" else None,
        ),
    )
    if is_new:
        acts.append(
            connection,
            operator=by,
            act=f"{rule.answer} {rule.subject}",
            subject=subject.subject,
            reason=reason,
            details={"incident": incident, "seconds": rule.for_seconds},
        )
