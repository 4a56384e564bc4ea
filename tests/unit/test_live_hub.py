"""Whatever happens on the way, each client's list is the board's top at the version it holds (I6)."""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import dataclass

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import Bundle, RuleBasedStateMachine, consumes, initialize, invariant, multiple, rule

from models.boards.deltas import Delta, Line, apply
from models.boards.events import Applied, BoardChanged
from web.live.hub import HEARD_MOST, QUIET_SECONDS, Hub, Topic
from web.live.people import OTHERS_MOVED_SECONDS, Place

BOARD = "global"


@dataclass(frozen=True)
class Entry:
    """A ranking's entry."""

    rank: int
    user_id: str
    username: str
    score: int
    reached_at: int


@dataclass(frozen=True)
class Page:
    """A ranking's page."""

    season: int
    version: int
    total: int
    entries: tuple[Entry, ...]


class FakeRanking:
    """A board in memory that remembers every version of itself."""

    def __init__(self) -> None:
        self.season = 1
        self.scores: dict[str, Line] = {}
        self.versions: dict[int, list[Line]] = {0: []}
        self.version = 0
        self.behind = 0  # how many versions old the next read is, as from a replica that lags
        self.asked: list[list[str]] = []

    def change(self, user: str, score: int) -> None:
        self.version += 1
        self.scores[user] = Line(user, user.upper(), score, self.version)
        self.versions[self.version] = sorted(
            self.scores.values(), key=lambda line: (-line.score, line.reached_at, line.user_id)
        )

    def top(self, board: str, count: int) -> Page:
        assert board == BOARD
        version, self.behind = max(0, self.version - self.behind), 0
        return self._page(version, enumerate(self.versions[version][:count], 1))

    def ranks(self, board: str, user_ids: list[str]) -> Page:
        assert board == BOARD
        self.asked.append(sorted(user_ids))
        ranked = enumerate(self.versions[self.version], 1)
        return self._page(self.version, [(rank, line) for rank, line in ranked if line.user_id in user_ids])

    def _page(self, version: int, ranked: Iterable[tuple[int, Line]]) -> Page:
        entries = tuple(Entry(rank, *line) for rank, line in ranked)
        return Page(self.season, version, len(self.versions[version]), entries)


class Client:
    """A socket that can be slow, and the client behind it, which keeps its list by the contract's steps."""

    def __init__(self, user_id: str | None = None) -> None:
        self.user_id = user_id
        self.topic: Topic | None = None
        self.top = 0
        self.version: int | None = None
        self.owed = False
        self.place: Place | None = None
        self.busy = False
        self.held = -1  # the version of its list …
        self.held_top = 0  # … and how far down that goes
        self.lines: list[Line] = []
        self.kinds: list[str] = []
        self.own: list[dict[str, object]] = []
        self.frames: list[bytes] = []

    @property
    def wire(self) -> Client:
        return self

    @property
    def stuck_since(self) -> float | None:
        return 1.0 if self.busy else None

    def send(self, frame: bytes) -> None:
        self.frames.append(frame)
        message = json.loads(frame[{126: 4, 127: 10}.get(frame[1], 2) :])
        kind = message["type"]
        if kind == "snapshot":
            self.lines = [self._line(entry) for entry in message["entries"]]
        elif kind == "delta":
            assert message["from_version"] == self.held
            upserts = tuple((entry["rank"], self._line(entry)) for entry in message["upserts"])
            self.lines = apply(self.lines, Delta(tuple(message["removals"]), upserts))
        else:
            self.own.append(message)
            return
        assert message["version"] >= self.held
        self.held, self.held_top = message["version"], self.top
        self.kinds.append(kind)

    @staticmethod
    def _line(entry: dict[str, object]) -> Line:
        micros = int(str(entry["reached_at"])[20:26])
        return Line(str(entry["user_id"]), str(entry["username"]), int(str(entry["score"])), micros)


def changed(ranking: FakeRanking, *applied: Applied) -> BoardChanged:
    return BoardChanged(BOARD, ranking.season, ranking.version, 1, 1, (), applied)


def send_each(clients: list[Client], frame: bytes) -> None:
    for client in clients:
        client.send(frame)


class Desk:
    """A hub with its ranking, its wishes to be looked at, and a clock that stands until it is moved."""

    def __init__(self) -> None:
        self.ranking = FakeRanking()
        self.woken: set[str] = set()
        self.now = 100.0
        self.hub = Hub(
            self.ranking, wake=self.woken.add, send_each=send_each, give_way=lambda: None, monotonic=lambda: self.now
        )

    def settle(self) -> None:
        """Look until nobody asks to be looked at, as `Pace` does."""
        for _ in range(10):
            if not self.woken:
                return
            self.woken.clear()
            due = self.hub.tick(BOARD)
            if due is not None and due <= self.now:
                self.woken.add(BOARD)
        raise AssertionError("the hub never comes to rest")


class Boards(RuleBasedStateMachine):
    """Random changes, joiners, laggards, resumptions, lost events and stale reads."""

    clients = Bundle("clients")

    @initialize()
    def begin(self) -> None:
        self.desk = Desk()
        self.all: list[Client] = []

    @rule(
        user=st.integers(0, 12), score=st.sampled_from([-(2**63), 2**63 - 1]) | st.integers(-5, 5), told=st.booleans()
    )
    def change(self, user: int, score: int, told: bool) -> None:
        self.desk.ranking.change(f"u{user:02}", score)
        if told:
            self.desk.hub.changed(changed(self.desk.ranking))

    @rule(target=clients, top=st.integers(1, 8))
    def join(self, top: int) -> Client:
        client = Client()
        self.all.append(client)
        self.desk.hub.join(client, BOARD, top)
        return client

    @rule(client=clients, top=st.integers(1, 8))
    def subscribe_anew(self, client: Client, top: int) -> None:
        if client in self.all and not client.busy:
            self.desk.hub.join(client, BOARD, top)

    @rule(client=clients)
    def lag(self, client: Client) -> None:
        client.busy = True

    @rule(client=clients)
    def drain(self, client: Client) -> None:
        client.busy = False
        self.desk.hub.drained(client)

    @rule(target=clients, client=consumes(clients))
    def come_back(self, client: Client) -> Client:
        """The connection went; a new one resumes with what the client holds."""
        if client not in self.all or client.held < 0 or client.topic is None:
            return multiple()  # type: ignore[return-value]
        self.desk.hub.leave(client)
        self.all.remove(client)
        again = Client()
        again.held, again.held_top, again.lines = client.held, client.held_top, client.lines
        self.all.append(again)
        self.desk.hub.join(again, BOARD, client.held_top, resume=client.held)
        return again

    @rule(client=consumes(clients))
    def go(self, client: Client) -> None:
        self.desk.hub.leave(client)
        if client in self.all:
            self.all.remove(client)

    @rule()
    def gap(self) -> None:
        self.desk.hub.missed()

    @rule(behind=st.integers(1, 3))
    def stale_read(self, behind: int) -> None:
        self.desk.ranking.behind = behind

    @rule()
    def tick(self) -> None:
        self.desk.hub.tick(BOARD)

    @rule()
    def poll_and_settle(self) -> None:
        self.desk.ranking.behind = 0
        self.desk.now += QUIET_SECONDS
        self.desk.hub.seen(BOARD, self.desk.ranking.version)
        self.desk.settle()
        for client in self.all:
            if not client.busy:
                assert client.held == self.desk.ranking.version

    @invariant()
    def every_list_is_the_top_at_its_version(self) -> None:
        for client in getattr(self, "all", []):
            if client.held >= 0 and client.version == client.held:
                assert client.lines == self.desk.ranking.versions[client.held][: client.held_top]


Boards.TestCase.settings = settings(max_examples=150, stateful_step_count=40, deadline=None)
test_every_list_is_the_boards_top_at_its_version = Boards.TestCase


def desk_with(*users: str) -> Desk:
    desk = Desk()
    for score, user in enumerate(users):
        desk.ranking.change(user, -score)
    return desk


def test_the_same_bytes_go_to_all_who_hold_the_same() -> None:
    desk = desk_with("a", "b", "c")
    clients = [Client() for _ in range(5)]
    for client in clients:
        desk.hub.join(client, BOARD, 2)
    desk.settle()
    desk.ranking.change("d", 9)
    desk.hub.changed(changed(desk.ranking))
    desk.settle()
    assert clients[0].kinds == ["snapshot", "delta"]
    assert len({id(client.frames[-1]) for client in clients}) == 1


def test_who_lagged_gets_one_delta_over_all_it_missed() -> None:
    desk = desk_with("a", "b")
    client = Client()
    desk.hub.join(client, BOARD, 10)
    desk.settle()
    client.busy = True
    for score in range(5):
        desk.ranking.change("b", score)
        desk.hub.changed(changed(desk.ranking))
        desk.settle()
    client.busy = False
    desk.hub.drained(client)
    desk.settle()
    assert client.kinds == ["snapshot", "delta"]
    assert client.held == desk.ranking.version


def test_neighbours_who_hold_different_versions_get_each_their_own_delta() -> None:
    desk = desk_with("a", "b")
    clients = [Client() for _ in range(3)]
    for client in clients:
        desk.hub.join(client, BOARD, 10)
    desk.settle()
    clients[1].busy = True
    desk.ranking.change("b", 5)
    desk.hub.changed(changed(desk.ranking))
    desk.settle()
    clients[1].busy = False
    desk.ranking.change("a", 9)
    desk.hub.changed(changed(desk.ranking))
    desk.settle()
    assert [len(client.kinds) for client in clients] == [3, 2, 3]
    assert {client.held for client in clients} == {desk.ranking.version}
    assert all(client.lines == desk.ranking.versions[desk.ranking.version] for client in clients)


def test_who_lagged_too_long_gets_a_snapshot() -> None:
    desk = desk_with("a", "b")
    slow, witness = Client(), Client()
    for client in (slow, witness):
        desk.hub.join(client, BOARD, 10)
    desk.settle()
    slow.busy = True
    for score in range(70):
        desk.ranking.change("b", score)
        desk.hub.changed(changed(desk.ranking))
        desk.settle()
    slow.busy = False
    desk.hub.drained(slow)
    desk.settle()
    assert slow.kinds == ["snapshot", "snapshot"]
    assert slow.lines == witness.lines


def test_a_new_season_is_a_snapshot_though_versions_go_on() -> None:
    desk = desk_with("a", "b")
    client = Client()
    desk.hub.join(client, BOARD, 10)
    desk.settle()
    desk.ranking.season = 2
    desk.ranking.change("c", 1)
    desk.hub.missed()
    desk.settle()
    assert client.kinds == ["snapshot", "snapshot"]


def test_results_and_place_come_to_the_player_and_to_nobody_else() -> None:
    desk = desk_with("a", "b")
    player, other, watcher = Client("b"), Client("c"), Client()
    for client in (player, other, watcher):
        desk.hub.join(client, BOARD, 10)
    desk.settle()
    assert player.own == [{"type": "you", "score": -1, "rank": 2}]
    assert other.own == [{"type": "you", "score": None, "rank": None}]
    desk.ranking.change("b", 7)
    desk.hub.changed(changed(desk.ranking, Applied("b", "act", -1, 8, 7)))
    desk.settle()
    assert player.own[1:] == [
        {"type": "you", "score": 7, "rank": 1},
        {
            "type": "applied",
            "action_id": "act",
            "status": "applied",
            "results": [{"board": BOARD, "previous_score": -1, "score_increment": 8, "new_score": 7, "rank": 1}],
        },
    ]
    assert len(other.own) == 1
    assert watcher.own == []


def test_ranks_that_slip_because_of_others_are_asked_for_together_and_seldom() -> None:
    desk = desk_with("a", "b", "c")
    players = [Client("a"), Client("b"), Client("b")]
    for client in players:
        desk.hub.join(client, BOARD, 10)
    desk.settle()
    desk.ranking.asked.clear()
    desk.now += 10 * OTHERS_MOVED_SECONDS
    for score in range(5):
        desk.ranking.change("c", 10 + score)
        desk.hub.changed(changed(desk.ranking))
        desk.settle()
    assert desk.ranking.asked == [["a", "b"]]
    desk.now += OTHERS_MOVED_SECONDS
    assert desk.hub.tick(BOARD) is None
    assert desk.ranking.asked == [["a", "b"]] * 2
    assert [player.own[-1]["rank"] for player in players] == [2, 3, 3]


def test_a_place_that_changed_while_the_socket_was_busy_is_told_when_it_is_not() -> None:
    desk = desk_with("a", "b")
    player = Client("b")
    desk.hub.join(player, BOARD, 10)
    desk.settle()
    player.busy = True
    desk.ranking.change("b", 5)
    desk.hub.changed(changed(desk.ranking, Applied("b", "act", -1, 6, 5)))
    desk.settle()
    player.busy = False
    desk.hub.drained(player)
    desk.settle()
    assert player.own[-1] == {"type": "you", "score": 5, "rank": 1}


def test_changes_below_the_top_are_gathered() -> None:
    desk = desk_with("a", "b", "c", "d")
    client = Client()
    desk.hub.join(client, BOARD, 2)
    desk.settle()
    for score in range(-90, -80):
        desk.ranking.change("d", score)
        desk.hub.changed(changed(desk.ranking))
        desk.settle()
    quiet = len(client.kinds)
    assert quiet <= 2
    desk.now += QUIET_SECONDS
    desk.hub.tick(BOARD)
    assert len(client.kinds) == quiet + 1
    assert client.held == desk.ranking.version
    desk.ranking.change("d", -80)
    desk.ranking.change("b", 5)
    desk.hub.changed(changed(desk.ranking))
    desk.settle()
    assert client.lines == desk.ranking.versions[client.held][:2]
    assert client.held == desk.ranking.version


def test_events_of_boards_without_listeners_cost_nothing() -> None:
    desk = desk_with("a")
    desk.hub.changed(changed(desk.ranking))
    assert desk.woken == set()
    assert desk.hub.tick(BOARD) is None


def test_who_wants_to_know_is_told_what_became_of_each_event() -> None:
    desk, told = Desk(), []
    desk.hub._told = lambda heard, *, version, sockets: told.append(([each.event for each in heard], version, sockets))
    for _ in range(2):
        desk.hub.join(Client(), BOARD, 3)
    desk.settle()
    assert told == []  # a snapshot follows from no event
    desk.ranking.change("u00", 5)
    event = changed(desk.ranking)
    desk.hub.changed(event)
    desk.hub.changed(event)
    desk.settle()
    assert told == [([event, event], desk.ranking.version, 2)]
    for _ in range(2 * HEARD_MOST):
        desk.hub.changed(event)
    desk.settle()
    assert len(told[-1][0]) == HEARD_MOST  # I8


def test_nothing_is_gathered_where_nobody_wants_to_know() -> None:
    desk = Desk()
    desk.hub.join(Client(), BOARD, 3)
    desk.hub.changed(changed(desk.ranking))
    assert desk.hub._topics[BOARD].heard == []
