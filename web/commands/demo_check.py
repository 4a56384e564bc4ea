"""Holds what the demo's players were told against history, scores, Redis and a socket that used deltas alone.

Others may play meanwhile: what differs for a moment, because it was read a moment apart, is looked at again.
"""

from __future__ import annotations

import threading
import time
from collections import defaultdict
from collections.abc import Mapping, Sequence
from contextlib import suppress
from typing import Any, Final

import msgspec
from simple_websocket import Client, ConnectionClosed
from simple_websocket.errors import SimpleWebsocketError
from sqlalchemy import text

from models.pipeline import inbox
from models.stores import Stores
from web.commands.demo_players import Player

DRAIN_SECONDS: Final = 60.0
RECEIVE_SECONDS: Final = 0.2
RECONNECT_SECONDS: Final = 0.1
#: How often to look again at what differs, and after how long: an update is on the board within that.
LOOKS: Final = 10
LOOK_AGAIN_SECONDS: Final = 0.5

#: What each accepted action is worth, by user id and action_id.
Ledger = Mapping[tuple[str, str], int]


class Follower:
    """A socket client that keeps the top of a board by snapshot and deltas alone, in a thread of its own."""

    def __init__(self, sockets_url: str, board: str, top: int) -> None:
        self._url = f"{sockets_url}/ws/v1/leaderboards/{board}"
        self._top = top
        self.version = -1
        self.deltas = 0
        self.reconnections = 0
        self.entries: list[dict[str, Any]] = []
        self._client = self._connect()
        self._leaving = threading.Event()
        self._reached = threading.Condition()
        self._thread = threading.Thread(target=self._follow, name="follower", daemon=True)
        self._thread.start()

    def wait_for(self, version: int, seconds: float) -> bool:
        """Whether the list reached that version in time."""
        with self._reached:
            return self._reached.wait_for(lambda: self.version >= version, seconds)

    def held(self) -> tuple[int, list[dict[str, Any]]]:
        """The list as it is now, and its version."""
        with self._reached:
            return self.version, self.entries

    def close(self) -> None:
        """Leave."""
        self._leaving.set()
        self._thread.join(RECEIVE_SECONDS * 10)
        with suppress(OSError, SimpleWebsocketError):
            self._client.close()

    def _follow(self) -> None:
        while not self._leaving.is_set():
            try:
                message = self._client.receive(timeout=RECEIVE_SECONDS)
            except ConnectionClosed:
                self._reconnect()
                continue
            if message is not None:
                with self._reached:
                    self._take(msgspec.json.decode(message))
                    self._reached.notify_all()

    def _connect(self) -> Any:
        client: Any = Client(self._url, subprotocols=["scoreboard.v1"])
        subscription: dict[str, Any] = {"type": "subscribe", "top": self._top}
        if self.version >= 0:
            subscription["resume"] = {"version": self.version}
        client.send(msgspec.json.encode(subscription).decode())
        return client

    def _reconnect(self) -> None:
        """Come back with `resume`, as often as it takes."""
        while not self._leaving.wait(RECONNECT_SECONDS):
            try:
                self._client = self._connect()
            except (OSError, SimpleWebsocketError):
                continue
            self.reconnections += 1
            return

    def _take(self, message: dict[str, Any]) -> None:
        if message["type"] == "snapshot":
            self.entries, self.version = message["entries"], message["version"]
        elif message["type"] == "delta" and message["from_version"] == self.version:
            gone = {*message["removals"], *(entry["user_id"] for entry in message["upserts"])}
            rest = [entry for entry in self.entries if entry["user_id"] not in gone]
            for entry in sorted(message["upserts"], key=lambda entry: entry["rank"]):
                rest.insert(entry["rank"] - 1, entry)
            self.entries = [{**entry, "rank": at} for at, entry in enumerate(rest[: self._top], start=1)]
            self.version = message["version"]
            self.deltas += 1


def wait_until_drained(stores: Stores) -> bool:
    """Whether the inbox was empty, and Redis told of all of it, in time."""
    deadline = time.monotonic() + DRAIN_SECONDS
    while time.monotonic() < deadline:
        with stores.engine.connect() as connection:
            unrefreshed = connection.execute(text("SELECT count(*) FROM refreshes")).scalar_one()
            if inbox.state(connection).depth == 0 and unrefreshed == 0:
                return True
        time.sleep(0.05)
    return False


def unlike_history(stores: Stores, board: str, run: str, ledger: Ledger) -> list[str]:
    """Sentences about every action of this run that ledger and history do not hold alike, whichever has it alone."""
    with stores.engine.connect() as connection:
        rows = connection.execute(
            text(
                "SELECT user_id, action_id, score_increment FROM score_history"
                " WHERE user_id = ANY(CAST(:ids AS uuid[])) AND board = :board AND starts_with(action_id, :run)"
            ),
            {"ids": list({user_id for user_id, _ in ledger}), "board": board, "run": run},
        )
        applied: dict[tuple[str, str], list[int]] = defaultdict(list)
        for user_id, action_id, increment in rows:
            applied[str(user_id), action_id].append(increment)
    return [
        f"action {key[1]}: accepted for {ledger.get(key)} points, in history for {applied.get(key, [])}"
        for key in sorted(ledger.keys() | applied.keys())
        if applied.get(key, []) != [ledger.get(key)]
    ]


def disagreements(stores: Stores, board: str, players: Sequence[Player]) -> list[str]:
    """Sentences about every player for whom history, score and Redis are not the same."""
    faults: dict[str, str] = {}
    for _ in range(LOOKS):
        faults = _disagreeing_now(stores, board, players)
        players = [player for player in players if player.user_id in faults]
        if not players:
            break
        time.sleep(LOOK_AGAIN_SECONDS)
    return list(faults.values())


def _disagreeing_now(stores: Stores, board: str, players: Sequence[Player]) -> dict[str, str]:
    ids = [player.user_id for player in players]
    page = stores.ranking.ranks(board, ids)
    held = {entry.user_id: entry.score for entry in page.entries}
    with stores.engine.connect() as connection:
        rows = connection.execute(
            text(
                "SELECT s.user_id, s.score, sum(h.score_increment) AS total, count(*) AS rows, max(h.version) AS last"
                " FROM scores s JOIN score_history h USING (user_id, board, season)"
                " WHERE s.user_id = ANY(CAST(:ids AS uuid[])) AND s.board = :board AND s.season = :season"
                " GROUP BY s.user_id, s.score"
            ),
            {"ids": ids, "board": board, "season": page.season},
        )
        found = {str(row.user_id): row for row in rows}
    faults = {}
    for player in players:
        row = found.get(player.user_id)
        seen = (int(row.total) if row else 0, row.score if row else 0, held.get(player.user_id, 0))
        if len(set(seen)) != 1 or (row and row.rows != row.last):
            faults[player.user_id] = f"{player.username}: history, score, Redis = {seen}"
    return faults


def same_top(stores: Stores, board: str, top: int, follower: Follower) -> bool:
    """Whether the socket's list is the top of the board at its version, entry by entry."""
    for _ in range(LOOKS):
        page = stores.ranking.top(board, top)
        follower.wait_for(page.version, LOOK_AGAIN_SECONDS)
        version, entries = follower.held()
        if version == page.version:
            expected = [(entry.rank, entry.user_id, entry.score) for entry in page.entries]
            return expected == [(entry["rank"], entry["user_id"], entry["score"]) for entry in entries]
    return False
