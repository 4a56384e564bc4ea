"""Who listens to which board, and what each is sent; plain Python, told when to look by `pace.py`.

I6: a socket's list at version v equals the board's top at v. Whatever is sent follows from states that were read
whole from the ranking, so a lost event, a gap or a skipped delta costs time, never a wrong list.
"""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from typing import Any, Final, NamedTuple, Protocol

from prometheus_client import Histogram

from models.boards.deltas import delta
from models.boards.events import BoardChanged
from web.live import messages, metrics
from web.live.people import Listener, People, Place
from web.live.recent import Ranked, Recent, State

#: 256 sends of a broadcast take about 2 ms: reads and other boards wait no longer than that.
SENDS_BEFORE_GIVING_WAY: Final = 256
#: A delta that changes no line of a top only says that the board moved on below it. On a large board nearly every
#: change is such a one, so they are gathered: a version may be this old on a socket whose list is right all the same.
QUIET_SECONDS: Final = 0.25
#: Events between two looks of which it is told what became of them; there is a look a hundredth of a second.
HEARD_MOST: Final = 64
#: Ids in one question for ranks; keeps each answer of Valkey's under about 3 ms.
RANKS_ASKED_MOST: Final = 500


class Page(Protocol):
    """A stretch of a board as it stood at a version."""

    @property
    def season(self) -> int: ...
    @property
    def version(self) -> int: ...
    @property
    def total(self) -> int: ...
    @property
    def entries(self) -> Iterable[RankedEntry]: ...


class RankedEntry(Ranked, Protocol):
    """An entry that says its rank."""

    @property
    def rank(self) -> int: ...


class Reading(Protocol):
    """The ranking, as far as the hub reads it. May wait for Redis; raises NotReady when it cannot be read."""

    def top(self, board: str, count: int) -> Page: ...
    def ranks(self, board: str, user_ids: list[str]) -> Page: ...


class Wire(Protocol):
    """Where a member's bytes go."""

    @property
    def stuck_since(self) -> float | None:
        """Not None: what was sent last has not wholly reached the kernel."""

    def send(self, data: bytes) -> None: ...


class Member(Listener, Protocol):
    """A socket that listens."""

    topic: Topic | None
    top: int
    version: int | None  # of the list it holds; None: it holds none we can tell
    owed: bool  # it waits for an answer to its subscription, even when nothing changed

    @property
    def wire(self) -> Wire: ...


class Heard(NamedTuple):
    """An event, and when it came (Unix ns)."""

    at_ns: int
    event: BoardChanged


class Told(Protocol):
    """Who wants to know what became of events: a look at this version of the board sent so many sockets a frame."""

    def __call__(self, heard: Sequence[Heard], *, version: int, sockets: int) -> None: ...


class Topic:
    """One board that somebody listens to, or did."""

    def __init__(self, board: str) -> None:
        self.board = board
        self.members: set[Member] = set()
        self._tops: Counter[int] = Counter()
        self.people = People(board)
        self.recent = Recent()
        self.published_at: int | None = None  # Unix µs of the oldest event not yet sent on
        self.accepted_at: int | None = None
        self.quiet_at = float("-inf")  # when deltas without a line were sent last
        self.heard: list[Heard] = []  # since the last look, where somebody wants to know what became of them

    def enter(self, member: Member) -> None:
        """One more."""
        self.members.add(member)
        self._tops[member.top] += 1
        self.people.join(member)

    def leave(self, member: Member) -> None:
        """One less."""
        self.members.discard(member)
        self._tops[member.top] -= 1
        if not self._tops[member.top]:
            del self._tops[member.top]
        self.people.leave(member)

    def largest_top(self) -> int:
        """How far down the board is read: once for all."""
        return max(self._tops, default=0)


class Hub:
    """Boards, those who listen to them, and the one sweep that brings all of them up to date."""

    def __init__(
        self,
        ranking: Reading,
        *,
        wake: Callable[[str], None],
        send_each: Callable[[list[Any], bytes], None],
        give_way: Callable[[], None],
        told: Told | None = None,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        """`wake` asks for a `tick` of a board soon; `send_each` sends one frame to wires of which none is stuck, and
        `give_way` lets others run in the middle of a long sweep.
        """
        self._ranking = ranking
        self._wake = wake
        self._send_each = send_each
        self._give_way = give_way
        self._told = told
        self._monotonic = monotonic
        self._topics: dict[str, Topic] = {}

    def join(self, member: Member, board: str, top: int, *, resume: int | None = None) -> None:
        """Listen, in place of what the member listened to before."""
        self.leave(member)
        topic = self._topics.setdefault(board, Topic(board))
        member.topic, member.top, member.version, member.owed, member.place = topic, top, resume, True, None
        topic.enter(member)
        self._wake(board)

    def leave(self, member: Member) -> None:
        """Listen no more. Repeatable."""
        topic, member.topic = member.topic, None
        if topic is not None:
            topic.leave(member)

    def changed(self, event: BoardChanged) -> None:
        """A batch changed a board."""
        topic = self._topics.get(event.board)
        if topic is None or not topic.members:
            return
        topic.people.applied(event.applied)
        topic.published_at = min(event.published_at, topic.published_at or event.published_at)
        topic.accepted_at = min(event.oldest_accepted_at, topic.accepted_at or event.oldest_accepted_at)
        if self._told is not None and len(topic.heard) < HEARD_MOST:
            topic.heard.append(Heard(time.time_ns(), event))
        self._wake(event.board)

    def missed(self) -> None:
        """Events may have been lost: look at every board that somebody listens to."""
        for board in self.boards():
            self._wake(board)

    def seen(self, board: str, version: int | None) -> None:
        """The board stands at this version (None: it is missing); look if that is news."""
        topic = self._topics.get(board)
        current = topic.recent.current if topic else None
        if current is None or current.version != version:
            self._wake(board)

    def drained(self, member: Member) -> None:
        """A slow socket can take something again."""
        if member.topic is not None:
            member.topic.people.owe(member)
            self._wake(member.topic.board)

    def boards(self) -> list[str]:
        """The boards that somebody listens to."""
        return [board for board, topic in self._topics.items() if topic.members]

    def tick(self, board: str) -> float | None:
        """Read the board once and bring all who listen up to date; one tick of a board at a time.

        Returns:
            When to look again though nothing happens (monotonic seconds), or None.

        Raises:
            NotReady: the board cannot be read now; nobody is owed less for it.
        """
        topic = self._topics.get(board)
        if topic is None or not topic.members:
            return None
        started = self._monotonic()
        heard = topic.heard
        if heard:
            topic.heard = []
        before, current = self._read(topic)
        published_at, accepted_at = topic.published_at, topic.accepted_at
        topic.published_at = topic.accepted_at = None
        if before is None or before.version != current.version:
            topic.people.moved()
        sweep = self._serve(topic, current)
        metrics.TICK_SECONDS.observe(self._monotonic() - started)
        _observe_since(metrics.PUBLISHED_SENT_SECONDS, published_at)
        _observe_since(metrics.ACCEPTED_SENT_SECONDS, accepted_at)
        self._tell_people(topic)
        if heard and self._told is not None:
            self._told(heard, version=current.version, sockets=sweep.sent)
        return min((at for at in (sweep.due, topic.people.wait_until()) if at is not None), default=None)

    def _read(self, topic: Topic) -> tuple[State | None, State]:
        asked = topic.largest_top()
        page = self._ranking.top(topic.board, asked)
        before = topic.recent.current
        if before is not None and before.season != page.season:
            for member in topic.members:  # versions of another season say nothing about their lists
                member.version = None
        current = topic.recent.add(
            season=page.season, version=page.version, total=page.total, asked=asked, entries=page.entries
        )
        return before, current

    def _serve(self, topic: Topic, current: State) -> Sweep:
        """Send each member what leads from its version to the current one."""
        now = self._monotonic()
        sweep = Sweep(topic, current, now=now, quiet_until=topic.quiet_at + QUIET_SECONDS)
        if now >= sweep.quiet_until:
            topic.quiet_at = now
        members = list(topic.members)
        for start in range(0, len(members), SENDS_BEFORE_GIVING_WAY):
            for made, wires in sweep.take(members[start : start + SENDS_BEFORE_GIVING_WAY]).items():
                self._send_each(wires, made.frame)
            self._give_way()
        sweep.report()
        return sweep

    def _tell_people(self, topic: Topic) -> None:
        asked = topic.people.to_ask(self._monotonic())
        if not asked:
            return
        places: dict[str, Place] = {}
        for start in range(0, len(asked), RANKS_ASKED_MOST):
            page = self._ranking.ranks(topic.board, asked[start : start + RANKS_ASKED_MOST])
            places.update((entry.user_id, Place(entry.score, entry.rank)) for entry in page.entries)
        topic.people.tell(asked, places, self._monotonic())


class Made:
    """A frame of a sweep, for whom it is, and how often it was sent."""

    __slots__ = ("frame", "kind", "quiet", "sent", "top", "version")

    def __init__(self, kind: str, frame: bytes, version: int | None, top: int, *, quiet: bool = False) -> None:
        self.kind = kind
        self.frame = frame
        self.version = version  # of the lists it is for
        self.top = top
        self.quiet = quiet  # changes no line
        self.sent = 0

    def count_resumed(self) -> None:
        """It answers a subscription that said which version its client has, if it did."""
        if self.version is not None:
            metrics.RESUMED.labels(self.kind).inc()


class Sweep:
    """One walk through a topic's members: who is to get which frame, each made once whoever gets it."""

    def __init__(self, topic: Topic, current: State, *, now: float, quiet_until: float) -> None:
        self.quiet_until = quiet_until
        self.due: float | None = None  # when those are to be looked at who were left out now
        self._topic = topic
        self._current = current
        self._now = now
        self._made: dict[tuple[int | None, int], Made] = {}
        self._skipped = 0

    def take(self, members: Sequence[Member]) -> dict[Made, list[Wire]]:
        """The frames for these members, and to whom they go; they count as sent."""
        topic, version = self._topic, self._current.version
        groups: dict[Made, list[Wire]] = {}
        made: Made | None = None
        wires: list[Wire] = []
        for member in members:
            if member.topic is not topic:
                continue
            # Nearly all are where the one before them was, and get what it gets.
            if made is None or member.version != made.version or member.top != made.top or member.owed or made.quiet:
                made = self._for(member)
                if made is None:
                    continue
                wires = groups.setdefault(made, [])
            wire = member.wire
            if wire.stuck_since is not None:
                self._skipped += 1
                continue
            if member.owed:
                member.owed = False
                made.count_resumed()
            member.version = version
            wires.append(wire)
        for each, group in groups.items():
            each.sent += len(group)
        return groups

    @property
    def sent(self) -> int:
        """How many frames of the board were sent."""
        return sum(made.sent for made in self._made.values())

    def report(self) -> None:
        """Add what was sent to the metrics, once a sweep."""
        for made in self._made.values():
            if made.sent:
                metrics.SENT.labels(made.kind).inc(made.sent)
                metrics.SENT_BYTES.inc(made.sent * len(made.frame))
        metrics.SKIPPED.inc(self._skipped)

    def _for(self, member: Member) -> Made | None:
        """What it is to get now, if anything."""
        if member.version == self._current.version and not member.owed:
            return None
        if not self._current.covers(member.top):  # it joined during the read and asks for more than was read
            self.due = self._now
            return None
        place = member.version, member.top
        made = self._made.get(place)
        if made is None:
            made = self._made[place] = self._make(*place)
        if made.quiet and self._now < self.quiet_until and not member.owed:
            self.due = self.quiet_until if self.due is None else self.due
            return None
        return made

    def _make(self, version: int | None, top: int) -> Made:
        """A delta from that version of the top, or a snapshot when it is not known any more."""
        current = self._current
        old = self._topic.recent.at(version, top)
        if old is None:
            frame = messages.snapshot(current.version, current.total, current.lines[:top])
            return Made("snapshot", frame, version, top)
        change = delta(old.lines[:top], current.lines[:top])
        frame = messages.delta(old.version, current.version, current.total, change)
        return Made("delta", frame, version, top, quiet=not change.removals and not change.upserts)


def _observe_since(histogram: Histogram, unix_microseconds: int | None) -> None:
    if unix_microseconds is not None:
        histogram.observe(max(0.0, time.time() - unix_microseconds / 1e6))
