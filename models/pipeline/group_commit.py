"""Lets concurrent requests of a process share one commit: what arrives during a write goes with the next one.

Leader and followers: who comes while nobody writes, writes at once for itself; who comes during a write waits, and
the first of those then writes for all of them. Alone, nobody waits for company.
"""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Callable, Sequence
from typing import Final, Generic, TypeVar

from models import deadlines
from models.errors import Overloaded, QueueUnavailable, ScoreboardError

#: Items one write takes: larger groups gain little (measured: 18 µs a row at 100, 16 at 500) and delay the first.
GROUP_MOST: Final = 1_000
#: Items that may wait; beyond this the caller is told to come back (I8).
WAITING_MOST: Final = 10_000
#: Every caller has an answer by then, or sooner if its request began before. Leaves a write its try without an answer
#: (6 s) and one reconnection (2 s).
DEADLINE_SECONDS: Final = 9.0
#: Who has less time left is not written any more: the answer could come too late. Leaves one reconnection.
MARGIN_SECONDS: Final = 2.0

Item = TypeVar("Item")
Verdict = TypeVar("Verdict")


class _Ticket(Generic[Item, Verdict]):
    """One caller's items and what became of them."""

    __slots__ = ("_bell", "answer_by", "error", "items", "leads", "verdicts")

    def __init__(self, items: Sequence[Item]) -> None:
        self.items = items
        self.verdicts: Sequence[Verdict] | None = None
        self.error: Exception | None = None
        self.leads = False
        self.answer_by = min(time.monotonic() + DEADLINE_SECONDS, deadlines.answer_by())
        #: A bare lock that is held until the ticket is woken: a quarter of what an Event costs, at each update.
        self._bell: threading.Lock | None = None

    def follow(self) -> None:
        """Get ready to be woken; before any other thread sees the ticket."""
        self._bell = threading.Lock()
        self._bell.acquire()

    def wait(self, seconds: float) -> bool:
        """Whether it was woken within that time; its own thread alone waits."""
        bell = self._bell
        return bell is None or bell.acquire(timeout=seconds)

    def wake(self) -> None:
        """Let its thread go on; a leader was never asleep. Only by who leads, so never twice at once."""
        bell, self._bell = self._bell, None
        if bell is not None:
            bell.release()


class GroupCommit(Generic[Item, Verdict]):
    """Gathers items of many threads (or greenlets) into writes, one write at a time."""

    def __init__(self, write: Callable[[list[Item], float], list[Verdict]]) -> None:
        """`write` gets a group's items and returns a verdict for each, in order, after its commit.

        Its second argument says when it must have returned or raised, by the monotonic clock.
        """
        self._write = write
        self._lock = threading.Lock()
        self._waiting: deque[_Ticket[Item, Verdict]] = deque()
        self._waiting_items = 0
        self._led = False

    def submit(self, items: Sequence[Item]) -> Sequence[Verdict]:
        """Have the items written; returns their verdicts after the commit they went with.

        Raises:
            Overloaded: too many wait already; nothing was written.
            QueueUnavailable: the write did not end within DEADLINE_SECONDS; it may or may not come to pass.
            ScoreboardError: what `write` raised for the group.
        """
        ticket: _Ticket[Item, Verdict] = _Ticket(items)
        with self._lock:
            if self._waiting_items + len(items) > WAITING_MOST:
                raise Overloaded(retry_after_seconds=1)
            if self._led:
                ticket.follow()
            else:
                self._led = ticket.leads = True
            self._waiting.append(ticket)
            self._waiting_items += len(items)
        if not ticket.leads:
            self._await(ticket)
        if ticket.leads:
            self._lead()
        if ticket.error is not None:
            raise ticket.error
        if ticket.verdicts is None:
            raise QueueUnavailable("The write did not end in time; send the same action again.", retry_after_seconds=1)
        return ticket.verdicts

    def _await(self, ticket: _Ticket[Item, Verdict]) -> None:
        try:
            patience = max(0.0, ticket.answer_by - MARGIN_SECONDS - time.monotonic())
            if not ticket.wait(patience) and not self._give_up(ticket):
                ticket.wait(max(0.0, ticket.answer_by - time.monotonic()))  # its write has begun
        except BaseException:  # interrupted, or its greenlet was killed: it will not lead any more
            self._give_up(ticket)
            self._decline_lead(ticket)
            raise

    def _decline_lead(self, ticket: _Ticket[Item, Verdict]) -> None:
        """Hand a lead that was passed to this ticket to the next, or nobody would ever write again."""
        with self._lock:
            if not (ticket.leads and ticket in self._waiting):
                return
            self._waiting.remove(ticket)
            self._waiting_items -= len(ticket.items)
        self._pass_on()

    def _give_up(self, ticket: _Ticket[Item, Verdict]) -> bool:
        """Leave the queue, unless the lead was passed to this ticket in the meantime: then it must lead."""
        with self._lock:
            if ticket.leads or ticket not in self._waiting:
                return False
            self._waiting.remove(ticket)
            self._waiting_items -= len(ticket.items)
            return True

    def _lead(self) -> None:
        group = self._take()
        try:
            verdicts = self._write_group(group) if group else []
        except ScoreboardError as error:
            for ticket in group:
                ticket.error = error
        except Exception:
            for ticket in group:
                ticket.error = QueueUnavailable(retry_after_seconds=1)
            raise
        else:
            start = 0
            for ticket in group:
                ticket.verdicts = verdicts[start : start + len(ticket.items)]
                start += len(ticket.items)
        finally:
            self._pass_on()
            for ticket in group:
                ticket.wake()

    def _write_group(self, group: list[_Ticket[Item, Verdict]]) -> list[Verdict]:
        soonest = min(ticket.answer_by for ticket in group)
        return self._write([item for ticket in group for item in ticket.items], soonest)

    def _take(self) -> list[_Ticket[Item, Verdict]]:
        """The next group; who has waited too long leaves the queue without being written."""
        group: list[_Ticket[Item, Verdict]] = []
        soonest = time.monotonic() + MARGIN_SECONDS
        with self._lock:
            size = 0
            while self._waiting and (not group or size + len(self._waiting[0].items) <= GROUP_MOST):
                ticket = self._waiting.popleft()
                self._waiting_items -= len(ticket.items)
                if ticket.answer_by <= soonest:
                    ticket.wake()
                else:
                    size += len(ticket.items)
                    group.append(ticket)
        return group

    def _pass_on(self) -> None:
        with self._lock:
            if self._waiting:
                self._waiting[0].leads = True
                self._waiting[0].wake()
            else:
                self._led = False
