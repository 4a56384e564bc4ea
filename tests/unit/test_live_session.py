"""One socket's life, with a wire, a hub and stores that only remember what they were asked."""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from typing import Any

import pytest

from models.accounts.tokens import Claims
from models.errors import NonceReused, NotReady, QueueUnavailable, ScoreboardError, TokenExpired, TokenRevoked
from models.pipeline.inbox_writer import Receipt, Verdict
from models.pipeline.updates import SignedUpdate
from web.live import closing, rounds
from web.live.messages import Result
from web.live.roster import Roster
from web.live.rounds import Rounds
from web.live.session import IN_FLIGHT_MOST, TAIL_BYTES_MOST, Session
from web.live.shared import Shared

PLAYER = "7f1c0000-0000-4000-8000-000000000001"
SCORE = {
    "type": "score",
    "action_id": "a-1",
    "action": "level_complete",
    "value": 1,
    "nonce": "0" * 32,
    "timestamp": 1795421846123,
    "signature": "0" * 64,
}


class Wire:
    """Takes everything, unless it is stuck."""

    def __init__(self) -> None:
        self.sent: list[bytes] = []
        self.stuck_since: float | None = None
        self.tail_bytes = 0
        self.closed = False

    @property
    def busy(self) -> bool:
        return self.stuck_since is not None

    def send(self, data: bytes) -> None:
        self.sent.append(data)
        if self.busy:
            self.tail_bytes += len(data)

    def close(self) -> None:
        self.closed = True


class World:
    """A session with everything around it."""

    def __init__(self) -> None:
        self.takes = False
        self.taken: list[tuple[SignedUpdate, Callable[[Verdict], None]]] = []
        self.joined: list[tuple[str, int, int | None]] = []
        self.left = 0
        self.refusal: ScoreboardError | None = None
        self.replayed = False
        self.accepted: list[SignedUpdate] = []
        self.errands: list[Callable[[], None]] = []
        self.full = False
        self.tickets: list[str] = []
        self.blocked: set[str] = set()
        self.refused: list[tuple[str, str | None]] = []
        self.wire = Wire()
        self.roster = Roster(most=10)
        shared = Shared(
            hub=self,
            admission=self,
            verifying=self.run,
            accepting=self.run,
            gone=self.roster.leave,
            identify=self.roster.identify,
        )
        self.session = Session(self.wire, shared, board="global", address="::1")
        self.roster.enter(self.session)

    def join(self, member: Session, board: str, top: int, *, resume: int | None) -> None:
        self.joined.append((board, top, resume))

    def leave(self, member: Session) -> None:
        self.left += 1

    def drained(self, member: Session) -> None:
        pass

    def verify(self, token: str) -> Claims:
        if self.refusal is not None:
            raise self.refusal
        return Claims(PLAYER, "jti", "family", "access", frozenset(), int(time.time()) + 60)

    def use_ticket(self, ticket: str) -> Claims:
        self.tickets.append(ticket)
        return self.verify(ticket)

    def noted(self, cause: ScoreboardError, claims: Claims | None, *, address: str) -> None:
        self.refused.append((cause.code, claims.user_id if claims else None))

    def blocks_address(self, address: str) -> bool:
        return address in self.blocked

    def still_holds(self, claims: Claims) -> None:
        if self.refusal is not None:
            raise self.refusal

    def take(self, claims: Claims, update: SignedUpdate, *, address: str, done: Callable[[Verdict], None]) -> bool:
        if self.takes:
            self.taken.append((update, done))
        return self.takes

    def accept(self, claims: Claims, update: SignedUpdate, *, address: str) -> bool:
        if self.refusal is not None:
            raise self.refusal
        self.accepted.append(update)
        return self.replayed

    def outcome(self, claims: Claims, action_id: str) -> list[Result]:
        return [Result("global", 0, 10, 10, 1)]

    def run(self, job: Callable[[], None]) -> bool:
        if not self.full:
            self.errands.append(job)
        return not self.full

    def work(self) -> None:
        while self.errands:
            self.errands.pop(0)()

    def say(self, **message: Any) -> None:
        self.say_text(json.dumps(message))

    def say_text(self, text: str) -> None:
        payload = text.encode()
        head = bytes([0x81, 0xFE]) + len(payload).to_bytes(2, "big") if len(payload) > 125 else None
        self.session.received((head or bytes([0x81, 0x80 | len(payload)])) + b"\0\0\0\0" + payload)

    def heard(self) -> list[dict[str, Any]]:
        texts = [frame for frame in self.wire.sent if frame[0] == 0x81]
        self.wire.sent = [frame for frame in self.wire.sent if frame[0] != 0x81]
        return [json.loads(frame[{126: 4, 127: 10}.get(frame[1], 2) :]) for frame in texts]

    def ending(self) -> tuple[int, str] | None:
        frames = [frame for frame in self.wire.sent if frame[0] == 0x88]
        assert len(frames) <= 1
        return (int.from_bytes(frames[0][2:4], "big"), frames[0][4:].decode().split(":")[0]) if frames else None


@pytest.fixture
def world() -> World:
    return World()


@pytest.fixture
def player(world: World) -> World:
    world.say(type="subscribe", token="t")
    world.work()
    return world


def test_a_subscription_without_a_token_waits_for_nobody(world: World) -> None:
    world.say(type="subscribe")
    world.say(type="subscribe", top=5, resume={"version": 41})
    assert world.joined == [("global", 100, None), ("global", 5, 41)]
    assert world.session.user_id is None


def test_what_is_said_while_a_token_is_verified_is_answered_afterwards_in_order(world: World) -> None:
    world.say(type="subscribe", token="t")
    world.say(type="ping")
    world.say(**SCORE)
    assert world.heard() == []
    world.work()
    assert world.session.user_id == PLAYER
    assert [message["type"] for message in world.heard()] == ["pong", "ack"]


@pytest.mark.parametrize(
    ("cause", "code", "name"),
    [(TokenExpired(), 4401, "token_expired"), (TokenRevoked(), 4401, "token_revoked"), (NotReady(), 1013, "not_ready")],
)
def test_a_token_that_does_not_hold_ends_the_socket(world: World, cause: ScoreboardError, code: int, name: str) -> None:
    world.refusal = cause
    world.say(type="subscribe", token="t")
    world.work()
    assert world.ending() == (code, name)
    assert world.joined == []


def test_an_update_is_acknowledged_after_its_commit(player: World) -> None:
    player.say(**SCORE)
    assert player.heard() == []
    player.work()
    assert player.heard() == [{"type": "ack", "action_id": "a-1", "status": "queued"}]
    assert player.accepted == [SignedUpdate(**{name: value for name, value in SCORE.items() if name != "type"})]


def test_a_repeat_is_told_what_it_did(player: World) -> None:
    player.replayed = True
    player.say(**SCORE)
    player.work()
    assert [message["type"] for message in player.heard()] == ["ack", "applied"]


@pytest.mark.parametrize("cause", [NonceReused(), QueueUnavailable(retry_after_seconds=1)])
def test_a_refused_update_is_an_error_and_no_end(player: World, cause: ScoreboardError) -> None:
    player.refusal = cause
    player.say(**SCORE)
    player.work()
    (error,) = player.heard()
    assert (error["type"], error["code"], error["action_id"]) == ("error", cause.code, "a-1")
    assert player.ending() is None


def test_a_token_that_ends_between_two_updates_ends_the_socket(player: World) -> None:
    player.refusal = TokenRevoked()
    player.say(**SCORE)
    player.work()
    assert player.ending() == (4401, "token_revoked")


def test_an_update_that_need_not_wait_is_acknowledged_when_its_verdict_is_told(player: World) -> None:
    player.takes = True
    player.say(**SCORE)
    ((update, done),) = player.taken
    assert (update.action_id, player.heard(), player.errands) == ("a-1", [], [])
    done(Receipt("a-1", replayed=False, shard=0))
    assert player.heard() == [{"type": "ack", "action_id": "a-1", "status": "queued"}]


def test_of_a_repeat_taken_at_once_is_told_what_it_did(player: World) -> None:
    player.takes = True
    player.say(**SCORE)
    player.taken.pop()[1](Receipt("a-1", replayed=True, shard=0))
    player.work()
    assert [message["type"] for message in player.heard()] == ["ack", "applied"]
    player.say(**SCORE)
    player.full = True
    player.taken.pop()[1](Receipt("a-1", replayed=True, shard=0))
    assert [message["type"] for message in player.heard()] == ["ack"]


def test_a_verdict_against_an_update_taken_at_once_is_an_error_and_no_end(player: World) -> None:
    player.takes = True
    player.say(**SCORE)
    player.taken.pop()[1](NonceReused())
    (error,) = player.heard()
    assert (error["type"], error["code"], error["action_id"]) == ("error", "nonce_reused", "a-1")
    assert player.ending() is None


def test_updates_taken_at_once_are_bounded_as_well(player: World) -> None:
    player.takes = True
    for _ in range(IN_FLIGHT_MOST + 1):
        player.say(**SCORE)
    assert [message["code"] for message in player.heard()] == ["rate_limited"]
    for _, done in player.taken:
        done(Receipt("a-1", replayed=False, shard=0))
    assert len(player.heard()) == IN_FLIGHT_MOST
    player.say(**SCORE)
    assert player.heard() == []


def test_a_verdict_for_a_socket_that_is_gone_is_told_to_nobody(player: World) -> None:
    player.takes = True
    player.say(**SCORE)
    player.session.lost()
    player.taken.pop()[1](Receipt("a-1", replayed=False, shard=0))
    assert player.heard() == []


def test_updates_that_wait_are_bounded(player: World) -> None:
    for _ in range(IN_FLIGHT_MOST + 1):
        player.say(**SCORE)
    assert [message["code"] for message in player.heard()] == ["rate_limited"]
    player.work()
    assert len(player.heard()) == IN_FLIGHT_MOST
    player.full = True
    player.say(**SCORE)
    assert [message["code"] for message in player.heard()] == ["overloaded"]


def test_an_invalid_update_names_its_fault(player: World) -> None:
    player.say(**(SCORE | {"nonce": "?"}))
    (error,) = player.heard()
    assert (error["code"], error["action_id"], error["errors"][0]["pointer"]) == ("validation_failed", "a-1", "/nonce")


def test_messages_beyond_the_rate_end_the_socket(world: World) -> None:
    said = 0
    while world.ending() is None and said < 10_000:  # the allowance grows while a slow machine speaks
        world.say(type="ping")
        said += 1
    assert world.ending() == (4429, "too_many_messages")
    assert said > 200


def test_only_so_much_waits_behind_a_slow_reader(world: World) -> None:
    world.say(type="subscribe")
    world.wire.stuck_since = time.monotonic()
    world.session.send(b"x" * (TAIL_BYTES_MOST - 1))
    assert world.ending() is None
    world.session.send(b"xx")
    assert world.ending() == (1013, "too_slow")


def test_the_other_sides_close_is_answered_and_that_is_all(world: World) -> None:
    world.session.received(b"\x88\x82\0\0\0\0\x03\xe9" + b"\x81\x80\0\0\0\0")
    assert world.wire.sent == [b"\x88\x02\x03\xe9"]
    assert world.wire.closed
    assert len(world.roster) == 0
    world.session.send(b"late")
    assert len(world.wire.sent) == 1


def test_after_our_close_nothing_is_listened_to_until_theirs(world: World) -> None:
    world.session.close(closing.GOING_AWAY)
    world.session.close(closing.TOO_SLOW)
    world.say(type="ping")
    world.say_text("nonsense")
    assert world.ending() == (1001, "going_away")
    assert not world.wire.closed
    world.session.received(b"\x88\x82\0\0\0\0\x03\xe9")
    assert world.wire.closed
    assert world.ending() == (1001, "going_away")


class Walk:
    """Rounds over one session whose past can be moved."""

    def __init__(self, world: World) -> None:
        self.world = world
        self._rounds = Rounds(world.roster, world, give_way=lambda: None)

    def after(self, seconds: float) -> None:
        session = self.world.session
        session.opened_at -= seconds
        session.heard_at -= seconds
        session.pinged_at -= seconds
        if self.world.wire.stuck_since is not None:
            self.world.wire.stuck_since -= seconds
        if session.closing_since is not None:
            session.closing_since -= seconds
        self._rounds.walk()


def test_who_never_subscribes_is_closed(world: World) -> None:
    walk = Walk(world)
    walk.after(rounds.SUBSCRIBE_SECONDS - 1)
    assert world.ending() is None
    walk.after(1)
    assert world.ending() == (4400, "not_subscribed")
    walk.after(rounds.CLOSE_SECONDS)
    assert world.wire.closed
    assert len(world.roster) == 0


def test_the_silent_are_pinged_and_then_given_up(world: World) -> None:
    world.say(type="subscribe")
    walk = Walk(world)
    for seconds, pings in ((24.9, 0), (0.2, 1), (20, 1), (5, 2), (9, 2)):
        walk.after(seconds)
        assert world.wire.sent.count(b"\x89\x00") == pings
    assert not world.wire.closed
    walk.after(1)
    assert world.wire.closed


def test_the_hopelessly_slow_are_closed(world: World) -> None:
    world.say(type="subscribe")
    walk = Walk(world)
    world.wire.stuck_since = time.monotonic()
    walk.after(rounds.STUCK_SECONDS - 0.5)
    assert world.ending() is None
    walk.after(0.5)
    assert world.ending() == (1013, "too_slow")


def test_a_token_that_ends_while_connected_ends_the_socket(player: World) -> None:
    walk = Walk(player)
    player.refusal = NotReady()
    walk.after(0.5)
    assert player.ending() is None
    player.refusal = TokenExpired()
    walk.after(0.5)
    assert player.ending() == (4401, "token_expired")


def test_an_address_that_is_blocked_while_connected_loses_its_sockets(world: World) -> None:
    world.say(type="subscribe")
    walk = Walk(world)
    world.blocked = {"192.0.2.1"}
    walk.after(0.5)
    assert world.ending() is None
    world.blocked = {"::1"}
    walk.after(0.5)
    assert world.ending() == (4429, "address_blocked")


def test_a_ticket_opens_the_personal_half_in_the_tokens_place(world: World) -> None:
    world.say(type="subscribe", ticket="a-ticket")
    assert world.joined == []
    world.work()
    assert world.tickets == ["a-ticket"]
    assert world.session.user_id == PLAYER


def test_a_ticket_that_does_not_hold_ends_the_socket_and_is_noted(world: World) -> None:
    world.refusal = TokenRevoked()
    world.say(type="subscribe", ticket="a-ticket")
    world.work()
    assert world.ending() == (4401, "token_revoked")
    assert world.refused == [("token_revoked", None)]


def test_a_player_has_room_for_so_many_sockets(player: World, monkeypatch) -> None:
    monkeypatch.setattr("web.live.roster.SOCKETS_OF_USER_MOST", 2)
    roster = Roster(most=10)
    sessions = [World().session for _ in range(3)]
    for session in sessions:
        roster.enter(session)
    assert [roster.identify(session, PLAYER) for session in sessions] == [True, True, False]
    assert roster.identify(sessions[0], PLAYER)  # the same again is no other socket
    roster.leave(sessions[0])
    assert roster.identify(sessions[2], PLAYER)
    assert roster.identify(sessions[1], None)
    assert roster.identify(World().session, PLAYER)  # one that has left in the meantime counts nowhere


def test_one_socket_too_many_of_a_player_is_closed_with_its_reason(world: World, monkeypatch) -> None:
    monkeypatch.setattr("web.live.roster.SOCKETS_OF_USER_MOST", 0)
    world.say(type="subscribe", token="t")
    world.work()
    assert world.ending() == (4429, "too_many_of_user")


def test_an_address_and_a_process_have_room_for_so_many() -> None:
    world = World()
    roster = Roster(most=2, of_address_most=1)
    roster.enter(world.session)
    assert roster.refusal("::1") == closing.TOO_MANY_SOCKETS
    assert roster.refusal("::2") == closing.TOO_MANY_SOCKETS  # the same site
    assert roster.refusal("::1:0:0:0:2") is None
    roster.enter(World().session)
    assert roster.refusal("::2") == closing.FULL
    roster.leave(world.session)
    assert roster.refusal("::1:0:0:0:2") is None
    roster.leaving = True
    assert roster.refusal("::2") == closing.GOING_AWAY
