"""The personal half of a board: who is to hear of their own score and rank, and when."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Final, NamedTuple, Protocol

from models.boards.events import Applied
from web.live import messages

#: How often those are asked about whom only others have moved: an own score shows at once, a rank that slips because
#: others climb may be a quarter of a second old (ranks cost about 6 µs each in Valkey, for every person, every time).
OTHERS_MOVED_SECONDS: Final = 0.25
#: Results kept for players who listen while the board cannot be read; a second of a very busy board.
APPLIED_MOST: Final = 10_000


class Place(NamedTuple):
    """Where a player stands; both None while there is no score."""

    score: int | None
    rank: int | None


NOWHERE: Final = Place(None, None)


class Listener(Protocol):
    """A socket with a personal half."""

    place: Place | None

    @property
    def user_id(self) -> str | None: ...
    @property
    def busy(self) -> bool: ...
    def send(self, frame: bytes) -> None: ...


class People:
    """The players who listen to one board with a token, and what they are owed."""

    def __init__(self, board: str) -> None:
        self._board = board
        self._listeners: dict[str, list[Listener]] = {}
        self._owed: set[str] = set()
        self._applied: list[Applied] = []
        self._all_owed = False
        self._all_asked_at = float("-inf")

    def __len__(self) -> int:
        return len(self._listeners)

    def join(self, listener: Listener) -> None:
        """Begin to tell; `you` is owed at once."""
        if listener.user_id is not None:
            self._listeners.setdefault(listener.user_id, []).append(listener)
            self._owed.add(listener.user_id)

    def leave(self, listener: Listener) -> None:
        """Tell no more. Repeatable."""
        listeners = self._listeners.get(listener.user_id or "", [])
        if listener in listeners:
            listeners.remove(listener)
            if not listeners:
                del self._listeners[str(listener.user_id)]

    def owe(self, listener: Listener) -> None:
        """This one missed a `you` while it was busy."""
        if listener.user_id in self._listeners:
            self._owed.add(listener.user_id)

    def applied(self, results: Iterable[Applied]) -> None:
        """Results came in; those of players who listen are kept until `tell`."""
        for result in results:
            if result.user_id in self._listeners and len(self._applied) < APPLIED_MOST:
                self._applied.append(result)
                self._owed.add(result.user_id)

    def moved(self) -> None:
        """The board changed: everybody's rank may have."""
        self._all_owed = bool(self._listeners)

    def to_ask(self, now: float) -> list[str]:
        """Whose score and rank to ask for now; `now` is monotonic seconds."""
        if self._all_owed and now >= self._all_asked_at + OTHERS_MOVED_SECONDS:
            return list(self._listeners)
        return [user_id for user_id in self._owed if user_id in self._listeners]

    def wait_until(self) -> float | None:
        """When those whom others moved are due, or None when nobody is."""
        return self._all_asked_at + OTHERS_MOVED_SECONDS if self._all_owed and self._listeners else None

    def tell(self, asked: Iterable[str], places: Mapping[str, Place], now: float) -> None:
        """Send what changed to those asked about: `you`, then what was applied."""
        asked = set(asked)
        if self._all_owed and asked.issuperset(self._listeners):
            self._all_owed, self._all_asked_at = False, now
        results, self._applied = self._applied, [result for result in self._applied if result.user_id not in asked]
        self._owed -= asked
        for user_id in asked:
            for listener in list(self._listeners.get(user_id, ())):
                self._tell_place(listener, places.get(user_id, NOWHERE))
        for result in results:
            if result.user_id in asked:
                self._tell_result(result, places.get(result.user_id, NOWHERE))

    @staticmethod
    def _tell_place(listener: Listener, place: Place) -> None:
        if listener.place != place and not listener.busy:
            listener.place = place
            listener.send(messages.you(place.score, place.rank))

    def _tell_result(self, result: Applied, place: Place) -> None:
        done = messages.Result(self._board, result.previous_score, result.score_increment, result.new_score, place.rank)
        frame = messages.applied(result.action_id, [done])
        for listener in self._listeners.get(result.user_id, ()):
            listener.send(frame)
