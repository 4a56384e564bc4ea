"""An update that cuts off whoever applies it is parked after a few tries; the others are applied."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from typing import Any

import psycopg
import pytest

from models.pipeline import dead_letters
from models.pipeline.dead_letters import Cuts
from models.pipeline.drain import Drain

#: Ends the connection of whoever writes the history of such an action, as a process that is killed loses its own.
TRAP = """
CREATE FUNCTION trap() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF NEW.action_id LIKE 'deadly-%' THEN PERFORM pg_terminate_backend(pg_backend_pid()); PERFORM pg_sleep(1); END IF;
    RETURN NEW;
END $$;
CREATE TRIGGER trap BEFORE INSERT ON score_history FOR EACH ROW EXECUTE FUNCTION trap();
"""

#: Refuses all history for lack of disk.
LACK = """
CREATE FUNCTION lack() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    RAISE EXCEPTION USING ERRCODE = 'disk_full';
END $$;
CREATE TRIGGER lack BEFORE INSERT ON score_history FOR EACH ROW EXECUTE FUNCTION lack();
"""


@pytest.fixture
def trap(raw: psycopg.Connection) -> None:
    raw.execute(TRAP)


@pytest.fixture
def age(raw: psycopg.Connection) -> Callable[[], object]:
    """Make what waits look as if somebody should have applied it."""
    return lambda: raw.execute("UPDATE inbox SET accepted_at = accepted_at - interval '1 minute'")


def tries(connection: psycopg.Connection, cuts: Cuts) -> tuple[list[int], int]:
    with connection.transaction():
        return dead_letters.take_up(connection, 0, cuts)


def test_it_is_parked_and_the_rest_applied(trap, age, submit, player, worker: Drain, query) -> None:
    for number in range(3):
        submit(player, f"before-{number}")
    submit(player, "deadly-1")
    for number in range(40):
        submit(player, f"after-{number}")
    age()
    drained = worker.drain(0)
    assert (drained.applied, drained.rejected) == (43, 1)
    assert query("SELECT action_id, code FROM dead_letters") == [("deadly-1", "apply_failed")]
    assert query("SELECT count(*) FROM score_history") == [(43,)]
    assert query("SELECT count(*) FROM inbox") == [(0,)]


def test_the_order_of_a_players_updates_stays(trap, age, submit, player, worker: Drain, query) -> None:
    sent = [submit(player, action_id).action_id for action_id in ("a", "deadly-1", "b", "c", "d")]
    age()
    worker.drain(0)
    rows = query("SELECT action_id FROM score_history ORDER BY version")
    assert [row[0] for row in rows] == [action_id for action_id in sent if action_id != "deadly-1"]


def test_what_waited_long_for_other_reasons_is_applied_at_the_first_try(
    age, submit, player, worker: Drain, query
) -> None:
    for number in range(30):
        submit(player, f"a-{number}")
    age()
    drained = worker.drain(0)
    assert (drained.applied, drained.rejected, drained.batches) == (30, 0, 1)


def test_each_death_leaves_fewer_rows_under_suspicion_until_one_stands_alone(
    age, submit, player, raw: psycopg.Connection, query
) -> None:
    """A process that died wrote nothing but the try it began."""
    for number in range(60):
        submit(player, f"a-{number}")
    age()
    cuts = Cuts()
    together = [len(tries(raw, cuts)[0]) for _ in range(dead_letters.DEATHS_MOST)]
    assert together == [60, 25, 1, 1]
    seqs, parked = tries(raw, cuts)
    assert (seqs, parked) == ([], 1)
    assert query("SELECT action_id FROM dead_letters") == [("a-0",)]
    assert query("SELECT count(*) FROM inbox") == [(59,)]


def test_what_postgres_lacks_is_no_death_of_the_row(age, submit, player, worker: Drain, raw, query) -> None:
    """A full disk refuses a good row as often as it is tried."""
    submit(player, "a")
    age()
    raw.execute(LACK)
    for _ in range(2 * dead_letters.CUTS_MOST):
        with pytest.raises(psycopg.errors.DiskFull):
            worker.drain(0)
    assert query("SELECT attempts FROM inbox") == [(0,)]
    raw.execute("DROP TRIGGER lack ON score_history")
    assert worker.drain(0).applied == 1


def test_a_count_whose_commit_was_not_answered_is_no_death(
    age, submit, player, worker: Drain, monkeypatch, query
) -> None:
    """A network that cuts a third of all commits off cuts those off too that only count."""
    submit(player, "a")
    age()
    for _ in range(2 * dead_letters.DEATHS_MOST):
        connection = worker._open()
        monkeypatch.setattr(connection, "transaction", partial(unanswered, connection, connection.transaction))
        with pytest.raises(psycopg.OperationalError):
            worker.drain(0)
    assert query("SELECT attempts FROM inbox") == [(1,)]
    drained = worker.drain(0)
    assert (drained.applied, drained.rejected) == (1, 0)


@contextmanager
def unanswered(connection: psycopg.Connection, transaction: Callable[[], Any]) -> Iterator[None]:
    """Commits, and breaks before anybody hears of it."""
    with transaction():
        yield
    connection.close()
    raise psycopg.OperationalError("the answer was lost")


def test_a_connection_that_breaks_is_no_death(age, submit, player, raw: psycopg.Connection, query) -> None:
    """The network may cut a good row off again and again: who lives to say so takes the count back."""
    submit(player, "a")
    age()
    for _ in range(3 * dead_letters.DEATHS_MOST):
        seqs, parked = tries(raw, Cuts())
        assert parked == 0
        dead_letters.take_back(raw, 0, seqs)
    assert query("SELECT attempts FROM inbox") == [(0,)]
