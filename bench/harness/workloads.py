"""The workloads over HTTP: what is asked, of which service, and how fast it is meant to be."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Final
from urllib.request import urlopen

from bench.harness import players
from bench.harness.players import BOARD, Player
from bench.harness.stack import Stack

#: Updates that are signed for a second of load: more than any machine here has accepted.
UPDATES_A_SECOND: Final = 12_000
BATCH: Final = 500
BATCHES_A_SECOND: Final = 80

Requests = Callable[[Stack, Sequence[Player], float], list[bytes]]


@dataclass(frozen=True, slots=True)
class Workload:
    """One line of the table. `goal` is answers a second; `each` what an answer stands for (updates of a batch)."""

    name: str
    board: int  # players on the board
    requests: Requests
    goal: float
    each: int = 1
    connections: int = 32
    naive: bool = True  # whether the naive build can do it


def updates_of_all(_stack: Stack, everybody: Sequence[Player], seconds: float) -> list[bytes]:
    """Each player in turn."""
    return players.updates(everybody, int(UPDATES_A_SECOND * seconds))


def _hot(_stack: Stack, everybody: Sequence[Player], seconds: float) -> list[bytes]:
    return players.updates(everybody[:1], int(UPDATES_A_SECOND * seconds))


def _batches(stack: Stack, everybody: Sequence[Player], seconds: float) -> list[bytes]:
    return players.batches(stack.settings, everybody, int(BATCHES_A_SECOND * seconds), BATCH)


def top(limit: int) -> Requests:
    """One page, again and again."""
    return lambda _stack, _players, _seconds: [players.request("GET", f"/api/v1/leaderboards/{BOARD}?limit={limit}")]


def _unchanged(stack: Stack, _players: Sequence[Player], _seconds: float) -> list[bytes]:
    """Who asks again for what has not changed."""
    path = f"/api/v1/leaderboards/{BOARD}?limit=100"
    with urlopen(stack.api + path) as answer:  # noqa: S310 - our own http address
        tag = answer.headers["ETag"]
    return [players.request("GET", path).replace(b"\r\n\r\n", f"\r\nIf-None-Match: {tag}\r\n\r\n".encode())]


def around_everybody(stack: Stack, _players: Sequence[Player], _seconds: float) -> list[bytes]:
    """Everybody on the board, each in turn: next to no page was asked for before."""
    ids = players.every_id(stack.settings)
    return [players.request("GET", f"/api/v1/leaderboards/{BOARD}/around/{user_id}?limit=10") for user_id in ids]


WORKLOADS: Final = (
    Workload("updates of 1,000 players", 1_000, updates_of_all, 5_000),
    Workload("updates of one player", 1_000, _hot, 4_500),
    Workload("batches of 500", 1_000, _batches, 25_000, each=BATCH, connections=2, naive=False),
    Workload("updates on a board of 100,000", 100_000, updates_of_all, 4_000),
    Workload("top 100 of 100,000", 100_000, top(100), 12_000),
    Workload("top 100 of 100,000, unchanged: 304", 100_000, _unchanged, 20_000, naive=False),
    Workload("top 10 of 100,000", 100_000, top(10), 16_000),
    Workload("around a player, 10 of 100,000", 100_000, around_everybody, 5_000),
    Workload("updates on a board of 1,000,000", 1_000_000, updates_of_all, 3_500, naive=False),
)
