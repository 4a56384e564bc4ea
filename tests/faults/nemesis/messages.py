"""Family 5: messages doubled, reordered, unknown, no JSON; and an update that kills whoever applies it."""

from __future__ import annotations

import base64
import json
import random
import signal
import threading
import time
from collections.abc import Iterator
from contextlib import suppress
from typing import Any, Final
from uuid import uuid4

import psycopg

from tests.faults.laboratory import PROCESS_SECONDS, Fault, Laboratory
from tests.faults.ledger import Action
from tests.faults.players import POINTS
from tests.faults.service import signal_all

QUEUE: Final = "apply"
DISTURB_SECONDS: Final = 5.0
#: From the acceptance of a deadly update until it is parked and the rest goes on.
PARK_SECONDS: Final = 15.0

_NO_TASKS: Final[tuple[bytes, ...]] = (
    b"",
    b"\x00\xff\xfe not even text",
    b"{not json",
    b"null",
    b"[]",
    b'"text"',
    b"{}",
    b'{"body": 1, "headers": null, "properties": {}}',
)


def _message(task: str, arguments: list[Any], *, body: bytes | None = None) -> bytes:
    """A message as Celery's second protocol has it on a Redis broker."""
    tag = str(uuid4())
    content = json.dumps([arguments, {}, {"callbacks": None, "errbacks": None, "chain": None, "chord": None}]).encode()
    return json.dumps(
        {
            "body": base64.b64encode(content if body is None else body).decode(),
            "content-encoding": "utf-8",
            "content-type": "application/json",
            "headers": {"lang": "py", "task": task, "id": tag, "root_id": tag, "argsrepr": "", "kwargsrepr": "{}"},
            "properties": {
                "correlation_id": tag,
                "delivery_mode": 2,
                "delivery_info": {"exchange": "", "routing_key": QUEUE},
                "priority": 0,
                "body_encoding": "base64",
                "delivery_tag": tag,
            },
        }
    ).encode()


def _double_and_reorder(lab: Laboratory, dice: random.Random) -> Iterator[float]:
    """Every message that is seen comes again, and those that wait are shuffled."""
    client = lab.broker.client()
    for _ in range(300):
        waiting = client.lrange(QUEUE, 0, -1)
        more = waiting + waiting + [_message("scoreboard.apply_shard", [0])] * 2
        dice.shuffle(more)
        with client.pipeline() as both:
            both.delete(QUEUE)
            both.rpush(QUEUE, *more[:200])
            both.execute()
        time.sleep(DISTURB_SECONDS / 300)
    yield 0.0


def _push_nonsense(lab: Laboratory, dice: random.Random) -> Iterator[float]:
    """Unknown tasks, wrong arguments, bodies that are no JSON, and bytes that are no message at all."""
    client = lab.broker.client()
    messages = [
        *_NO_TASKS,
        _message("scoreboard.no_such_task", []),
        _message("scoreboard.apply_shard", ["not a shard"]),
        _message("scoreboard.apply_shard", [0, 1, 2, 3]),
        _message("scoreboard.apply_shard", [], body=b"{not json"),
        _message("scoreboard.apply_shard", [], body=b"\xff\xfe"),
    ]
    dice.shuffle(messages)
    for message in messages:
        client.lpush(dice.choice((QUEUE, "maintenance")), message)
        time.sleep(dice.uniform(0.1, 0.5))
    yield 0.0


#: In the database: whoever writes this history row waits, and is killed while he does.
_TRAP: Final = """
CREATE OR REPLACE FUNCTION laboratory_trap() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF NEW.action_id LIKE 'deadly-%' THEN PERFORM pg_sleep(4); END IF;
    RETURN NEW;
END $$;
CREATE OR REPLACE TRIGGER laboratory_trap BEFORE INSERT ON score_history
    FOR EACH ROW EXECUTE FUNCTION laboratory_trap();
"""


def _send_deadly_update(lab: Laboratory, _dice: random.Random) -> Iterator[float]:
    """An update that kills its worker each time: the rest is applied all the same, and it is parked."""
    lab.postgres.query(_TRAP)
    before = _applied(lab)
    time.sleep(5.0)
    usual = (_applied(lab) - before) / 5.0
    player = lab.crowd.players[0]
    action = Action(player.user_id, f"deadly-{random.randbytes(6).hex()}", 1, POINTS)
    lab.parked.add(action.action_id)
    stop = threading.Event()
    killer = threading.Thread(target=_kill_whoever_is_trapped, args=(lab, stop), daemon=True)
    killer.start()
    lab.crowd.probe(player, action)
    began, before = time.monotonic(), _applied(lab)
    try:
        while not lab.postgres.query("SELECT 1 FROM dead_letters WHERE action_id = %s", (action.action_id,)):
            if time.monotonic() - began > PARK_SECONDS:
                lab.ledger.complain(f"{action.action_id} was not parked within {PARK_SECONDS:.0f} s")
                break
            time.sleep(0.05)
    finally:
        stop.set()
        killer.join()
    parked_after = time.monotonic() - began
    time.sleep(max(0.0, 20.0 - parked_after))
    rate = (_applied(lab) - before) / (time.monotonic() - began)
    lab.note("parked_after_seconds", round(parked_after, 1))
    lab.note("others_applied_ratio", round(rate / usual, 2))
    if rate < 0.8 * usual:
        lab.ledger.complain(f"the others went on at {rate / usual:.0%} of their rate")
    yield 0.0


def _kill_whoever_is_trapped(lab: Laboratory, stop: threading.Event) -> None:
    """All pool processes, once for each that is trapped: one of them is its."""
    killed: set[int] = set()
    while not stop.wait(0.02):
        with suppress(psycopg.Error, OSError):
            for (pid,) in lab.postgres.query("SELECT pid FROM pg_stat_activity WHERE wait_event = 'PgSleep'"):
                if pid not in killed:
                    killed.add(pid)
                    signal_all(lab.service.children("worker"), signal.SIGKILL)


def _applied(lab: Laboratory) -> int:
    return int(lab.postgres.query("SELECT count(*) FROM score_history")[0][0])


FAULTS: Final = (
    Fault(
        "messages-doubled", "messages", "every wake-up twice and more, shuffled", _double_and_reorder, PROCESS_SECONDS
    ),
    Fault("messages-nonsense", "messages", "unknown tasks, no JSON, no messages", _push_nonsense, PROCESS_SECONDS),
    Fault(
        "deadly-update", "messages", "an update that kills its worker each time", _send_deadly_update, PROCESS_SECONDS
    ),
)
