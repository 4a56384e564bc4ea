"""Whatever is done to the history behind the service's back is found, and named."""

from __future__ import annotations

import base64
import hashlib
import time
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

from models.guard import audit
from models.guard.audit_check import Report
from models.guard.desk import Why
from models.pipeline.shard_lock import LOCK_SPACE
from models.stores import Stores
from tests.fixtures.people import server_update
from tests.fixtures.servers import in_parts


@pytest.fixture
def sealed(stores: Stores, players, submit, submit_batch, drain) -> list[Any]:
    """Three players with two updates each, one of them signed; sealed in two seals, and some acts."""
    people = players(3)
    submit_batch([server_update(person, action_id="first") for person in people])
    drain()
    assert len(list(stores.sealer.seal())) == 1
    for person in people:
        submit(person, "second")
    drain()
    stores.desk.hide(people[0].username, Why("ada", "a test"), hidden=True)
    assert len(list(stores.sealer.seal())) == 1
    return people


@pytest.fixture
def tamper(raw) -> Callable[[str], None]:
    """`tamper("UPDATE …")` does what only who owns the database can."""

    def run(statement: str) -> None:
        tables = ["score_history", "acts", "seals", "scores"]
        tables += [name for (name,) in raw.execute("SELECT name FROM score_history_months").fetchall()]
        for table in tables:
            raw.execute(f"ALTER TABLE {table} DISABLE TRIGGER USER")  # no trigger stands in the owner's way
        changed = raw.execute(statement)
        assert changed.rowcount > 0, statement

    return run


def check(stores: Stores, **options: Any) -> Report:
    return stores.audit_check.check(**options)


@in_parts
def test_what_nobody_touched_is_as_it_was_written(stores: Stores, sealed, submit, drain) -> None:
    report = check(stores)
    assert report.faults == []
    assert (report.seals, report.rows, report.unsealed) == (2, 8, 0)  # six updates, a row for hiding, an act
    submit(sealed[1])
    drain()
    assert (check(stores).faults, check(stores).unsealed) == ([], 1)
    assert len(list(stores.sealer.seal())) == 1
    assert list(stores.sealer.seal()) == []  # nothing is left
    assert check(stores).faults == []


#: Of a player on whom nobody acted.
ROW = (
    "(SELECT id FROM score_history WHERE action_id = 'second' AND user_id NOT IN"
    " (SELECT user_id FROM score_history WHERE action = 'moderation.hide') ORDER BY user_id LIMIT 1)"
)
PUT_IN = (
    "INSERT INTO score_history (user_id, board, season, version, action_id, action, value, score_increment,"
    " previous_score, new_score, request_id, accepted_at{columns})"
    " SELECT user_id, board, season, version + 1, 'mine', action, 1, 10, new_score, new_score + 10, 'r', accepted_at"
    "{values} FROM score_history WHERE id = "
) + ROW


@pytest.mark.parametrize(
    ("statement", "what"),
    [
        (
            f"UPDATE score_history SET new_score = new_score + 1, previous_score = previous_score + 1 WHERE id = {ROW}",
            {"changed", "score differs"},
        ),
        (f"UPDATE score_history SET value = 2 WHERE id = {ROW}", {"changed", "not vouched for"}),
        (f"UPDATE score_history SET accepted_at = accepted_at - interval '1 day' WHERE id = {ROW}", {"changed"}),
        (f"UPDATE score_history SET request_id = 'x' WHERE id = {ROW}", {"changed", "not vouched for"}),
        (
            f"UPDATE score_history SET user_id = gen_random_uuid() WHERE id = {ROW}",
            {"changed", "not vouched for", "score differs"},
        ),
        (f"UPDATE score_history SET id = uuidv7() WHERE id = {ROW}", {"removed", "put in"}),
        (f"UPDATE score_history SET created_at = created_at + interval '1 hour' WHERE id = {ROW}", {"removed"}),
        (f"DELETE FROM score_history WHERE id = {ROW}", {"removed", "score differs"}),
        (PUT_IN.format(columns=", created_at", values=", created_at"), {"put in", "not vouched for", "score differs"}),
        (PUT_IN.format(columns="", values=""), {"not vouched for", "score differs"}),
        ("UPDATE scores SET score = score + 1", {"score differs"}),
        ("UPDATE acts SET reason = 'another'", {"changed"}),
        ("UPDATE acts SET operator = 'eve'", {"changed"}),
        ("DELETE FROM acts", {"removed"}),
        ("DELETE FROM seals WHERE number = 1", {"seal missing", "put in"}),
        ("UPDATE seals SET leaves = substr(leaves, 49), rows = rows - 1 WHERE number = 2", {"seal broken", "put in"}),
        ("UPDATE seals SET root = decode(repeat('00', 32), 'hex') WHERE number = 2", {"seal broken"}),
        ("UPDATE seals SET upto = upto + interval '1 hour' WHERE number = 2", {"seal broken"}),
        ("UPDATE seals SET previous = decode(repeat('00', 32), 'hex') WHERE number = 2", {"seal broken"}),
        ("UPDATE seals SET signature = decode(repeat('00', 64), 'hex') WHERE number = 2", {"seal broken"}),
        ("UPDATE seals SET key_id = 'another' WHERE number = 1", {"seal broken"}),
    ],
)
def test_tampering_is_found_and_named(stores: Stores, sealed, tamper, query, statement: str, what: set[str]) -> None:
    [(victim,)] = query(f"SELECT {ROW}::text")
    tamper(statement)
    report = check(stores)
    assert {fault.what for fault in report.faults} == what
    if "score_history" in statement and "changed" in what:
        assert victim in {fault.where for fault in report.faults}


def test_the_end_of_the_chain_cannot_be_taken_away_unseen(stores: Stores, sealed, tamper) -> None:
    last = check(stores).last_seal
    assert last is not None
    anchor = (last.number, last.hash)
    assert check(stores, anchor=anchor).faults == []
    tamper("DELETE FROM seals WHERE number = 2")
    assert check(stores).faults == []  # alone it cannot know; the rows are only unsealed again
    assert {fault.what for fault in check(stores, anchor=anchor).faults} == {"seal missing"}


def test_a_row_that_was_put_into_the_inbox_is_found(stores: Stores, sealed, raw, drain) -> None:
    raw.execute(
        "INSERT INTO inbox (shard, user_id, action_id, action, value, request_id)"
        " SELECT 0, id, 'mine', 'level_complete', 1, 'r' FROM users LIMIT 1"
    )
    drain()
    assert {fault.what for fault in check(stores).faults} == {"not vouched for"}
    assert len(list(stores.sealer.seal())) == 1
    assert {fault.what for fault in check(stores).faults} == {"not vouched for"}


@in_parts
def test_forgetting_an_address_breaks_nothing(stores: Stores, sealed, query) -> None:
    query("UPDATE score_history SET ip_address = NULL")
    assert check(stores).faults == []


@in_parts
def test_history_cannot_be_changed_by_the_service_itself(stores: Stores, sealed, raw) -> None:
    for statement in (
        "UPDATE score_history SET value = 2",
        "UPDATE score_history SET ip_address = '192.0.2.1'",
        "DELETE FROM score_history",
        "TRUNCATE score_history",
        "UPDATE acts SET reason = ''",
        "DELETE FROM seals",
    ):
        with pytest.raises(Exception, match="append-only"):
            raw.execute(statement)


@in_parts
def test_no_row_is_ever_older_than_a_seal(stores: Stores, sealed, submit, drain, query) -> None:
    """A seal must never gain a row, whatever the clock does: here it is set back by a day, as far as the rows know."""
    query("UPDATE progress SET upto = upto + interval '1 day' WHERE name = 'sealing'")
    submit(sealed[2], "third")
    drain()
    stores.desk.hide(sealed[2].username, Why("ada", "a test"), hidden=True)
    late = "created_at > (SELECT upto FROM progress WHERE name = 'sealing')"
    assert query(f"SELECT action_id FROM score_history WHERE {late} AND action_id = 'third'") == [("third",)]
    assert query(f"SELECT count(*) FROM score_history WHERE {late} AND action = 'moderation.hide'") == [(1,)]
    assert query(f"SELECT count(*) FROM acts WHERE {late}") == [(1,)]
    assert len(list(stores.sealer.seal())) == 1
    assert check(stores).faults == []


def test_a_writer_that_takes_long_is_sealed_at_the_next_turn(stores: Stores, sealed, submit, drain, raw) -> None:
    submit(sealed[1], "third")
    drain()
    raw.execute("SELECT pg_advisory_lock(%s, 0)", (LOCK_SPACE,))
    assert list(stores.sealer.seal()) == []
    raw.execute("SELECT pg_advisory_unlock(%s, 0)", (LOCK_SPACE,))
    assert len(list(stores.sealer.seal())) == 1
    assert check(stores).unsealed == 0


def test_a_crowd_after_a_long_silence_is_sealed_in_parts(
    stores: Stores, players, submit_batch, drain, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(audit, "ROWS_MOST", 6)
    # the last seal is a month old, as far as this one knows
    monkeypatch.setattr(audit, "_beginning", lambda _: datetime.now(UTC) - timedelta(days=30))
    people = players(3)
    for at in range(4):
        submit_batch([server_update(person, action_id=f"late-{at}") for person in people])
        drain()
        time.sleep(0.15)  # longer than what is never cut
    made = list(stores.sealer.seal())
    assert sum(seal.rows for seal in made) == 12
    assert max(seal.rows for seal in made) <= 6
    report = check(stores)
    assert (report.faults, report.unsealed) == ([], 0)


def test_an_idle_service_writes_nothing(stores: Stores, sealed, query) -> None:
    before = query("SELECT upto FROM progress WHERE name = 'sealing'")
    assert list(stores.sealer.seal()) == []
    assert query("SELECT upto FROM progress WHERE name = 'sealing'") == before


def proved(export: dict[str, Any]) -> list[str]:
    """Checks an export with nothing of the service's; returns the contents that are proved."""
    seals = {}
    for seal in export["seals"]:
        head = f"v1\nseal\n{seal['number']}\n{seal['upto']}\n{seal['rows']}\n{seal['root']}\n{seal['previous']}"
        digest = hashlib.sha256(head.encode()).digest()
        assert digest.hex() == seal["hash"]
        key = Ed25519PublicKey.from_public_bytes(base64.b64decode(export["keys"][seal["key"]]))
        key.verify(bytes.fromhex(seal["signature"]), digest)
        seals[seal["number"]] = seal
    contents = []
    for row in export["rows"]:
        proof, seal = row["proof"], seals[row["proof"]["seal"]]
        found, at, size = hashlib.sha256(b"\0" + row["content"].encode()).digest(), proof["place"], seal["rows"]
        path = [bytes.fromhex(each) for each in proof["path"]]
        while size > 1:
            if at % 2:
                found = hashlib.sha256(b"\1" + path.pop(0) + found).digest()
            elif at + 1 < size:
                found = hashlib.sha256(b"\1" + found + path.pop(0)).digest()
            at, size = at // 2, (size + 1) // 2
        assert not path
        assert found.hex() == seal["root"]
        contents.append(row["content"])
    return contents


@in_parts
def test_an_export_proves_itself(stores: Stores, sealed) -> None:
    export = stores.audit_export.of(sealed[0].user_id)
    contents = proved(export)
    assert len(contents) == 4  # two updates, a row for hiding, the act
    assert {content.split("\n")[1] for content in contents} == {"history", "act"}
    [act] = export["acts"]
    [line] = [content.split("\n") for content in contents if content.split("\n")[1] == "act"]
    words = [hashlib.sha256(act[name].encode()).hexdigest() for name in ("operator", "subject", "reason", "details")]
    assert (act["id"], words[0], act["act"], *words[1:]) == tuple(line[2:8])
    assert (act["operator"], act["act"], act["reason"]) == ("ada", "hide", "a test")
    export["rows"][0]["content"] = export["rows"][0]["content"].replace("level_complete", "boss_defeated")
    with pytest.raises(AssertionError):
        proved(export)
    other = stores.audit_export.of(sealed[1].user_id)
    other["seals"][0]["signature"] = "00" * 64
    with pytest.raises(InvalidSignature):
        proved(other)
