"""`GET /api/v1/leaderboards/<board>` and `…/around/<user_id>`: read on the loop, kept as bytes until the board changes.

Redis says so at the moment it answers whoever changed it (`loop_redis.py`), so a page that is kept is never older than
what Redis has: who was told that an update is applied reads it.
"""

from __future__ import annotations

import asyncio
import hashlib
from collections import OrderedDict
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from itertools import count
from typing import Any, Final
from urllib.parse import parse_qsl

import hiredis
import msgspec
from werkzeug.datastructures import MultiDict
from werkzeug.http import parse_etags

from models import redis_url
from models.boards.ranking import BoardMissing, Keys, page_of, script_text
from models.errors import ScoreboardError
from models.storage.loop_cluster import open_line
from models.storage.loop_redis import NO_ANSWER
from web.api.board_pages import CACHE, Wanted, etag, told, wanted_around, wanted_page
from web.api.serving.exchange import Exchange
from web.metrics import count_ranking_hit
from web.services import Services
from web.wsgi import Answer

#: Pages kept by a process, all together.
KEPT_BYTES_MOST: Final = 64 * 1024 * 1024
#: What was asked for before and can be read without parsing it again.
TARGETS_MOST: Final = 50_000
_ORDINARY: Final = frozenset(b"abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_-./=&")

_encode: Final = msgspec.json.Encoder().encode
Target = tuple[bytes, bytes]  # path and query


@dataclass(slots=True)
class Kept:
    """A page as it goes out, and the board's age when it was read."""

    age: int
    etag: str
    whole: Answer
    unchanged: Answer


@dataclass(slots=True)
class Asked:
    """A page that is being read, and who waits for it."""

    age: int
    waiting: list[Exchange]


class EarlyBoards:
    """The routes without Flask and without a thread."""

    def __init__(
        self, loop: asyncio.AbstractEventLoop, services: Services, to_flask: Callable[[Exchange], object]
    ) -> None:
        self._services = services
        self._to_flask = to_flask
        script = script_text("read", may_move=redis_url.may_move(services.settings.redis_url))
        self._sha = hashlib.sha1(script.encode(), usedforsecurity=False).hexdigest()
        self._redis = open_line(loop, services.settings.redis_url, "sb:{")
        self._redis.on_changed = self._changed
        self._redis.start()
        self._wanted: dict[Target, tuple[Wanted, Keys, bytes]] = {}
        self._kept: OrderedDict[Target, Kept] = OrderedDict()
        self._kept_bytes = 0
        self._asked: dict[Target, Asked] = {}
        #: A board's age is another after each change; boards not named here have the age of the last time when
        #: anything may have changed.
        self._ages = count(1)
        self._age_of_all = 0
        self._age_of: dict[bytes, int] = {}

    def close(self) -> None:
        """Close the connection."""
        self._redis.close()

    def take(self, exchange: Exchange) -> bool:
        """Whether it will be answered here; when not, Flask is to answer."""
        target = exchange.path, exchange.query
        found = self._wanted.get(target) or self._parsed(target)
        if found is None or not exchange.sent_once or not self._redis.is_current(found[2]):
            return False
        wanted, keys, name = found
        age = self._age_of.get(name, self._age_of_all)
        kept = self._kept.get(target)
        if kept is not None and kept.age == age:
            self._kept.move_to_end(target)
            self._answer(exchange, kept, wanted)
            return True
        asked = self._asked.get(target)
        if asked is not None and asked.age == age:
            asked.waiting.append(exchange)
        else:  # who asks after a change must not be told what was read before it
            asked = self._asked[target] = Asked(age, [exchange])
            self._read(target, wanted, keys, name, asked)
        return True

    def _parsed(self, target: Target) -> tuple[Wanted, Keys, bytes] | None:
        """What a target stands for; None leaves it to Flask, with whatever is wrong with it."""
        path, query = target
        if not _ORDINARY.issuperset(path) or not _ORDINARY.issuperset(query):
            return None
        seasons = self._services.stores.registry.known_seasons()
        parts = path.decode("ascii").split("/")[4:]
        if seasons is None or parts[0] not in seasons:
            return None
        arguments: MultiDict[str, str] = MultiDict(parse_qsl(query.decode("ascii"), keep_blank_values=True))
        try:
            match parts:
                case [board]:
                    wanted = wanted_page(board, arguments)
                case [board, "around", user_id]:
                    wanted = wanted_around(board, user_id, arguments)
                case _:
                    return None
        except ScoreboardError:
            return None
        keys = Keys(board, seasons[board])
        if len(self._wanted) >= TARGETS_MOST:
            self._wanted.clear()
        found = self._wanted[target] = wanted, keys, f"{{{board}:{keys.season}}}".encode()
        return found

    def _read(self, target: Target, wanted: Wanted, keys: Keys, name: bytes, asked: Asked) -> None:
        def answered(answer: Any) -> None:
            if self._asked.get(target) is asked:
                del self._asked[target]
            kept = None
            if answer is not NO_ANSWER and not isinstance(answer, hiredis.ReplyError):
                kept = self._made(wanted, keys, answer, asked.age)
            if kept is not None and asked.age == self._age_of.get(name, self._age_of_all):
                self._keep(target, kept)  # before anybody is answered, and asks again on the same connection
            for exchange in asked.waiting:
                if kept is None:
                    self._to_flask(exchange)
                else:
                    self._answer(exchange, kept, wanted)

        live = keys.live()
        self._redis.ask("EVALSHA", self._sha, len(live), *live, *wanted.arguments, told=answered)

    def _made(self, wanted: Wanted, keys: Keys, answer: Any, age: int) -> Kept | None:
        try:
            found = page_of(keys, answer)
        except BoardMissing:
            return None
        count_ranking_hit()
        if wanted.user_id is not None and not found.entries:
            return None
        tag = etag(found.season, found.version, wanted.tag)
        cached = [("ETag", tag), ("Cache-Control", CACHE)]
        body = _encode(told(found, wanted))
        return Kept(
            age, tag, Answer(200, [("Content-Type", "application/json"), *reversed(cached)], body), Answer(304, cached)
        )

    def _keep(self, target: Target, kept: Kept) -> None:
        before = self._kept.pop(target, None)
        if before is not None:
            self._kept_bytes -= len(before.whole.body)
        self._kept[target] = kept
        self._kept_bytes += len(kept.whole.body)
        while self._kept_bytes > KEPT_BYTES_MOST:
            self._kept_bytes -= len(self._kept.popitem(last=False)[1].whole.body)

    def _answer(self, exchange: Exchange, kept: Kept, wanted: Wanted) -> None:
        given = exchange.fields.get(b"if-none-match")
        answer = kept.whole
        if given is not None and _matches(given.decode("latin-1"), kept.etag):
            answer = kept.unchanged
        exchange.answer(answer, wanted.rule)

    def _changed(self, names: Iterable[bytes] | None) -> None:
        if names is None:
            self._age_of.clear()
            self._age_of_all = next(self._ages)
            return
        for name in names:
            if b":next:" not in name and not name.endswith(b":compared"):  # nobody reads those
                self._age_of[name[name.find(b"{") : name.rfind(b"}") + 1]] = next(self._ages)


def _matches(given: str, tag: str) -> bool:
    return given == tag or parse_etags(given).contains_weak(tag.strip('"'))
