"""Boards read on the event loop: told as Flask tells them, kept until they change, never older than what Redis has."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from typing import Any

import pytest
import redis
from flask import Flask

from models.accounts.users import Registered
from models.boards.ranking import Keys
from models.storage.loop_redis import LoopRedis
from models.stores import Stores
from tests.fixtures.people import Players, server_update
from tests.fixtures.served import TWICE, Answer, Line
from web.api.serving import early_boards
from web.api.serving.early_boards import EarlyBoards
from web.api.serving.serving import EXTENSION
from web.services import EXTENSION as SERVICES

BOARD = "/api/v1/leaderboards/global"


@pytest.fixture
def crowd(players: Players, submit_batch: Callable[..., Any], drain: Callable[..., Any]) -> list[Registered]:
    """25 players with scores, the first the highest."""
    people = players(25)
    submit_batch([server_update(person, value=26 - at) for at, person in enumerate(people)])
    drain()
    return people


def lines_of(boards: EarlyBoards) -> list[LoopRedis]:
    """One, or in a cluster one to each of its three masters."""
    if isinstance(boards._redis, LoopRedis):
        return [boards._redis]
    masters = boards._redis._masters
    return [masters[at.address].line for at in boards._redis._ranges] or [LoopRedis(boards._redis._loop, "", "")]


@pytest.fixture
def boards(api: Flask, connect: Callable[[], Line], crowd: list[Registered], eventually) -> EarlyBoards:
    """The early routes, with a line to Redis and the board in it."""
    stores: Stores = api.extensions[SERVICES].stores
    stores.ranking.top("global", 1)
    found: EarlyBoards = api.extensions[EXTENSION]._boards
    eventually(lambda: all(line._answered_at > 0 for line in lines_of(found)))
    return found


def get(path: str, *headers: str, method: str = "GET") -> bytes:
    """A request."""
    return ("\r\n".join([f"{method} {path} HTTP/1.1", "Host: here", *headers]) + "\r\n\r\n").encode()


@pytest.fixture
def ask(connect: Callable[[], Line]) -> Callable[..., Answer]:
    """`ask(path, *headers)` on one connection."""
    line = connect()

    def run(path: str, *headers: str) -> Answer:
        line.send(get(path, *headers))
        return line.answer()

    return run


@pytest.fixture
def early(boards: EarlyBoards, answered_early: Callable[[], int]) -> Callable[[], int]:
    """How many requests the early routes have answered."""
    return answered_early


def plain(answer: Answer) -> tuple[int, dict[str, str], bytes]:
    """All of an answer but the request's own id and the time."""
    headers = {name: value for name, value in answer.headers.items() if name not in ("date", "x-request-id")}
    return answer.status, headers, answer.body


@pytest.mark.parametrize(
    "query",
    ["", "?limit=10", "?limit=1000", "?limit=5&cursor=cjU", "?cursor=cjIw&limit=10", "?cursor=", "?limit=7&limit=9"],
)
def test_pages_are_told_as_flask_tells_them(ask, early, query) -> None:
    for _ in range(2):  # read, and kept
        before = early()
        quick = ask(BOARD + query)
        assert early() == before + 1
        slow = ask(BOARD + query, *TWICE)
        assert early() == before + 1
        assert plain(quick) == plain(slow)
        etag = quick.headers["etag"]
        for given in (etag, "W/" + etag, f'"other", {etag}', "*", '"other"'):
            assert plain(ask(BOARD + query, f"If-None-Match: {given}")) == plain(
                ask(BOARD + query, f"If-None-Match: {given}", *TWICE)
            )


def test_neighbours_are_told_as_flask_tells_them(ask, early, crowd) -> None:
    for place in (0, 12, 24):
        for query in ("", "?limit=4", "?limit=1000"):
            path = f"{BOARD}/around/{crowd[place].user_id}{query}"
            before = early()
            assert plain(ask(path)) == plain(ask(path, *TWICE))
            assert early() == before + 1


@pytest.mark.parametrize(
    ("path", "status"),
    [
        (BOARD + "?limit=0", 422),
        (BOARD + "?limit=x", 422),
        (BOARD + "?top=1", 422),
        (BOARD + "?cursor=nonsense", 422),
        (BOARD + "?limit=%31", 200),
        ("/api/v1/leaderboards/nowhere", 404),
        (BOARD + "/", 404),
        (BOARD + "/around/me", 404),
        (BOARD + "/around/7f1c0000-0000-4000-8000-000000000001", 404),
        (BOARD + "/around", 404),
        ("/api/v1/leaderboards/", 404),
    ],
)
def test_whatever_is_out_of_the_ordinary_is_told_by_flask(ask, boards, path, status) -> None:
    assert ask(path).status == status


def test_what_changed_is_read_at_once_by_who_may_know_of_it(ask, early, api, crowd, submit_batch, drain) -> None:
    """Whatever the loop does: once the refresh has its answer, no older page is told."""
    for number in range(60):
        ask(BOARD + "?limit=1")
        submit_batch([server_update(crowd[0])])
        drain()
        page = ask(BOARD + "?limit=1").document
        assert page["entries"][0]["score"] == 260 + 10 * (number + 1)
    assert early() >= 100


def test_a_page_is_read_once_a_version_however_many_ask(connect, boards, monkeypatch) -> None:
    reads: list[Any] = []
    ask = boards._redis.ask

    def counted(*command: Any, told: Any) -> None:
        if command[0] == "EVALSHA":
            reads.append(command)
        ask(*command, told=told)

    lines = [connect() for _ in range(20)]
    for line in lines:  # whatever was still to be heard of the board is heard by now
        line.send(get(BOARD + "?limit=2"))
        line.answer()
    monkeypatch.setattr(boards._redis, "ask", counted)
    for line in lines:
        line.send(get(BOARD + "?limit=3") * 5)
    bodies = {line.answer().body for line in lines for _ in range(5)}
    assert len(bodies) == 1
    assert len(reads) == 1


def test_a_board_that_redis_lost_is_rebuilt_and_read(ask, early, api, crowd) -> None:
    stores: Stores = api.extensions[SERVICES].stores
    before = ask(BOARD + "?limit=2").document
    stores.redis.flushdb()
    after = ask(BOARD + "?limit=2").document
    assert after["entries"] == before["entries"]
    assert after["version"] > before["version"]
    stores.redis.delete(*Keys("global", 1).live())
    assert ask(BOARD + "?limit=2").document["version"] > after["version"]


def test_when_the_line_breaks_flask_reads_until_there_is_another(ask, early, boards, api, eventually) -> None:
    client: redis.Redis = api.extensions[SERVICES].stores.redis
    assert ask(BOARD).status == 200
    for each in client.client_list():
        if "t" in each["flags"] or each.get("resp") == "3":
            client.client_kill_filter(_id=each["id"])
    assert ask(BOARD).status == 200
    eventually(lambda: boards._redis._socket is None or boards._redis._answered_at > 0)
    before = early()
    eventually(lambda: ask(BOARD).status == 200 and early() > before)


def test_a_redis_that_says_nothing_is_not_believed_for_long(ask, boards, monkeypatch) -> None:
    assert ask(BOARD).status == 200
    monkeypatch.setattr(boards._redis, "_answered_at", time.monotonic() - 2)
    monkeypatch.setattr(boards._redis, "_alive", lambda *_: None)
    passed_on: list[Any] = []
    to_flask = boards._to_flask
    monkeypatch.setattr(boards, "_to_flask", lambda exchange: (passed_on.append(exchange), to_flask(exchange)))
    taken = []
    take = boards.take
    monkeypatch.setattr(boards, "take", lambda exchange: taken.append(take(exchange)) or taken[-1])
    assert ask(BOARD).status == 200
    assert taken == [False]


def test_pages_kept_are_bounded(ask, boards, monkeypatch, crowd) -> None:
    monkeypatch.setattr(early_boards, "KEPT_BYTES_MOST", 4_000)
    for limit in range(1, 20):
        ask(f"{BOARD}?limit={limit}")
        assert sum(len(kept.whole.body) for kept in boards._kept.values()) == boards._kept_bytes <= 4_000
    monkeypatch.setattr(early_boards, "TARGETS_MOST", 5)
    for limit in range(30, 50):
        ask(f"{BOARD}?limit={limit}")
    assert len(boards._wanted) <= 5


def test_reads_and_changes_at_once_show_no_version_going_back(connect, boards, crowd, submit_batch, drain) -> None:
    stop = threading.Event()
    faults: list[str] = []

    def read() -> None:
        line, last = connect(), (0, 0)
        while not stop.is_set():
            line.send(get(BOARD + "?limit=1"))
            page = line.answer().document
            now = page["version"], page["entries"][0]["score"]
            if now < last:
                faults.append(f"{now} after {last}")
            last = now

    readers = [threading.Thread(target=read) for _ in range(4)]
    for reader in readers:
        reader.start()
    for _ in range(40):
        submit_batch([server_update(crowd[0])])
        drain()
    stop.set()
    for reader in readers:
        reader.join(10)
    assert faults == []
