"""Holds what the demo's players were told against history, scores, Redis and a socket that used deltas alone.

Others may play meanwhile: what differs for a moment, because it was read a moment apart, is looked at again.
"""

from __future__ import annotations

import threading
import time
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
        with suppress(ConnectionClosed):
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


def unlike_history(stores: Stores, board: str, ledger: Ledger) -> list[str]:
    """Sentences about the accepted updates that are not one row of history of the right worth."""
    with stores.engine.connect() as connection:
        rows = connection.execute(
            text(
                "SELECT t.user_id, t.action_id, count(h.action_id), coalesce(sum(h.score_increment), 0)"
                " FROM unnest(CAST(:user_ids AS uuid[]), CAST(:action_ids AS text[])) AS t (user_id, action_id)"
                " LEFT JOIN score_history h"
                "   ON h.user_id = t.user_id AND h.action_id = t.action_id AND h.board = :board"
                " GROUP BY t.user_id, t.action_id"
            ),
            {
                "user_ids": [user_id for user_id, _ in ledger],
                "action_ids": [action_id for _, action_id in ledger],
                "board": board,
            },
        ).all()
    return [
        f"action {action_id} was accepted for {ledger[str(user_id), action_id]} points: {count} rows worth {total}"
        for user_id, action_id, count, total in rows
        if (count, total) != (1, ledger[str(user_id), action_id])
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
