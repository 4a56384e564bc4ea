"""Rebuilds a missing board from Postgres, once, however many ask for it at the same time.

A build is loaded beside the board and put in its place in one step. What it reads is Postgres' state after the build
was announced in Redis: a batch that committed before is in it, one that commits later refreshes the build as well
(refresh.lua). So nothing is missed, and the guard by version makes the overlap harmless (I5). A replica is read once it
has replayed all that the primary had written at a moment after the announcement; the build's epoch is the primary's.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from typing import Final, TypeVar
from uuid import uuid4

import structlog
from sqlalchemy import Connection, Engine, text
from sqlalchemy.exc import SQLAlchemyError

from models.boards import standings
from models.boards.places import Standing
from models.boards.ranking import BoardMissing, Keys, Look, Page, RankingStore
from models.boards.registry import BoardRegistry
from models.errors import NotReady
from models.observers import nobody
from models.storage.replica import Replica

#: A build that stands still for this long is taken over by the next who asks.
STALE_SECONDS: Final = 10
#: A reader waits this long for a build (100,000 players take about 1 s) before it answers "not now".
PATIENCE_SECONDS: Final = 2.0
_POLL_SECONDS: Final = 0.01
#: Players a round trip: about 1 ms of Redis' time, so that others are served in between.
CHUNK: Final = 500
#: Versions of one build; the next build begins above them, so that versions never go back (I6).
VERSIONS_PER_EPOCH: Final = 2**32

T = TypeVar("T")
log = structlog.get_logger(__name__)


class Ranking:
    """The boards, rebuilt from Postgres by themselves when missing.

    Every method raises BoardUnknown for a board that is not in the catalogue, and NotReady (with
    `retry_after_seconds`) while Redis is away or a build takes longer than a reader waits.
    """

    def __init__(self, store: RankingStore, engine: Engine, registry: BoardRegistry, replica: Replica) -> None:
        self._store = store
        self._replica = replica
        self._engine = engine
        self._registry = registry
        self._building: dict[Keys, threading.Thread] = {}
        self._lock = threading.Lock()
        self.on_rebuilt: Callable[[str, float], None] = nobody
        self.on_read: Callable[[bool], None] = nobody

    def top(self, board: str, count: int, start: int = 0) -> Page:
        """`count` entries from the 0-based offset `start`."""
        keys = self._registry.keys(board)
        return self._present(keys, lambda: self._store.top(keys, count, start))

    def around(self, board: str, user_id: str, count: int) -> Page:
        """`count` entries around a player; raises NotFound when the player has no score there."""
        keys = self._registry.keys(board)
        return self._present(keys, lambda: self._store.around(keys, user_id, count))

    def ranks(self, board: str, user_ids: list[str]) -> Page:
        """The entries of those of the players who have a score, highest first."""
        keys = self._registry.keys(board)
        return self._present(keys, lambda: self._store.ranks(keys, user_ids))

    def version(self, board: str) -> int | None:
        """The board's version; None when it is missing in Redis."""
        return self._store.version(self._registry.keys(board))

    def refresh(self, board: str, season: int, changed: list[Standing]) -> int | None:
        """Put committed scores on the board; returns its version, None when it is not in Redis."""
        return self._store.refresh(Keys(board, season), changed)[0]

    def rebuild(
        self, board: str, on_loaded: Callable[[int], object] = nobody, *, only_if_missing: bool = False
    ) -> int | None:
        """Build the board anew beside the one that is served, then replace it; returns the new version.

        `on_loaded` hears how many players were loaded so far. None when somebody else builds it now, or when it was
        to be built only if missing, and is not.
        """
        return self._build(self._registry.keys(board), on_loaded, only_if_missing=only_if_missing)

    def look(self, board: str, user_ids: list[str]) -> Look:
        """What Redis holds of these players; raises BoardMissing instead of building."""
        return self._store.look(self._registry.keys(board), user_ids)

    def look_along(self, board: str, start: int, count: int) -> Look:
        """What Redis holds from the 0-based rank `start`; raises BoardMissing instead of building."""
        return self._store.look_along(self._registry.keys(board), start, count)

    def is_of_the_past(self, board: str) -> bool:
        """Whether Redis holds an older build than the last one: restored from a copy, its version went back (I6).

        Also true for the moment between a build's epoch and its end.
        """
        keys = self._registry.keys(board)
        with self._engine.connect() as connection:
            first_version = (_epochs(connection, keys) - 1) * VERSIONS_PER_EPOCH + 1
        version = self._store.version(keys)
        return version is not None and version < first_version

    def compared_upto(self, board: str) -> str | None:
        """See RankingStore."""
        return self._store.compared_upto(self._registry.keys(board))

    def set_compared_upto(self, board: str, user_id: str | None) -> None:
        """See RankingStore."""
        self._store.set_compared_upto(self._registry.keys(board), user_id)

    def _present(self, keys: Keys, read: Callable[[], T]) -> T:
        """What `read` returns, after a rebuild if the board is missing."""
        deadline = time.monotonic() + PATIENCE_SECONDS
        missed = False
        while True:
            try:
                found = read()
                self.on_read(not missed)
                return found
            except BoardMissing:
                missed = True
                self._build_in_background(keys)
                if time.monotonic() > deadline:
                    raise NotReady("This leaderboard is being rebuilt.", retry_after_seconds=1) from None
                time.sleep(_POLL_SECONDS)

    def _build_in_background(self, keys: Keys) -> None:
        with self._lock:
            builder = self._building.get(keys)
            if builder is None or not builder.is_alive():
                builder = threading.Thread(target=self._try_build, args=(keys,), name="rebuild", daemon=True)
                self._building[keys] = builder
                builder.start()

    def _try_build(self, keys: Keys) -> None:
        try:
            self._build(keys, nobody, only_if_missing=True)
        except (NotReady, SQLAlchemyError) as error:
            log.warning("a board could not be rebuilt", **{"event.action": "rebuild"}, board=keys.board, error=error)
            time.sleep(_POLL_SECONDS * 10)  # readers ask again at once; Postgres is spared

    def _build(self, keys: Keys, on_loaded: Callable[[int], object], *, only_if_missing: bool = False) -> int | None:
        build_id, started = str(uuid4()), time.monotonic()
        if not self._store.begin_build(keys, build_id, STALE_SECONDS, only_if_missing=only_if_missing):
            return None
        loaded = self._load(keys, build_id, on_loaded)
        if loaded is None:
            return None
        with self._engine.begin() as connection:
            first_version = _next_epoch(connection, keys) * VERSIONS_PER_EPOCH + 1
        version = self._store.finish_build(keys, build_id, first_version)
        seconds = time.monotonic() - started
        self.on_rebuilt(keys.board, seconds)
        log.info(
            "board rebuilt",
            **{"event.action": "rebuild", "event.duration": int(seconds * 1e9)},
            board=keys.board,
            players=loaded,
            version=version,
        )
        return version

    def _load(self, keys: Keys, build_id: str, on_loaded: Callable[[int], object]) -> int | None:
        """Load an announced build; how many players it has, None when it is no longer ours.

        From the replica once that has what was committed before the announcement. Should it fail midway, the primary
        begins anew: what was loaded before is found to be there.
        """
        replica = self._replica.open_current()
        if replica is not None:
            try:
                with replica:
                    loaded = self._load_from(replica, keys, build_id, on_loaded)
                self._replica.on_read(True)
                return loaded
            except SQLAlchemyError as error:
                self._replica.distrust(error)
        with self._engine.connect().execution_options(isolation_level="REPEATABLE READ") as connection:
            return self._load_from(connection, keys, build_id, on_loaded)

    def _load_from(
        self, connection: Connection, keys: Keys, build_id: str, on_loaded: Callable[[int], object]
    ) -> int | None:
        loaded = 0
        for chunk in standings.of_board(connection, keys.board, keys.season, CHUNK):
            if not self._store.load_build(keys, build_id, STALE_SECONDS, chunk):
                return None
            loaded += len(chunk)
            on_loaded(loaded)
        return loaded


def _epochs(connection: Connection, keys: Keys) -> int:
    """How many builds there have been."""
    return int(
        connection.execute(
            text("SELECT ranking_epoch FROM seasons WHERE board = :board AND number = :season"),
            {"board": keys.board, "season": keys.season},
        ).scalar_one()
    )


def _next_epoch(connection: Connection, keys: Keys) -> int:
    return int(
        connection.execute(
            text(
                "UPDATE seasons SET ranking_epoch = ranking_epoch + 1"
                " WHERE board = :board AND number = :season RETURNING ranking_epoch - 1"
            ),
            {"board": keys.board, "season": keys.season},
        ).scalar_one()
    )
