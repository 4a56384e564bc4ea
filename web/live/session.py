"""One socket's life: what its client may say, what is sent back, and how it ends."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable
from functools import partial
from typing import Final

import structlog

from models.accounts.tokens import Claims
from models.errors import Overloaded, RateLimited, ScoreboardError, TokenMissing
from models.pipeline.inbox_writer import Receipt, Verdict
from models.pipeline.updates import SignedUpdate
from web.live import closing, messages, metrics
from web.live.closing import Closing
from web.live.frames import (
    Closed,
    FrameReader,
    FrameRefused,
    Ping,
    Received,
    Text,
    close_frame,
    ping_frame,
    pong_frame,
    whole_texts,
)
from web.live.hub import Topic
from web.live.people import Place
from web.live.shared import Shared, Wire

log = structlog.get_logger(__name__)

#: A client's frame costs about 20 µs to read; the busiest game of one person needs a twentieth of this.
FRAMES_PER_SECOND: Final = 100.0
FRAMES_BURST: Final = 200.0
#: Updates of one socket that wait for their commit; at 5 ms a commit that is 12,000 updates a second.
IN_FLIGHT_MOST: Final = 64
#: Messages kept while a token is being verified.
PENDING_MOST: Final = 64
#: One snapshot of 1,000 lines (185 KB at most) and what personal messages gather behind it.
TAIL_BYTES_MOST: Final = 256 * 1024


class Session:
    """One client on one board."""

    __slots__ = (
        "_credit",
        "_credit_at",
        "_in_flight",
        "_pending",
        "_reader",
        "_shared",
        "address",
        "board",
        "claims",
        "closed",
        "closing_since",
        "heard_at",
        "opened_at",
        "owed",
        "pinged_at",
        "place",
        "subscribed",
        "top",
        "topic",
        "version",
        "wire",
    )

    def __init__(self, wire: Wire, shared: Shared, *, board: str, address: str) -> None:
        now = time.monotonic()
        self.wire = wire
        self._shared = shared
        self.board = board
        self.address = address
        self.opened_at = self.heard_at = self.pinged_at = self._credit_at = now
        self._credit = FRAMES_BURST
        self._in_flight = 0
        self._pending: list[str] | None = None
        self._reader: FrameReader | None = None
        self.claims: Claims | None = None
        self.subscribed = False
        self.closed = False
        self.closing_since: float | None = None
        self.topic: Topic | None = None
        self.top = 0
        self.version: int | None = None
        self.owed = False
        self.place: Place | None = None

    @property
    def user_id(self) -> str | None:
        """The player of the personal half, if there is one."""
        return None if self.claims is None else self.claims.user_id

    @property
    def busy(self) -> bool:
        """Whether the last message has not wholly reached the kernel."""
        return self.wire.stuck_since is not None

    @property
    def ending(self) -> bool:
        """Whether it is over, or the closing handshake has begun: nothing more is said."""
        return self.closed or self.closing_since is not None

    @property
    def stuck_since(self) -> float | None:
        """Since when (monotonic seconds) the kernel has not taken all, or None."""
        return self.wire.stuck_since

    def send(self, frame: bytes) -> None:
        """Send, or let it wait behind what is under way, within bounds."""
        if self.closed or self.closing_since is not None:
            return
        wire = self.wire
        if wire.stuck_since is not None and wire.tail_bytes + len(frame) > TAIL_BYTES_MOST:
            self.close(closing.TOO_SLOW)
            return
        wire.send(frame)

    def ping(self, now: float) -> None:
        """Ask whether the other side is there; nothing is added to what waits already."""
        self.pinged_at = now
        if not self.wire.busy:
            self.send(ping_frame())

    def close(self, how: Closing) -> None:
        """Begin the closing handshake. Repeatable; the first closing stands."""
        if self.ending:
            return
        self._shared.hub.leave(self)
        self.wire.send(close_frame(how.code, how.reason))
        self.closing_since = time.monotonic()
        metrics.CLOSED.labels(str(how.code)).inc()
        log.debug("socket closing", **{"event.action": "socket-closing"}, close_code=how.code, close_reason=how.name)

    def cut(self) -> None:
        """Let go without waiting for the other side any longer. Repeatable."""
        self.wire.close()
        self.lost()

    # What the transport tells, from the event loop itself: nothing here may wait.

    def received(self, data: bytes) -> None:
        """Bytes came."""
        self.heard_at = time.monotonic()
        reader = self._reader
        items: Iterable[Received] | None = whole_texts(data) if reader is None else None
        if items is None:
            reader = reader or FrameReader()
            items = reader.read(data)
        try:
            for item in items:
                self._take(item)
                if self.closed:
                    return
        except FrameRefused as refusal:
            if self.closing_since is not None:
                self.cut()
            self.close(refusal.closing)
            return
        except Exception:
            log.exception("message failed", **{"event.action": "message-failed"})
            self.close(closing.INTERNAL)
            return
        self._reader = None if reader is None or reader.clean else reader

    def drained(self) -> None:
        """All that waited is gone."""
        self._shared.hub.drained(self)

    def lost(self) -> None:
        """The other side is gone."""
        if self.closed:
            return
        self.closed = True
        self._shared.hub.leave(self)
        if self.closing_since is None:
            metrics.CLOSED.labels("1006").inc()
        self._shared.gone(self)

    def _take(self, item: Received) -> None:
        if isinstance(item, Closed):
            self._answer_close(item.code)
        elif self.closing_since is not None:
            self._credit -= 1.0  # they may still be sending what they sent before they read our close frame
            if self._credit < -FRAMES_BURST:
                self.cut()
        elif not self._has_credit():
            self.close(closing.TOO_MANY_MESSAGES)
        elif isinstance(item, Text):
            self._read(item.text)
        elif isinstance(item, Ping):
            self.send(pong_frame(item.payload))

    def _answer_close(self, code: int) -> None:
        if self.closing_since is None:
            metrics.CLOSED.labels(str(code)).inc()
            self.closing_since = time.monotonic()
            if not self.wire.busy:
                self.wire.send(close_frame(code))
        self.cut()

    def _has_credit(self) -> bool:
        elapsed = self.heard_at - self._credit_at
        self._credit = min(FRAMES_BURST, self._credit + elapsed * FRAMES_PER_SECOND) - 1.0
        self._credit_at = self.heard_at
        return self._credit >= 0.0

    def _read(self, text: str) -> None:
        if self._pending is not None:
            if len(self._pending) >= PENDING_MOST:
                self.close(closing.TOO_MANY_MESSAGES)
            else:
                self._pending.append(text)
            return
        try:
            message = messages.read_message(text)
        except messages.MessageRefused as refusal:
            self.close(refusal.closing)
            return
        except messages.ScoreRefused as refusal:
            metrics.MESSAGES.labels("score").inc()
            self._refuse(refusal.cause if self.claims is not None else TokenMissing(), refusal.action_id)
            return
        if isinstance(message, messages.Subscribe):
            metrics.MESSAGES.labels("subscribe").inc()
            self._subscribe(message)
        elif isinstance(message, messages.Ping):
            metrics.MESSAGES.labels("ping").inc()
            self.send(messages.PONG)
        else:
            metrics.MESSAGES.labels("score").inc()
            self._score(message)

    def _subscribe(self, message: messages.Subscribe) -> None:
        admission = self._shared.admission
        if message.token is not None:
            verify = partial(admission.verify, message.token)
        elif message.ticket is not None:
            verify = partial(admission.use_ticket, message.ticket)
        else:
            self._join(message, None)
            return
        self._pending = []
        if not self._shared.verifying(partial(self._verify, message, verify)):
            self.close(closing.FULL)

    def _verify(self, message: messages.Subscribe, verify: Callable[[], Claims]) -> None:
        """Errand: have the token or the ticket verified, then go on with what was said meanwhile."""
        try:
            claims = verify()
        except ScoreboardError as error:
            self._shared.admission.noted(error, None, address=self.address)
            self.close(closing.of_error(error))
            return
        pending, self._pending = self._pending or [], None
        if self.ending:
            return
        self._join(message, claims)
        for text in pending:
            if not self.ending:
                self._read(text)

    def _join(self, message: messages.Subscribe, claims: Claims | None) -> None:
        if not self._shared.identify(self, claims.user_id if claims is not None else None):
            self.close(closing.TOO_MANY_OF_USER)
            return
        self._shared.hub.leave(self)
        self.claims = claims
        self.subscribed = True
        resume = message.resume.version if message.resume is not None else None
        self._shared.hub.join(self, self.board, message.top, resume=resume)

    def _score(self, score: messages.Score) -> None:
        if self.claims is None:
            self._refuse(TokenMissing("Subscribe with a token to send scores."), score.action_id)
        elif self._in_flight >= IN_FLIGHT_MOST:
            self._refuse(RateLimited(retry_after_seconds=1, limit=IN_FLIGHT_MOST), score.action_id)
        else:
            self._send_on(self.claims, messages.signed_update(score), score.action_id)

    def _send_on(self, claims: Claims, update: SignedUpdate, action_id: str) -> None:
        """Have the update committed: at once if nothing must be waited for, else by an errand."""
        self._in_flight += 1
        if self._shared.admission.take(claims, update, address=self.address, done=partial(self._told, update)):
            return
        if not self._shared.accepting(partial(self._accept, claims, update)):
            self._in_flight -= 1
            self._refuse(Overloaded(retry_after_seconds=1), action_id)

    def _told(self, update: SignedUpdate, verdict: Verdict) -> None:
        """What became of an update that was taken; from the event loop itself."""
        if isinstance(verdict, Receipt) and not verdict.replayed:
            self._in_flight -= 1
            self.send(messages.ack(update.action_id))
        elif isinstance(verdict, Receipt):  # what it did is another errand
            if self.claims is None or not self._shared.accepting(partial(self._acknowledge, self.claims, update)):
                self._in_flight -= 1
                self.send(messages.ack(update.action_id))
        else:
            self._in_flight -= 1
            self._refuse(verdict, update.action_id)

    def _acknowledge(self, claims: Claims, update: SignedUpdate) -> None:
        """Errand: say that a repeat was accepted before, and what it did, if that is known."""
        try:
            self._say_accepted(claims, update, replayed=True)
        finally:
            self._in_flight -= 1

    def _say_accepted(self, claims: Claims, update: SignedUpdate, *, replayed: bool) -> None:
        self.send(messages.ack(update.action_id))
        results = self._shared.admission.outcome(claims, update.action_id) if replayed else []
        if results:
            self.send(messages.applied(update.action_id, results))

    def _accept(self, claims: Claims, update: SignedUpdate) -> None:
        """Errand: have the update committed and say so; of a repeat also what it did, if that is known."""
        try:
            replayed = self._shared.admission.accept(claims, update, address=self.address)
            self._say_accepted(claims, update, replayed=replayed)
        except ScoreboardError as error:
            self._shared.admission.noted(error, claims, address=self.address)
            if error.code in closing.BY_ERROR:
                self.close(closing.of_error(error))
            else:
                self._refuse(error, update.action_id)
        finally:
            self._in_flight -= 1

    def _refuse(self, cause: ScoreboardError, action_id: str | None) -> None:
        self.send(messages.error(cause, action_id))
