"""Applying: what the ledger says equals what plain Python says, whoever drains, how often, and whatever fails."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from functools import partial
from pathlib import Path
from uuid import UUID

import psycopg
import pytest
from hypothesis import example, given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st
from sqlalchemy import text

from models.accounts.users import Registered
from models.boards import events
from models.boards import standings as standings_store
from models.boards.ranking import Keys
from models.errors import NotReady
from models.pipeline import ledger, sweep
from models.pipeline.accept import ServerUpdate
from models.pipeline.drain import Drain, Drained
from models.pipeline.inbox_writer import Receipt
from models.settings import Settings
from models.storage.redis import open_redis
from models.stores import Stores, open_stores
from tests.fixtures.ledger_model import LedgerModel, Waiting
from tests.fixtures.people import register, server_update, sign
from tests.fixtures.servers import in_parts
from tests.fixtures.service import environment_for
from tests.fixtures.threads import at_once, background

CATALOGUE = """\
[boards.global]
[boards.skill]
[actions.step]
points = 1
boards = ["global"]
value = { least = -9, most = 9 }
[actions.both]
points = 5
boards = ["skill", "global"]
value = { least = 1, most = 3 }
[actions.penalty]
points = -7
boards = ["global"]
value = { least = 0, most = 9 }
[actions.nothing]
points = 0
boards = ["skill"]
[actions.huge]
points = 2147483647
boards = ["global", "skill"]
value = { least = -2147483647, most = 2147483647 }
[actions.gone]
points = 1
boards = ["skill"]
"""
INT32 = 2**31 - 1
WORTHS = {
    "step": {"global": 1},
    "both": {"skill": 5, "global": 5},
    "penalty": {"global": -7},
    "nothing": {"skill": 0},
    "huge": {"global": INT32, "skill": INT32},
}  # without `gone`: it was accepted and then taken out of the catalogue


@pytest.fixture(scope="module")
def playground(
    module_database_url_of_each_kind: str, valkey_server: str, tmp_path_factory
) -> Iterator[tuple[Stores, Drain]]:
    """Stores of the API with the whole catalogue, and a worker whose catalogue lacks `gone`."""
    folder = tmp_path_factory.mktemp("playground")
    (folder / "before.toml").write_text(CATALOGUE)
    (folder / "after.toml").write_text(CATALOGUE.partition("[actions.gone]")[0])
    base = environment_for(module_database_url_of_each_kind, valkey_server.replace("db=0", "db=2"), folder)
    before, after = (
        Settings.from_env({**base, "CATALOGUE_FILE": str(folder / name)}) for name in ("before.toml", "after.toml")
    )
    with open_stores(before) as stores, open_stores(after) as worker_stores:
        stores.redis.flushdb()
        worker = worker_stores.drain()
        yield stores, worker
        worker.close()


plays = st.one_of(
    st.tuples(st.just("step"), st.integers(-9, 9)),
    st.tuples(st.just("both"), st.integers(1, 3)),
    st.tuples(st.just("penalty"), st.integers(0, 9)),
    st.tuples(st.just("nothing"), st.just(1)),
    st.tuples(st.just("gone"), st.just(1)),
    st.tuples(st.just("huge"), st.sampled_from([-INT32, -1, 0, 1, INT32])),
)
#: Three of these leave int64, some come back in between.
extremes = st.tuples(
    st.integers(0, 1),
    st.sampled_from([("huge", INT32), ("huge", INT32), ("huge", -INT32), ("penalty", 9), ("step", 9), ("both", 3)]),
)
rounds = st.lists(st.lists(st.tuples(st.integers(0, 3), plays), max_size=12), min_size=1, max_size=4)
rounds_at_the_ends = st.lists(st.lists(extremes, min_size=1, max_size=8), min_size=1, max_size=3)


@hypothesis_settings(max_examples=40)
@given(rounds | rounds_at_the_ends)
@example([[(0, ("huge", INT32))] * 4])
def test_scores_history_and_ranking_are_those_of_the_model(playground: tuple[Stores, Drain], played) -> None:
    """I3, I4, I5: batches of any updates of four players over two boards."""
    stores, worker = playground
    people = register(stores, 4)
    model = LedgerModel(WORTHS)
    for batch in played:
        updates = [server_update(people[who], action, value) for who, (action, value) in batch]
        verdicts = stores.acceptor.accept_batch(updates, address=None, request_id="b")
        assert all(isinstance(verdict, Receipt) for verdict in verdicts)
        model.drain(waiting_rows(stores))
        worker.drain(0)
        assert_ledger_is(stores, model, people)
        assert_ranking_is(stores, model, people)


def waiting_rows(stores: Stores) -> list[Waiting]:
    with stores.engine.connect() as connection:
        rows = connection.execute(
            text(
                "SELECT user_id::text, action_id, action, value, (extract(epoch FROM accepted_at) * 1000000)::bigint"
                " FROM inbox ORDER BY seq"
            )
        )
        return [Waiting(*row) for row in rows]


def assert_ledger_is(stores: Stores, model: LedgerModel, people: list[Registered]) -> None:
    ids = {"ids": [person.user_id for person in people]}
    with stores.engine.connect() as connection:
        assert connection.execute(text("SELECT count(*) FROM inbox")).scalar() == 0
        scores = connection.execute(
            text(
                "SELECT user_id::text, board, score, version, last_action_id,"
                " (extract(epoch FROM reached_at) * 1000000)::bigint"
                " FROM scores WHERE user_id = ANY(CAST(:ids AS uuid[]))"
            ),
            ids,
        )
        found = {(row[0], row[1]): tuple(row[2:]) for row in scores}
        history = connection.execute(
            text(
                "SELECT user_id::text, board, version, action_id, score_increment, previous_score, new_score"
                " FROM score_history WHERE user_id = ANY(CAST(:ids AS uuid[])) ORDER BY user_id, board, version"
            ),
            ids,
        )
        chains: dict[tuple[str, str], list[tuple[str, int, int, int]]] = {}
        for user_id, board, version, *row in history:
            chain = chains.setdefault((user_id, board), [])
            chain.append(tuple(row))
            assert version == len(chain), "versions have no gap and no fork"
        parked = connection.execute(
            text("SELECT user_id::text, action_id, code FROM dead_letters WHERE user_id = ANY(CAST(:ids AS uuid[]))"),
            ids,
        )
        assert {(row[0], row[1]): row[2] for row in parked} == model.parked
        assert_outcomes(connection, model, people)
    expected = {
        key: (score.score, score.version, score.last_action_id, score.reached_at) for key, score in model.scores.items()
    }
    assert found == expected
    assert chains == {key: score.history for key, score in model.scores.items()}


def assert_outcomes(connection, model: LedgerModel, people: list[Registered]) -> None:
    for (user_id, action_id), code in model.parked.items():
        outcome = ledger.outcome(connection, user_id, action_id)
        assert (outcome.status, outcome.code) == ("rejected", code)
    for (user_id, board), score in model.scores.items():
        for action_id, increment, previous, new in score.history[-3:]:
            outcome = ledger.outcome(connection, user_id, action_id)
            assert outcome.status == "applied"
            assert ledger.Result(board, previous, increment, new) in outcome.results


def assert_ranking_is(stores: Stores, model: LedgerModel, people: list[Registered]) -> None:
    with stores.engine.connect() as connection:
        rows = connection.execute(
            text("SELECT user_id::text, board, (extract(epoch FROM created_at) * 1000000)::bigint FROM scores")
        )
        created_at = {(row[0], row[1]): row[2] for row in rows}
    for board in ("global", "skill"):
        page = stores.ranking.ranks(board, [person.user_id for person in people])
        found = [(entry.user_id, entry.score, entry.reached_at) for entry in page.entries]
        assert found == model.ranking(board, created_at)


def test_a_ledger_checked_by_sql_has_an_unbroken_chain(playground: tuple[Stores, Drain]) -> None:
    """I4, over everything the test above has played."""
    stores, _ = playground
    with stores.engine.connect() as connection:
        broken = connection.execute(
            text(
                "SELECT count(*) FROM (SELECT previous_score, version, coalesce(lag(new_score) OVER w, 0) AS before,"
                " coalesce(lag(version) OVER w, 0) AS version_before FROM score_history"
                " WINDOW w AS (PARTITION BY user_id, board, season ORDER BY version)) h"
                " WHERE previous_score <> before OR version <> version_before + 1"
            )
        ).scalar()
        unequal = connection.execute(
            text(
                "SELECT count(*) FROM scores s FULL JOIN (SELECT user_id, board, season, sum(score_increment) AS score,"
                " count(*) AS version FROM score_history GROUP BY 1, 2, 3) h USING (user_id, board, season)"
                " WHERE s.score IS DISTINCT FROM h.score OR s.version IS DISTINCT FROM h.version"
            )
        ).scalar()
        parked = {row[0] for row in connection.execute(text("SELECT DISTINCT code FROM dead_letters"))}
    assert (broken, unequal) == (0, 0)
    assert parked == {"score_out_of_range", "action_unknown"}, "the test above went to the ends of int64"


def totals(query) -> tuple[int, int, int]:
    """Rows in history, what they add up to, and what the scores add up to."""
    [(rows, added)] = query("SELECT count(*), coalesce(sum(score_increment), 0) FROM score_history")
    [(scored,)] = query("SELECT coalesce(sum(score), 0) FROM scores")
    return int(rows), int(added), int(scored)


@in_parts
def test_many_drains_at_once_from_threads_apply_each_update_once(stores, players, query, drain) -> None:
    people = players(10)
    updates = [server_update(people[n % 10], value=1 + n % 5) for n in range(600)]
    drains = [stores.drain() for _ in range(6)]

    def load() -> None:
        for start in range(0, 600, 50):
            stores.acceptor.accept_batch(updates[start : start + 50], address=None, request_id="b")

    results = at_once([load, *(lambda d=d: [d.drain(0) for _ in range(10)] for d in drains)])
    drain()
    for each in drains:
        each.close()
    assert [result for result in results if isinstance(result, Exception)] == []
    expected = sum(update.value * 10 for update in updates)
    assert totals(query) == (600, expected, expected)
    assert query("SELECT count(*) FROM inbox") == query("SELECT count(*) FROM dead_letters") == [(0,)]
    board = stores.ranking.top("global", 10)
    assert sum(entry.score for entry in board.entries) == expected


def test_many_drains_at_once_from_processes_apply_each_update_once(
    stores, players, query, environment, eventually
) -> None:
    people = players(10)
    updates = [server_update(people[n % 10], value=1 + n % 5) for n in range(600)]
    with ExitStack() as running:
        processes = [running.enter_context(drain_process(environment)) for _ in range(3)]
        for process in processes:
            assert process.stdout.readline() == b"ready\n"
        for start in range(0, 600, 20):
            stores.acceptor.accept_batch(updates[start : start + 20], address=None, request_id="b")
        eventually(lambda: query("SELECT count(*) FROM inbox") == [(0,)], 20)
    expected = sum(update.value * 10 for update in updates)
    assert totals(query) == (600, expected, expected)
    assert [process.returncode for process in processes] == [0, 0, 0]


class drain_process:  # noqa: N801 - used like a function
    """A worker process; its input is closed at the end, and then it ends."""

    def __init__(self, environment: dict[str, str]) -> None:
        environ = {**environment, "PYTHONPATH": str(Path(__file__).parents[2]), "PATH": os.environ["PATH"]}
        self._process = subprocess.Popen(
            [sys.executable, "-m", "tests.fixtures.drain_process"],
            env=environ,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
        )

    def __enter__(self) -> subprocess.Popen[bytes]:
        return self._process

    def __exit__(self, *_: object) -> None:
        self._process.stdin.close()
        self._process.wait(20)
        self._process.stdout.close()


def test_a_wake_up_that_comes_twice_or_for_nothing_changes_nothing(submit, player, drain, contents) -> None:
    """I7."""
    assert drain().applied == 0
    submit(player)
    assert drain().applied == 1
    before = contents()
    for _ in range(3):
        again = drain()
        assert (again.applied, again.rejected, again.batches) == (0, 0, 0)
    assert contents() == before


def test_what_arrives_while_the_shard_rests_is_found_by_the_last_look(worker, submit, player, query) -> None:
    """I7: the flag is lowered before the last look, so that no update falls between."""
    arrived = []

    def rest() -> None:
        if not arrived:
            arrived.append(submit(player))

    drained = worker.drain(0, rest=rest)
    assert drained.applied == 1
    assert query("SELECT count(*) FROM inbox") == [(0,)]


def test_who_leaves_before_the_shard_is_empty_leaves_no_mark_behind(worker, submit, player, query) -> None:
    """A mark that stays is work for the sweeper, and one a turn would be one every two seconds."""
    submit(player)
    turns = iter([False, True])
    assert worker.drain(0, leaves=lambda: next(turns)).applied == 1
    assert query("SELECT count(*) FROM refreshes") == [(0,)]


def test_each_shard_is_drained_for_itself(environment, open_process, query) -> None:
    stores = open_process(Settings.from_env({**environment, "SHARDS": "4"}))
    people = register(stores, 12)
    receipts = stores.acceptor.accept_batch([server_update(p) for p in people], address=None, request_id="b")
    shards = {receipt.shard for receipt in receipts}
    assert len(shards) > 1
    worker = stores.drain()
    first, *others = sorted(shards)
    assert worker.drain(first).applied == sum(receipt.shard == first for receipt in receipts)
    assert query("SELECT DISTINCT shard FROM inbox ORDER BY shard") == [(shard,) for shard in others]
    assert sum(worker.drain(shard).applied for shard in others) == query("SELECT count(*) FROM scores")[0][0] - sum(
        receipt.shard == first for receipt in receipts
    )
    worker.close()


@in_parts
class TestPoison:
    """What cannot be applied does not stop what can."""

    @pytest.fixture
    def near_the_end(self, player: Registered, submit, drain, query) -> Registered:
        """A player whose score is 5 below the largest there is."""
        submit(player)
        drain()
        query("UPDATE scores SET score = 9223372036854775802")
        return player

    def test_a_score_that_would_overflow_is_parked_while_its_batch_goes_on(
        self, near_the_end, players, submit, submit_batch, drain, query, stores
    ) -> None:
        others = players(30)
        submit_batch([server_update(other) for other in others[:15]])
        submit(near_the_end, "poison")
        submit_batch([server_update(other) for other in others[15:]])
        drained = drain()
        assert (drained.applied, drained.rejected) == (30, 1)
        assert query("SELECT count(*) FROM inbox") == [(0,)]
        [row] = query(
            "SELECT user_id::text, action_id, code, attempts, request_id, nonce IS NOT NULL FROM dead_letters"
        )
        assert row == (near_the_end.user_id, "poison", "score_out_of_range", 3, "r-test", True)
        assert query("SELECT count(*) FROM score_history WHERE action_id = 'poison'") == [(0,)]
        assert query("SELECT score FROM scores WHERE score > 1000") == [(9223372036854775802,)]
        with stores.engine.connect() as connection:
            outcome = ledger.outcome(connection, near_the_end.user_id, "poison")
        assert (outcome.status, outcome.code) == ("rejected", "score_out_of_range")
        assert "64-bit" in outcome.detail

    def test_it_is_applied_after_all_when_what_came_later_makes_room(self, near_the_end, submit, drain, query) -> None:
        submit(near_the_end, "too much")
        submit(near_the_end, "makes room", "penalty")
        assert drain().rejected == 0
        rows = query("SELECT action_id FROM score_history ORDER BY version OFFSET 1")
        assert rows == [("makes room",), ("too much",)]

    def test_a_repeat_of_what_was_parked_is_still_a_repeat(self, near_the_end, submit, drain, query) -> None:
        """I2: it is not tried again behind the player's back."""
        submit(near_the_end, "poison")
        drain()
        assert submit(near_the_end, "poison").replayed
        assert drain().applied == 0
        assert query("SELECT count(*) FROM dead_letters") == [(1,)]

    def test_it_is_tried_three_times(self, near_the_end, submit, worker, query) -> None:
        submit(near_the_end, "poison")
        for attempts in (1, 2):
            worker._apply_around_poison(0, Drained(0))
            assert query("SELECT attempts FROM inbox") == [(attempts,)]
        worker._apply_around_poison(0, Drained(0))
        assert query("SELECT count(*) FROM inbox") == [(0,)]

    def test_an_action_the_catalogue_lost_is_parked_with_its_reason(self, submit, player, drain, query, stores) -> None:
        submit(player, "lost")
        submit(player, "kept")
        query("UPDATE inbox SET action = 'fly' WHERE action_id = 'lost'")
        drained = drain()
        assert (drained.applied, drained.rejected) == (1, 1)
        assert query("SELECT action_id, code, attempts FROM dead_letters") == [("lost", "action_unknown", 1)]
        with stores.engine.connect() as connection:
            assert ledger.outcome(connection, player.user_id, "lost").status == "rejected"
            assert ledger.outcome(connection, player.user_id, "kept").status == "applied"

    def test_an_update_of_nobody_is_parked(self, submit, player, drain, query) -> None:
        submit(player, "orphan")
        submit(player, "kept")
        query("UPDATE inbox SET user_id = gen_random_uuid() WHERE action_id = 'orphan'")
        drained = drain()
        assert (drained.applied, drained.rejected) == (1, 1)
        assert query("SELECT action_id, code FROM dead_letters") == [("orphan", "apply_failed")]

    def test_a_server_in_trouble_parks_nothing(self, submit, player, worker, query, monkeypatch) -> None:
        submit(player)

        def fail(*_: object, **__: object) -> None:
            raise psycopg.errors.DiskFull("no space left")

        with monkeypatch.context() as trouble:
            trouble.setattr(ledger, "apply", fail)
            for _ in range(5):
                with pytest.raises(psycopg.Error):
                    worker.drain(0)
        assert query("SELECT attempts FROM inbox") == [(0,)]
        assert worker.drain(0).applied == 1


class TestBetweenCommitAndRefresh:
    """I5: Redis is told after the commit, and sooner or later always."""

    @pytest.fixture
    def published(self, redis_url: str) -> Iterator[Callable[[], list[events.BoardChanged]]]:
        with open_redis(redis_url) as client, client.pubsub() as listener:
            listener.psubscribe(events.CHANNEL_PREFIX + "*")
            assert listener.get_message(timeout=5)["type"] == "psubscribe"

            def received() -> list[events.BoardChanged]:
                found = []
                while message := listener.get_message(timeout=0.2):
                    found.append(events.decode(message["data"]))
                return found

            yield received

    def test_a_batch_is_published_with_what_it_did(self, submit, player, drain, stores, published) -> None:
        stores.ranking.top("global", 1)
        submit(player, "a-1", value=2)
        submit(player, "a-2")
        drain()
        [event] = published()
        assert (event.board, event.season, event.version) == ("global", 1, stores.ranking.version("global"))
        assert event.request_ids == ("r-test",)
        assert event.applied == (
            events.Applied(player.user_id, "a-1", 0, 20, 20),
            events.Applied(player.user_id, "a-2", 20, 10, 30),
        )
        assert event.oldest_accepted_at <= event.published_at

    def test_a_batch_whose_commit_fails_is_on_no_board_and_told_to_nobody(
        self, submit, player, worker, stores, raw, published
    ) -> None:
        """The statement went well, and the server has no room left for its commit."""
        stores.ranking.top("global", 1)
        raw.execute(
            "CREATE FUNCTION fail() RETURNS trigger LANGUAGE plpgsql AS $$"
            "BEGIN RAISE 'no space left' USING ERRCODE = 'disk_full'; END $$"
        )
        raw.execute(
            "CREATE CONSTRAINT TRIGGER fail AFTER INSERT ON refreshes DEFERRABLE INITIALLY DEFERRED"
            " FOR EACH ROW EXECUTE FUNCTION fail()"
        )
        submit(player)
        with pytest.raises(psycopg.OperationalError):
            worker.drain(0)
        assert stores.ranking.top("global", 1).entries == ()
        assert published() == []

    def test_a_worker_that_dies_before_the_refresh_is_finished_by_the_sweeper(
        self, submit, player, drain, stores, query, monkeypatch, published
    ) -> None:
        submit(player)
        drain()
        assert stores.ranking.top("global", 1).entries[0].score == 10
        published()

        def die(*_: object) -> None:
            raise SystemExit("kill -9, as near as a test gets")

        with monkeypatch.context() as dying:
            dying.setattr(type(stores.ranking), "refresh", die)
            submit(player)
            with pytest.raises(SystemExit):
                drain()
        assert query("SELECT score FROM scores") == [(20,)]
        assert stores.ranking.top("global", 1).entries[0].score == 10
        publish = partial(events.publish, stores.redis)
        assert sweep.finish_refreshes(stores.engine, stores.ranking, publish) == 0, "the worker may still be at it"
        query("UPDATE refreshes SET created_at = created_at - interval '3 seconds'")
        before = stores.ranking.version("global")
        assert sweep.finish_refreshes(stores.engine, stores.ranking, publish) == 1
        assert stores.ranking.top("global", 1).entries[0].score == 20
        assert stores.ranking.version("global") == before + 1
        assert [event.version for event in published()] == [before + 1]
        assert query("SELECT count(*) FROM refreshes") == [(0,)]
        assert sweep.finish_refreshes(stores.engine, stores.ranking, publish) == 0

    def test_the_mark_of_a_batch_whose_boards_were_told_is_gone_when_the_drain_ends(self, submit, player, drain, query):
        submit(player)
        drain()
        assert query("SELECT count(*) FROM refreshes") == [(0,)]

    def test_without_redis_updates_are_applied_and_the_boards_told_later(
        self, environment, open_process, submit, player, stores, query
    ) -> None:
        stores.ranking.top("global", 1)
        away = open_process(Settings.from_env({**environment, "REDIS_URL": "unix:///nobody-is-here"}))
        worker = away.drain()
        submit(player)
        submit(player)
        assert worker.drain(0).applied == 2
        worker.close()
        assert query("SELECT score FROM scores") == [(20,)]
        assert stores.ranking.top("global", 1).entries == ()
        query("UPDATE refreshes SET created_at = created_at - interval '3 seconds'")
        assert sweep.finish_refreshes(stores.engine, stores.ranking, lambda event: None) >= 1
        assert stores.ranking.top("global", 1).entries[0].score == 20

    def test_a_batch_that_redis_missed_is_made_good_by_the_next_one(
        self, environment, open_process, submit, player, drain, stores, query
    ) -> None:
        """Scores are absolute: Redis adds nothing up, so what it missed or hears twice does no harm."""
        stores.ranking.top("global", 1)
        away = open_process(Settings.from_env({**environment, "REDIS_URL": "unix:///nobody-is-here"}))
        worker = away.drain()
        submit(player)
        worker.drain(0)
        worker.close()
        submit(player)
        drain()
        assert stores.ranking.top("global", 1).entries[0].score == 20
        query("UPDATE refreshes SET created_at = created_at - interval '3 seconds'")
        assert sweep.finish_refreshes(stores.engine, stores.ranking, lambda event: None) == 1
        assert stores.ranking.top("global", 1).entries[0].score == 20

    def test_marks_stay_while_redis_is_away(self, environment, open_process, submit, player, query) -> None:
        away = open_process(Settings.from_env({**environment, "REDIS_URL": "unix:///nobody-is-here"}))
        worker = away.drain()
        submit(player)
        worker.drain(0)
        worker.close()
        query("UPDATE refreshes SET created_at = created_at - interval '3 seconds'")
        with pytest.raises(NotReady):
            sweep.finish_refreshes(away.engine, away.ranking, lambda event: None)
        assert query("SELECT count(*) FROM refreshes") == [(1,)]

    def test_two_sweepers_do_not_wait_for_each_other(self, submit, player, drain, stores, query, raw) -> None:
        query("INSERT INTO refreshes (user_ids, created_at) VALUES ('{}', now() - interval '1 minute')")
        with raw.transaction():
            raw.execute("SELECT * FROM refreshes FOR UPDATE")
            assert sweep.finish_refreshes(stores.engine, stores.ranking, lambda event: None) == 0
        assert sweep.finish_refreshes(stores.engine, stores.ranking, lambda event: None) == 1

    @hypothesis_settings(max_examples=10)
    @given(st.permutations(range(5)), st.lists(st.integers(0, 4), max_size=5))
    def test_refreshes_in_any_order_and_doubled_leave_the_last_score(self, playground, order, repeats) -> None:
        stores, worker = playground
        [player] = register(stores, 1)
        standings = []
        for _ in range(5):
            stores.acceptor.accept_batch([server_update(player, "step", 3)], address=None, request_id="b")
            worker.drain(0)
            with stores.engine.connect() as connection:
                standings.append(standings_store.of_players(connection, [player.user_id])["global", 1])
        keys = Keys("global", 1)
        stores.ranking._store.drop(keys)
        stores.ranking.top("global", 1)
        forget(stores, player)
        seen = []
        for turn in [*order, *repeats]:
            stores.ranking.refresh("global", 1, standings[turn])
            [entry] = stores.ranking.ranks("global", [player.user_id]).entries
            seen.append(entry.score)
        assert seen == sorted(seen), "never set back"
        assert seen[-1] == 15


def forget(stores: Stores, player: Registered) -> None:
    """Take a player out of the board in Redis, as if no refresh had come yet."""
    ranking, players, _ = Keys("global", 1).live()
    user = UUID(player.user_id).bytes
    held = stores.redis.hget(players, user)
    stores.redis.zrem(ranking, held[:16] + user)
    stores.redis.hdel(players, user)


class TestTheSweeper:
    """I7: the guarantee behind every hint."""

    def test_it_names_the_shards_whose_rows_nobody_settles(self, environment, open_process, query) -> None:
        stores = open_process(Settings.from_env({**environment, "SHARDS": "8"}))
        people = register(stores, 8)
        receipts = stores.acceptor.accept_batch([server_update(p) for p in people], address=None, request_id="b")
        assert sweep.shards_to_wake(stores.engine) == []
        query("UPDATE inbox SET accepted_at = accepted_at - interval '2 seconds'")
        assert sweep.shards_to_wake(stores.engine) == sorted({receipt.shard for receipt in receipts})


@in_parts
def test_a_killed_connection_while_draining_loses_and_doubles_nothing(
    stores, players, query, admin, database_url, eventually
) -> None:
    """I3: what was not committed is still in the inbox."""
    people = players(5)
    updates = [server_update(people[n % 5]) for n in range(1000)]
    worker = stores.drain()
    stop = []

    def work() -> None:
        while not stop:
            try:
                worker.drain(0)
            except psycopg.Error:
                continue

    def kill() -> int:
        return len(  # of a statement PostgreSQL shows its beginning
            admin.execute(
                "SELECT pg_terminate_backend(pid) FROM pg_stat_activity"
                " WHERE state = 'active' AND query LIKE '-- Applies the oldest updates%%'"
            ).fetchall()
        )

    thread = background(work)
    killed = 0
    for start in range(0, 1000, 100):
        stores.acceptor.accept_batch(updates[start : start + 100], address=None, request_id="b")
        while not (hit := kill()) and query("SELECT count(*) FROM inbox") != [(0,)]:
            pass
        killed += hit
    assert killed
    eventually(lambda: query("SELECT count(*) FROM inbox") == [(0,)], 20)
    stop.append(True)
    thread.join(10)
    worker.close()
    assert totals(query) == (1000, 10_000, 10_000)


def test_an_update_of_a_server_and_of_a_player_are_alike_in_the_ledger(
    submit, submit_batch, player, drain, query
) -> None:
    submit(player, "p-1", value=3)
    submit_batch([ServerUpdate(player.user_id, "s-1", "level_complete", 3)])
    drain()
    rows = query(
        "SELECT action_id, action, value, score_increment, signature IS NULL, nonce IS NULL, host(ip_address),"
        " request_id FROM score_history ORDER BY version"
    )
    assert rows == [
        ("p-1", "level_complete", 3, 30, False, False, "192.0.2.7", "r-test"),
        ("s-1", "level_complete", 3, 30, True, True, "192.0.2.8", "b-test"),
    ]


def test_the_history_keeps_what_proves_that_the_player_did_it(stores, player, drain, query) -> None:
    update = sign(player, "a-1", value=4)
    stores.acceptor.accept(player.user_id, update, address=None, request_id="r")
    drain()
    assert query("SELECT encode(signature, 'hex'), nonce, ip_address FROM score_history") == [
        (update.signature, update.nonce, None)
    ]
