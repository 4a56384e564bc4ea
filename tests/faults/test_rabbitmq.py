"""The suite's heart again with RabbitMQ as broker: nothing lost, nothing twice, nobody waits (I1, I2, I4, I7, I8)."""

from __future__ import annotations

import json
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from secrets import token_hex

import kombu
import psycopg
import pytest
import redis

from models import names
from models.accounts.users import Registered
from models.pipeline import wake
from models.pipeline.updates import SignedUpdate
from models.storage.broker import HEARTBEAT_SECONDS, SEND_TIMEOUT_SECONDS
from tests.fixtures.deaf_line import DeafLine
from tests.fixtures.live_stack import LiveStack, running_stack
from tests.fixtures.own_rabbitmq import OwnRabbitMQ
from tests.fixtures.people import as_json, sign
from tests.fixtures.servers import connect
from tests.fixtures.waiting import eventually
from web.broker import Sender

pytestmark = [pytest.mark.faults, pytest.mark.slow]

#: Whatever the broker had, what was accepted is applied this soon after it.
RECOVERY_SECONDS_MOST = 15.0
#: A deaf connection is given up after two heartbeats and half of one; then the broker gives up its end, or a try fails.
DEAF_SECONDS_MOST = 2.5 * HEARTBEAT_SECONDS + 7.5
#: An answer does not wait for the broker.
ANSWER_SECONDS_MOST = 1.0
#: Connect, or the try on the old connection, and one more; with what a busy machine adds.
SEND_SECONDS_MOST = 2 * SEND_TIMEOUT_SECONDS + 0.7


@dataclass
class Ledger:
    """A player, what the service accepted of them, and what became of it."""

    stack: LiveStack
    database: psycopg.Connection[tuple[object, ...]]
    player: Registered
    token: str
    accepted: dict[str, SignedUpdate] = field(default_factory=dict)

    def send(self, update: SignedUpdate | None = None) -> float:
        """Send an update, a fresh one unless given; returns the seconds its answer took."""
        update = update or sign(self.player)
        began = time.monotonic()
        status, answer = call(self.stack, "/api/v1/scores/update", as_json(update), Authorization=self.token)
        seconds = time.monotonic() - began
        assert status == 202 or (status == 200 and answer["status"] == "applied"), answer
        self.accepted[update.action_id] = update
        return seconds

    def send_many(self, how_many: int) -> None:
        """As many fresh ones, one after the other; each is answered soon."""
        for _ in range(how_many):
            assert self.send() < ANSWER_SECONDS_MOST

    def send_unwoken(self) -> None:
        """An update for which nobody is woken, since somebody seems to be under way: only a sweep finds it (I7)."""
        with redis.Redis.from_url(self.stack.settings.redis_url) as client:
            wake.hold_flag(client, 0)
        self.send_many(1)

    def all_applied(self, seconds: float = RECOVERY_SECONDS_MOST) -> None:
        """Every accepted update becomes one row in time, and the rows are one unbroken chain."""
        eventually(lambda: len(self._history()) >= len(self.accepted), seconds, 0.02)
        rows = self._history()
        assert sorted(str(row[0]) for row in rows) == sorted(self.accepted)
        score = 0
        for _, previous, increment, new in rows:
            assert previous == score
            score = int(str(increment)) + score
            assert new == score
        assert self.database.execute(
            "SELECT score FROM scores WHERE user_id = %s AND board = 'global'", [self.player.user_id]
        ).fetchone() == (score,)

    def _history(self) -> list[tuple[object, ...]]:
        return self.database.execute(
            "SELECT action_id, previous_score, score_increment, new_score FROM score_history"
            " WHERE user_id = %s AND board = 'global' ORDER BY version",
            [self.player.user_id],
        ).fetchall()


def call(stack: LiveStack, path: str, body: bytes | None = None, **headers: str) -> tuple[int, dict[str, object]]:
    headers = {"Content-Type": "application/json", **headers}
    request = urllib.request.Request(stack.api_url + path, data=body, headers=headers)
    try:
        with urllib.request.urlopen(request, timeout=15) as answer:
            return answer.status, json.loads(answer.read())
    except urllib.error.HTTPError as refusal:
        return refusal.code, json.loads(refusal.read())


@pytest.fixture(scope="module")
def line(own_rabbitmq: OwnRabbitMQ) -> Iterator[DeafLine]:
    """What lies between the service and its broker."""
    to_broker = DeafLine(own_rabbitmq.port)
    yield to_broker
    to_broker.close()


@pytest.fixture(scope="module")
def rabbitmq_stack(
    own_rabbitmq: OwnRabbitMQ,
    line: DeafLine,
    postgres_server: str,
    template: str,
    servers_folder: Path,
    tmp_path_factory: pytest.TempPathFactory,
) -> Iterator[LiveStack]:
    """All processes of the service, with RabbitMQ as broker."""
    folder = tmp_path_factory.mktemp("rabbitmq_stack")
    broker_url = own_rabbitmq.url.replace(str(own_rabbitmq.port), str(line.port))
    with running_stack("rabbitmq", postgres_server, template, servers_folder, folder, broker_url) as stack:
        yield stack


@pytest.fixture
def live_stack(rabbitmq_stack: LiveStack) -> LiveStack:
    """In this file the stack that runs on RabbitMQ; its logs are shown when a test fails."""
    rabbitmq_stack.mark_logs()
    return rabbitmq_stack


@pytest.fixture
def ledger(live_stack: LiveStack) -> Iterator[Ledger]:
    """A new player's."""
    name = f"mq-{token_hex(4)}"
    body = json.dumps({"username": name, "email": f"{name}@example.org"}).encode()
    status, answer = call(live_stack, "/api/v1/users", body)
    assert status == 201
    player = Registered(str(answer["user_id"]), name, bytes.fromhex(str(answer["secret_key"])))
    with connect(live_stack.settings.database_url) as database:
        yield Ledger(live_stack, database, player, f"Bearer {answer['access_token']}")


@pytest.fixture
def senders_url(own_rabbitmq: OwnRabbitMQ) -> Iterator[str]:
    """A virtual host that no worker has ever seen."""
    own_rabbitmq.control("add_vhost", "senders")
    own_rabbitmq.control("set_permissions", "--vhost", "senders", "guest", ".*", ".*", ".*")
    yield own_rabbitmq.url.removesuffix("/") + "senders"
    own_rabbitmq.control("delete_vhost", "senders")


@pytest.fixture
def alarm(own_rabbitmq: OwnRabbitMQ) -> Iterator[OwnRabbitMQ]:
    """The broker in alarm; `end_alarm()` ends it, and the test's end does too."""
    own_rabbitmq.raise_alarm()
    yield own_rabbitmq
    own_rabbitmq.end_alarm()


@pytest.fixture
def frozen(own_rabbitmq: OwnRabbitMQ) -> Iterator[OwnRabbitMQ]:
    """The broker frozen; `thaw()` ends it, and the test's end does too."""
    own_rabbitmq.freeze()
    yield own_rabbitmq
    own_rabbitmq.thaw()


def broker_state(stack: LiveStack) -> tuple[str, float]:
    """What `/readyz` says of the broker, and after how many seconds."""
    began = time.monotonic()
    _, answer = call(stack, "/readyz")
    return answer["parts"]["broker"]["status"], time.monotonic() - began  # type: ignore[index]


def answer_for(seconds: float, ledger: Ledger) -> None:
    """Updates are answered all the time, and operators are told, soon, that the broker takes nothing."""
    until = time.monotonic() + seconds
    while time.monotonic() < until:
        ledger.send_many(2)
        state, waited = broker_state(ledger.stack)
        assert state == "failing"
        assert waited < SEND_SECONDS_MOST


def test_a_signed_action_is_applied_while_the_player_waits(ledger: Ledger) -> None:
    update = sign(ledger.player, value=7)
    status, answer = call(
        ledger.stack, "/api/v1/scores/update", as_json(update), Authorization=ledger.token, Prefer="wait=10"
    )
    assert (status, answer["status"]) == (200, "applied")
    ledger.accepted[update.action_id] = update
    ledger.all_applied()
    assert broker_state(ledger.stack)[0] == "ok"


def test_worker_and_senders_agree_on_quorum_queues_and_nothing_else_is_made(
    ledger: Ledger, own_rabbitmq: OwnRabbitMQ, senders_url: str
) -> None:
    """The sender is given a broker of its own first: it declares the queue as the worker does, or is refused."""
    sender = Sender(senders_url)
    sender.send(names.APPLY_SHARD, (0,), queue=names.APPLY_QUEUE, lapses_seconds=30)
    sender.close()
    columns = ("name", "type", "arguments")
    by_worker = {row[0]: row[1:] for row in own_rabbitmq.queues(*columns) if "celery" not in row[0]}
    by_sender = {row[0]: row[1:] for row in own_rabbitmq.queues("--vhost", "senders", *columns)}
    assert set(by_worker) == {names.APPLY_QUEUE, names.MAINTENANCE_QUEUE}
    assert {queue_type for queue_type, _ in by_worker.values()} == {"quorum"}
    assert by_sender == {names.APPLY_QUEUE: by_worker[names.APPLY_QUEUE]}


def test_the_queues_of_several_shards_are_declared_like_the_one(own_rabbitmq: OwnRabbitMQ, senders_url: str) -> None:
    sender = Sender(senders_url, shards=4)
    for queue in ("apply.2", "apply.3"):
        sender.send(names.APPLY_SHARD, (2,), queue=queue, lapses_seconds=30)
    sender.close()
    declared = {row[0]: row[1:] for row in own_rabbitmq.queues("--vhost", "senders", "name", "type", "arguments")}
    [(one, _)] = [row for row in own_rabbitmq.queues("type", "name") if row[1] == names.APPLY_QUEUE]
    assert {name: queue_type for name, (queue_type, _) in declared.items()} == {"apply.2": one, "apply.3": one}
    assert one == "quorum"


def test_a_wake_up_that_nobody_takes_lapses_in_the_broker(own_rabbitmq: OwnRabbitMQ, senders_url: str) -> None:
    sender = Sender(senders_url)
    sender.send(names.APPLY_SHARD, (0,), queue=names.APPLY_QUEUE, lapses_seconds=60)
    for _ in range(3):
        sender.send(names.APPLY_SHARD, (0,), queue=names.APPLY_QUEUE, lapses_seconds=0.5)
    sender.close()
    with kombu.Connection(senders_url) as connection, connection.channel() as channel:
        waiting = lambda: channel.queue_declare(names.APPLY_QUEUE, passive=True).message_count  # noqa: E731
        assert waiting() >= 3
        channel.basic_get(names.APPLY_QUEUE, no_ack=True)  # only what is at the head of a queue can lapse
        eventually(lambda: waiting() == 0)


def test_two_hundred_updates_at_once_with_repeats_count_once_each(ledger: Ledger) -> None:
    updates = [sign(ledger.player) for _ in range(200)]
    with ThreadPoolExecutor(16) as pool:
        list(pool.map(ledger.send, [*updates, *updates[::4]]))
    assert len(ledger.accepted) == 200
    ledger.all_applied()


def test_a_worker_killed_under_load_loses_nothing_and_doubles_nothing(ledger: Ledger) -> None:
    with ThreadPoolExecutor(8) as pool:
        sending = [pool.submit(ledger.send) for _ in range(150)]
        eventually(lambda: len(ledger.accepted) >= 40)
        ledger.stack.kill("worker")
        for each in sending:
            each.result()
    ledger.stack.start("worker")
    ledger.all_applied()
    assert len(ledger.accepted) == 150


def test_messages_that_are_no_task_of_ours_do_not_stop_the_worker(ledger: Ledger, own_rabbitmq: OwnRabbitMQ) -> None:
    with kombu.Connection(own_rabbitmq.url) as connection:
        publish = connection.Producer().publish
        for queue in (names.APPLY_QUEUE, names.MAINTENANCE_QUEUE):
            publish(b"\xff{ no json", routing_key=queue, content_type="application/json", content_encoding="utf-8")
            publish({"no": "task"}, routing_key=queue)
            publish(b"\x80\x04N.", routing_key=queue, content_type="application/x-python-serialize")
            publish([[], {}, {}], routing_key=queue, headers={"task": "no.such.task", "id": "1"})
            publish([["x"], {}, {}], routing_key=queue, headers={"task": names.APPLY_SHARD, "id": "2"})
    ledger.send_many(5)
    ledger.all_applied()
    eventually(lambda: all(row[1] == "0" for row in own_rabbitmq.queues("name", "messages")), 6, 0.2)


def test_in_an_alarm_updates_are_answered_and_applied(ledger: Ledger, alarm: OwnRabbitMQ) -> None:
    """The flag is raised anew every 2 s, so a wake-up is tried, and fails, several times; the lookouts need none."""
    answer_for(3, ledger)
    ledger.all_applied()
    alarm.end_alarm()
    eventually(lambda: broker_state(ledger.stack)[0] == "ok")
    ledger.send_unwoken()
    ledger.all_applied()


def test_a_send_ends_soon_in_an_alarm_and_the_next_one_after_it_goes_out(own_rabbitmq: OwnRabbitMQ) -> None:
    sender = Sender(own_rabbitmq.url)
    options = {"queue": names.APPLY_QUEUE, "lapses_seconds": 5}
    sender.send(names.APPLY_SHARD, (0,), **options)
    own_rabbitmq.raise_alarm()
    try:
        for _ in range(2):  # over a connection from before the alarm, and over one from within it
            began = time.monotonic()
            with pytest.raises(kombu.exceptions.OperationalError):
                sender.send(names.APPLY_SHARD, (0,), **options)
            assert time.monotonic() - began < SEND_SECONDS_MOST
    finally:
        own_rabbitmq.end_alarm()
    sender.send(names.APPLY_SHARD, (0,), **options)
    sender.close()


def test_a_worker_and_beat_end_when_asked_to_in_an_alarm(ledger: Ledger, alarm: OwnRabbitMQ) -> None:
    """Their own publishing, the worker's events every 2 s among it, must not hold them for as long as it lasts."""
    answer_for(3, ledger)
    both = ("beat", "worker")
    try:
        with ThreadPoolExecutor() as pool:
            assert list(pool.map(ledger.stack.stop, both)) == [0, 0]
    finally:
        for name in both:
            ledger.stack.start(name)
    alarm.end_alarm()
    ledger.all_applied()


def test_a_broker_frozen_for_seconds_delays_and_loses_nothing(ledger: Ledger, frozen: OwnRabbitMQ) -> None:
    answer_for(6, ledger)
    frozen.thaw()
    ledger.all_applied()


def test_connections_that_went_deaf_are_noticed_and_replaced(ledger: Ledger, line: DeafLine) -> None:
    """Both ends believe in them: nothing but a heartbeat, or a confirm that does not come, can tell."""
    sender = Sender(ledger.stack.settings.broker_url)
    options = {"queue": names.APPLY_QUEUE, "lapses_seconds": 5}
    sender.send(names.APPLY_SHARD, (0,), **options)
    line.go_deaf()
    ledger.send_many(5)
    began = time.monotonic()
    sender.send(names.APPLY_SHARD, (0,), **options)  # goes out, over a new connection
    assert time.monotonic() - began < SEND_SECONDS_MOST
    sender.close()
    ledger.all_applied(DEAF_SECONDS_MOST)


def test_while_the_broker_is_gone_all_is_applied_and_afterwards_too(ledger: Ledger, own_rabbitmq: OwnRabbitMQ) -> None:
    """The workers' lookouts find it, and stay for what comes (I7)."""
    ledger.send_many(5)
    own_rabbitmq.kill()
    try:
        ledger.send_many(20)
        assert broker_state(ledger.stack)[0] == "failing"
        ledger.all_applied()
        for _ in range(5):
            ledger.send_many(1)
            ledger.all_applied(2.0)
    finally:
        own_rabbitmq.start()
    eventually(lambda: broker_state(ledger.stack)[0] == "ok", RECOVERY_SECONDS_MOST)
    ledger.send_unwoken()
    ledger.all_applied()
