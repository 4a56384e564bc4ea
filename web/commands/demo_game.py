"""Has the seated players take turns from a few threads, at a rate or as fast as it goes."""

from __future__ import annotations

import random
import secrets
import threading
import time
from collections.abc import Callable, Sequence
from typing import Final

from web.commands.demo_players import Seat

ACTION: Final = "level_complete"
POINTS: Final = 10
THREADS: Final = 16
#: Small steps are common, great ones rare.
VALUES: Final = (1, 2, 3, 5, 10)
WEIGHTS: Final = (50, 25, 15, 8, 2)


class Game:
    """Turns of all players; each player is played by one thread."""

    def __init__(self, seats: Sequence[Seat], updates: int, rate: float) -> None:
        """`updates` 0 plays until Ctrl-C; `rate` 0 waits for nothing between turns (else turns a second)."""
        self._seats = seats
        self._updates = updates
        self._rate = rate
        #: Begins every action_id of this game, by which its rows in history are known from those of others.
        self.run_id = secrets.token_hex(4)
        #: What each accepted action is worth, by user id and action_id; kept only where the demo ends and checks.
        self.ledger: dict[tuple[str, str], int] = {}
        self._turns = 0
        self._accepted = 0
        self._lock = threading.Lock()
        self._ended = threading.Event()

    def run(self, on_accepted: Callable[[int], object]) -> int:
        """Play to the end; returns how many updates were accepted, and says so as it goes."""
        started = time.monotonic()
        shares = [self._seats[at::THREADS] for at in range(min(THREADS, len(self._seats)))]
        threads = [
            threading.Thread(target=self._play, args=(share, started, on_accepted), daemon=True) for share in shares
        ]
        for thread in threads:
            thread.start()
        try:
            for thread in threads:
                while thread.is_alive():
                    thread.join(0.2)
        except KeyboardInterrupt:
            self._ended.set()
            for thread in threads:
                thread.join(3)
        return self._accepted

    def _play(self, seats: Sequence[Seat], started: float, on_accepted: Callable[[int], object]) -> None:
        while not self._ended.is_set() and (turn := self._next_turn()) is not None:
            if self._rate and self._ended.wait(max(0.0, started + turn / self._rate - time.monotonic())):
                break
            value = random.choices(VALUES, WEIGHTS)[0]  # noqa: S311 - a game, no secret
            seat = random.choice(seats)  # noqa: S311
            action_id = f"{self.run_id}-{secrets.token_hex(8)}"
            if not seat.play(action_id, ACTION, value):
                self._ended.set()  # minutes without an answer: the service is gone
                break
            with self._lock:
                self._accepted += 1
                if self._updates:
                    self.ledger[seat.user_id, action_id] = POINTS * value
                on_accepted(self._accepted)
        for seat in seats:
            seat.leave()

    def _next_turn(self) -> int | None:
        with self._lock:
            if self._updates and self._turns >= self._updates:
                return None
            self._turns += 1
            return self._turns - 1
