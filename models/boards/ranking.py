"""The boards in Redis: exact ranks in O(log n), refreshed by version, read at one moment (I5).

Redis is disposable: a board that is missing is rebuilt from Postgres by whoever asks first (`rebuild.py`).
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from itertools import chain
from pathlib import Path
from typing import Any, Final
from uuid import UUID

import msgspec
import redis
from redis.commands.core import Script

from models.boards.places import PLACE_BYTES, Held, Standing, read_member, refresh_arguments
from models.errors import NotFound, NotReady
from models.storage.redis import may_move

#: A board nobody plays on leaves memory after this; the next reader rebuilds it (cache-aside).
TTL_SECONDS: Final = 24 * 3600
UUID_BYTES: Final = 16
_LUA: Final = Path(__file__).parent / "lua"


def script_text(name: str, *, may_move: bool) -> str:
    """A script as it is sent; `may_move` where another server may take the place of the one that boards are on."""
    return "".join((_LUA / f"{part}.lua").read_text("utf-8") for part in ("home" if may_move else "one_home", name))


class Entry(msgspec.Struct, frozen=True, gc=False):
    """One player on a board. `reached_at` is Unix µs, UTC."""

    rank: int
    user_id: str
    username: str
    score: int
    reached_at: int


@dataclass(frozen=True, slots=True)
class Page:
    """A stretch of a board as it stood at `version`."""

    board: str
    season: int
    version: int
    total: int
    entries: tuple[Entry, ...]


@dataclass(frozen=True, slots=True)
class Look:
    """What a board held of some players at one moment; `malformed` are members that are nobody's."""

    version: int
    total: int
    held: tuple[Held, ...]
    malformed: int


@dataclass(frozen=True, slots=True)
class Keys:
    """A board's keys; the braces keep them on one node of a Redis Cluster."""

    board: str
    season: int

    def live(self) -> list[str]:
        """Ranking, players, meta."""
        return [f"sb:{{{self.board}:{self.season}}}:{part}" for part in ("ranking", "players", "meta")]

    def build(self) -> list[str]:
        """The same of the build under way."""
        return [f"sb:{{{self.board}:{self.season}}}:next:{part}" for part in ("ranking", "players", "meta")]

    def compared(self) -> str:
        """How far the comparison with Postgres has come."""
        return f"sb:{{{self.board}:{self.season}}}:compared"


class BoardMissing(Exception):
    """The board is not in Redis; rebuild it from Postgres."""


class RankingStore:
    """Reads and refreshes boards that are in Redis; says so when one is missing.

    Every method raises NotReady when Redis does not answer in time.
    """

    def __init__(self, client: redis.Redis) -> None:
        self._client = client
        self._refresh = _script(client, "refresh")
        self._read = _script(client, "read")
        self._look = _script(client, "look")
        self._version = _script(client, "version") if may_move(client) else None
        self._begin_build = _script(client, "begin_build")
        self._load_build = _script(client, "load_build")
        self._finish_build = _script(client, "finish_build")

    def refresh(self, keys: Keys, standings: Iterable[Standing]) -> tuple[int | None, int]:
        """Put absolute scores on the board in one round trip; only later versions are taken.

        Returns:
            The board's version, None when the board is missing, and how many scores changed.
        """
        players = chain.from_iterable(refresh_arguments(standing) for standing in standings)
        version, changed = _call(self._refresh, keys.live() + keys.build(), [TTL_SECONDS, *players])
        return version, changed

    def top(self, keys: Keys, count: int, start: int) -> Page:
        """`count` entries from the 0-based offset `start`."""
        return self._page(keys, top_arguments(count, start))

    def around(self, keys: Keys, user_id: str, count: int) -> Page:
        """`count` entries with this player in the middle, or as near to it as the ends of the board allow.

        Raises:
            NotFound: the player has no score on this board.
        """
        page = self._page(keys, around_arguments(user_id, count))
        if not page.entries:
            raise NotFound("This player has no score on this board.")
        return page

    def ranks(self, keys: Keys, user_ids: Iterable[str]) -> Page:
        """The entries of those of the players who have a score, highest first."""
        page = self._page(keys, ["ranks", *(UUID(user_id).bytes for user_id in dict.fromkeys(user_ids))])
        entries = tuple(sorted(page.entries, key=lambda entry: entry.rank))
        return Page(page.board, page.season, page.version, page.total, entries)

    def version(self, keys: Keys) -> int | None:
        """The board's version; None when it is missing."""
        meta = keys.live()[2]
        if self._version is not None:
            found: int | None = _call(self._version, [meta], [])
            return found
        try:
            version = self._client.hget(meta, "version")
        except redis.RedisError as error:
            raise _not_ready(error) from error
        return None if version is None else int(version)

    def look(self, keys: Keys, user_ids: Iterable[str]) -> Look:
        """What is held of these players, each part for itself."""
        return self._looked(keys, ["players", *(UUID(user_id).bytes for user_id in user_ids)])

    def look_along(self, keys: Keys, start: int, count: int) -> Look:
        """What is held of `count` players from the 0-based rank `start`."""
        return self._looked(keys, ["stretch", start, start + count - 1])

    def compared_upto(self, keys: Keys) -> str | None:
        """The user id up to which the comparison under way has come; None when it is to begin anew."""
        try:
            upto = self._client.get(keys.compared())
        except redis.RedisError as error:
            raise _not_ready(error) from error
        return upto.decode() if isinstance(upto, bytes) else None

    def set_compared_upto(self, keys: Keys, user_id: str | None) -> None:
        """Note it for the next who compares. A hint: when it is lost, the comparison begins anew."""
        try:
            if user_id is None:
                self._client.delete(keys.compared())
            else:
                self._client.set(keys.compared(), user_id, ex=TTL_SECONDS)
        except redis.RedisError as error:
            raise _not_ready(error) from error

    def begin_build(self, keys: Keys, build_id: str, stale_seconds: int, *, only_if_missing: bool = False) -> bool:
        """Claim the right to build this board; False when somebody builds it already, or it need not be built."""
        arguments = [build_id, stale_seconds, int(only_if_missing)]
        return bool(_call(self._begin_build, keys.live() + keys.build(), arguments))

    def load_build(self, keys: Keys, build_id: str, stale_seconds: int, standings: Iterable[Standing]) -> bool:
        """Add scores to the build; False when the build is no longer ours."""
        players = chain.from_iterable(refresh_arguments(standing) for standing in standings)
        return bool(_call(self._load_build, keys.build(), [build_id, stale_seconds, *players]))

    def finish_build(self, keys: Keys, build_id: str, first_version: int) -> int | None:
        """Put the build in the board's place; returns its version, None when the build is no longer ours."""
        result: int | None = _call(
            self._finish_build, keys.live() + keys.build(), [build_id, first_version, TTL_SECONDS]
        )
        return result

    def drop(self, keys: Keys) -> None:
        """Forget the board; the next reader rebuilds it."""
        try:
            self._client.delete(*keys.live())
        except redis.RedisError as error:
            raise _not_ready(error) from error

    def _looked(self, keys: Keys, arguments: list[Any]) -> Look:
        answer = _call(self._look, keys.live(), arguments)
        if not answer:
            raise BoardMissing
        version, total, parts = answer
        held = tuple(
            Held(
                str(UUID(bytes=parts[at])),
                parts[at + 1] or None,
                parts[at + 2][:PLACE_BYTES] or None,
                float(parts[at + 3]) if parts[at + 3] else None,
            )
            for at in range(0, len(parts), 4)
            if len(parts[at]) == UUID_BYTES
        )
        return Look(version, total, held, len(parts) // 4 - len(held))

    def _page(self, keys: Keys, arguments: list[Any]) -> Page:
        return page_of(keys, _call(self._read, keys.live(), arguments))


def top_arguments(count: int, start: int) -> list[Any]:
    """What read.lua takes for `count` entries from the 0-based offset `start`."""
    return ["top", start, start + count - 1]


def around_arguments(user_id: str, count: int) -> list[Any]:
    """What read.lua takes for `count` entries with this player in the middle."""
    return ["around", UUID(user_id).bytes, count]


def page_of(keys: Keys, answer: Any) -> Page:
    """What read.lua answered; no entries when the player it was asked for has no score.

    Raises:
        BoardMissing: the board is not in Redis.
    """
    if not answer:
        raise BoardMissing
    version, total, found = answer
    entries = []
    for position in range(0, len(found), 3):
        score, reached_at, user_id = read_member(found[position + 1])
        entries.append(Entry(found[position] + 1, user_id, found[position + 2].decode(), score, reached_at))
    return Page(keys.board, keys.season, version, total, tuple(entries))


def _script(client: redis.Redis, name: str) -> Script:
    return client.register_script(script_text(name, may_move=may_move(client)))


def _call(script: Script, keys: list[str], arguments: list[Any]) -> Any:
    try:
        return script(keys=keys, args=arguments)
    except redis.RedisError as error:
        raise _not_ready(error) from error


def _not_ready(error: redis.RedisError) -> NotReady:
    return NotReady(f"The leaderboards cannot be reached now ({type(error).__name__}).", retry_after_seconds=1)
