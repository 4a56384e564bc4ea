"""Accepts players' updates on an event loop, asyncio's or gevent's: what needs no waiting to be checked is admitted at
once and committed with all that arrive meanwhile.

The checks are those of the waiting path (`models/pipeline/accept.py`), and none is left out: what cannot be decided
without asking a store is passed back before anything was spent, and goes that way.
"""

from __future__ import annotations

from collections.abc import Callable

from models.errors import ScoreboardError
from models.pipeline.inbox import Arrival
from models.pipeline.inbox_writer import InboxWriter, Opener, Receipt, Verdict
from models.pipeline.loop_groups import LoopGroups, Turns
from models.pipeline.updates import SignedUpdate
from models.tracing import riding
from web.metrics import count_receipt
from web.services import Services


class LoopAcceptor:
    """One a loop; all on its thread."""

    def __init__(self, turns: Turns, services: Services, open_connection: Opener, *, way: str) -> None:
        """`way` is how the updates come, for the metrics: single, socket."""
        self._acceptor = services.stores.acceptor
        self._users = services.stores.users
        self._limits = services.limits
        self._wakeup = services.wakeup
        self._watch = services.stores.watch
        self._way = way
        self._writer = InboxWriter(open_connection)
        self._writer.on_group = self._acceptor.writer.on_group
        self._commits: LoopGroups[Arrival, Verdict] = LoopGroups(turns, self._writer.write)

    def close(self) -> None:
        """Close the connection."""
        self._writer.close()

    def take(
        self,
        user_id: str,
        update: SignedUpdate,
        *,
        address: str | None,
        request_id: str,
        answer_by: float,
        windows: Callable[[], bool],
        done: Callable[[Verdict], None],
    ) -> bool:
        """Whether the update is taken: then `done` is told its verdict, after its commit (I1).

        When not, a check did not let it pass or would have had to wait, and nothing was spent.

        Args:
            request_id: with the trace behind it, if it is traced.
            answer_by: when its sender must have an answer, by the monotonic clock.
            windows: counts it against the limits on credit; False when there is none.
        """
        if not self._users.knows_key(user_id):
            return False
        try:
            arrival = self._acceptor.admit(user_id, update, address=address, request_id=request_id)
        except ScoreboardError:
            return False
        if not windows():
            return False

        def told(verdict: Verdict) -> None:
            if isinstance(verdict, Receipt):
                count_receipt(verdict, self._way)
                if not verdict.replayed:
                    self._wakeup.wake(verdict.shard, request_id)
                    self._watch.accepted(update.action, user_id, update.value)
            else:
                plain = riding.request_id_of(request_id)
                self._watch.note(verdict.code, address=address, user_id=user_id, request_id=plain)
            done(verdict)

        try:
            self._commits.submit(arrival, answer_by, told)
        except ScoreboardError as error:
            done(error)
        return True
