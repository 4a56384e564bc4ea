"""The moving parts of a socket process: built once, started after the fork, stopped with a word to everybody."""

from __future__ import annotations

import os
import resource
import socket
import time
from collections.abc import Callable
from contextlib import suppress
from typing import Final

import gevent
import redis
import structlog

from models.boards.sockets_open import SAY_SECONDS, SocketsOpen
from models.errors import ScoreboardError
from models.storage.redis import open_redis
from web.live import closing
from web.live.admission import Admission
from web.live.closing import Closing
from web.live.errands import Errands
from web.live.feed import Feed
from web.live.frames import close_frame
from web.live.hub import Hub
from web.live.pace import Pace
from web.live.roster import DESCRIPTORS_RESERVED, SOCKETS_MOST, Roster
from web.live.rounds import ROUND_SECONDS, Rounds
from web.live.sent import Sent
from web.live.session import Session
from web.live.shared import Shared
from web.live.transport import Transport
from web.services import Services

log = structlog.get_logger(__name__)

#: The events are a hint, this is the guarantee: a board that changed unheard is noticed within a second (I6).
POLL_SECONDS: Final = 1.0
#: Updates of one process whose commit is under way together; they share commits, so more would only wait longer.
ACCEPTING_AT_ONCE: Final = 128
ACCEPTING_WAITING_MOST: Final = 4_096
VERIFYING_AT_ONCE: Final = 16
#: Unsent bytes the kernel may hold for a socket; a slow reader shows after this, not after megabytes of old deltas.
UNSENT_BYTES: Final = 64 * 1024
#: Between the closing frames and the end: enough for those who answer, short enough for a restart.
FAREWELL_SECONDS: Final = 2.0
_TCP_NOTSENT_LOWAT: Final = getattr(socket, "TCP_NOTSENT_LOWAT", None)


class Live:
    """Everything between the handshake and the close frame."""

    def __init__(self, services: Services) -> None:
        self._services = services
        self._pace = Pace()
        wants_to_know = services.tracing is not None or services.settings.log_level == "debug"
        self._hub = Hub(
            services.stores.ranking,
            wake=self._pace.wake,
            send_each=Transport.send_each,
            give_way=_give_way,
            told=Sent(services.tracing) if wants_to_know else None,
        )
        self._pace.tick = self._hub.tick
        most = min(SOCKETS_MOST, max(1, resource.getrlimit(resource.RLIMIT_NOFILE)[0] - DESCRIPTORS_RESERVED))
        self.roster = Roster(most=most)
        self._admission = admission = Admission(services)
        self._shared = Shared(
            hub=self._hub,
            admission=admission,
            verifying=Errands(at_once=VERIFYING_AT_ONCE, waiting_most=most).run,
            accepting=Errands(at_once=ACCEPTING_AT_ONCE, waiting_most=ACCEPTING_WAITING_MOST).run,
            gone=self.roster.leave,
            identify=self.roster.identify,
        )
        self._rounds = Rounds(self.roster, admission, give_way=_give_way)
        # A client of its own: the feed's connection is broken off when it is silent, never another's.
        self._feed_client = open_redis(services.settings.redis_url)
        self.feed = Feed(self._feed_client, sorted(services.stores.catalogue.boards), self._hub)
        self._open: SocketsOpen | None = None
        self._greenlets: list[gevent.Greenlet] = []

    def start(self) -> None:
        """Begin; in the process and the event loop that will serve."""
        self._services.stores.revocations.start()
        self._services.limits.start()
        self._services.stores.watch.start()
        self._services.wakeup.start()
        self._open = SocketsOpen(self._services.stores.redis)
        self._greenlets = [
            gevent.spawn(self.feed.run),
            gevent.spawn(_every, POLL_SECONDS, self._poll),
            gevent.spawn(_every, ROUND_SECONDS, self._rounds.walk),
            gevent.spawn(_every, SAY_SECONDS, self._say_how_many),
        ]
        log.info("sockets served", **{"event.action": "live-started"})

    def stop(self) -> None:
        """Send everybody away with 1001, wait a moment for their answers, and end. Repeatable."""
        if self.roster.leaving:
            return
        self.roster.leaving = True
        log.info("sockets close", **{"event.action": "live-stopping"}, sockets=len(self.roster))
        for count, session in enumerate(self.roster, 1):
            session.close(closing.GOING_AWAY)
            if count % 128 == 0:
                _give_way()
        deadline = time.monotonic() + FAREWELL_SECONDS
        while len(self.roster) and time.monotonic() < deadline:
            gevent.sleep(0.02)
        for session in self.roster:
            session.cut()
        self.feed.stop()
        self._pace.stop()
        gevent.killall(self._greenlets, timeout=1.0)
        if self._open is not None:
            with suppress(redis.RedisError):  # silence says it as well
                self._open.leave()
        self._feed_client.close()
        self._admission.close()
        self._services.close()

    def _say_how_many(self) -> None:
        if self._open is not None:
            with suppress(redis.RedisError):  # what was said last is believed for some seconds; /readyz tells of Redis
                self._open.say(len(self.roster))

    def welcome(self, accepted: socket.socket, board: str, address: str) -> None:
        """Go on with a socket after its handshake; the caller may close its own descriptor then."""
        refusal = self.roster.refusal(address)
        if refusal is not None:  # no session for those we cannot carry
            with suppress(OSError):
                accepted.sendall(close_frame(refusal.code, refusal.reason))
            return
        _tune(accepted)
        transport = Transport(os.dup(accepted.fileno()))
        session = Session(transport, self._shared, board=board, address=address)
        self.roster.enter(session)
        transport.start(session)
        refusal = self._refusal(board, address)
        if refusal is not None:
            session.close(refusal)

    def _refusal(self, board: str, address: str) -> Closing | None:
        """Why this socket is closed at once, with a code that browsers can read."""
        if board not in self._services.stores.catalogue.boards:
            return closing.BOARD_UNKNOWN
        if self._admission.blocks_address(address):
            return closing.ADDRESS_BLOCKED
        try:
            self._services.limits.address(address)
        except ScoreboardError:
            return closing.TOO_MANY_CONNECTIONS
        return None

    def _poll(self) -> None:
        for board in self._hub.boards():
            self._hub.seen(board, self._services.stores.ranking.version(board))


def _tune(accepted: socket.socket) -> None:
    """Deltas leave at once, and what the peer does not take is noticed early."""
    if accepted.family in (socket.AF_INET, socket.AF_INET6):
        accepted.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        if _TCP_NOTSENT_LOWAT is not None:
            accepted.setsockopt(socket.IPPROTO_TCP, _TCP_NOTSENT_LOWAT, UNSENT_BYTES)


def _every(seconds: float, work: Callable[[], None]) -> None:
    """Call `work` again and again; what fails once is tried again at the next turn."""
    while True:
        try:
            work()
        except ScoreboardError as error:
            log.warning("round failed", **{"event.action": "round-failed"}, error=error.detail)
        except Exception:  # a loop that ends unseen would leave dead sockets and stale boards
            log.exception("round failed", **{"event.action": "round-failed"})
        gevent.sleep(seconds)


def _give_way() -> None:
    gevent.sleep(0)
