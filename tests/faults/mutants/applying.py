"""Mutants of the worker's part: claim, apply, settle, park, and the sweeper behind it."""

from __future__ import annotations

from typing import Final

from tests.faults.mutants.mutant import Edit, Mutant, Shown

_WAKEUP: Final = "tests/integration/test_wakeup.py"
_DRAIN: Final = "models/pipeline/drain.py"
_APPLY_SQL: Final = "models/pipeline/sql/apply.sql"
_TESTS: Final = "tests/integration/test_apply.py"
_KILLED: Final = f"{_TESTS}::test_a_killed_connection_while_draining_loses_and_doubles_nothing"

#: Rows are taken out of the inbox by a transaction of its own, and applied from the worker's memory by the next.
_TAKE_FIRST: Final = """\
        with connection.transaction():
            connection.execute(_LOCK, {"space": LOCK_SPACE, "shard": shard})
            connection.execute("CREATE TEMP TABLE IF NOT EXISTS taken (LIKE inbox)")
            connection.execute(
                "WITH gone AS (DELETE FROM inbox WHERE shard = %s RETURNING *) INSERT INTO taken SELECT * FROM gone",
                (shard,),
            )
        try:
            with connection.pipeline():"""

MUTANTS: Final = (
    Mutant(
        "acknowledged-early",
        "rows leave the inbox in one transaction and are applied in the next",
        "I3",
        (
            Edit(_DRAIN, "        try:\n            with connection.pipeline():", _TAKE_FIRST),
            Edit(
                _APPLY_SQL,
                "    DELETE FROM inbox\n    WHERE ctid = ANY (ARRAY(\n        SELECT ctid FROM inbox\n",
                "    DELETE FROM taken\n    WHERE ctid = ANY (ARRAY(\n        SELECT ctid FROM taken\n",
            ),
        ),
        red=(_KILLED,),
        shown=Shown("doubtful-commit", "lost: "),
    ),
    Mutant(
        "error-swallowed",
        "a batch during which PostgreSQL failed counts as done, and its rows go",
        "I3",
        (
            Edit(
                _DRAIN,
                "(shard, drained)\n        except psycopg.Error:\n            self.close()\n            raise\n",
                "(shard, drained)\n        except psycopg.Error:\n            self.close()\n"
                '            self._open().execute("DELETE FROM inbox WHERE shard = %s", (shard,))\n'
                "            return Batch(None, 0, 0)\n",
            ),
        ),
        red=(_KILLED,),
        shown=Shown("doubtful-commit", "lost: "),
    ),
    Mutant(
        "drains-side-by-side",
        "two workers drain one shard at the same time",
        "I3",
        (
            Edit(
                _DRAIN,
                '_LOCK: Final = "SELECT pg_advisory_xact_lock(%(space)s, %(shard)s)"',
                '_LOCK: Final = "SELECT %(space)s::int, %(shard)s::int"',
            ),
            Edit(
                _DRAIN,
                "SELECT pg_advisory_xact_lock(%(space)s, %(shard)s), (",
                "SELECT %(space)s::int, (",
            ),
        ),
        red=(
            "tests/integration/test_history.py::test_pages_are_whole_when_one_drain_began_before_another_and_wrote_after_it",
        ),
    ),
    Mutant(
        "history-may-change",
        "no trigger refuses to change history",
        "I4",
        (
            Edit(
                "migrations/versions/0003_guard.py",
                "    RAISE EXCEPTION '% is append-only",
                "    RETURN NULL;\n    RAISE EXCEPTION '% is append-only",
            ),
        ),
        red=("tests/integration/test_history.py::test_history_is_append_only_for_the_service_and_for_the_superuser",),
    ),
    Mutant(
        "no-last-look",
        "the drain ends when the shard is empty, without looking again after it lowered the flag",
        "I7",
        (
            Edit(
                _DRAIN,
                "                rest()\n                rested = True\n",
                "                rest()\n                break\n",
            ),
        ),
        red=(f"{_TESTS}::test_what_arrives_while_the_shard_rests_is_found_by_the_last_look",),
    ),
    Mutant(
        "call-unheard",
        "a worker that goes forgets a call that it has heard, and the caller has sent for nobody else",
        "I7",
        (Edit("models/pipeline/wake.py", "return None if heard and called else message", "return message"),),
        red=(f"{_WAKEUP}::test_who_goes_still_answers_a_call_that_came_before",),
    ),
    Mutant(
        "both-leave",
        "two workers leave a shard to each other, and no call finds that nobody is there",
        "I7",
        (Edit("models/pipeline/wake.py", "            lower_flag(self._client, self._shard)  #", "            #"),),
        red=(f"{_WAKEUP}::TestAttendance::test_who_leaves_to_another_lowers_the_flag_lest_both_leave",),
    ),
    Mutant(
        "no-sweeper",
        "beat never sends the sweep",
        "I7",
        (Edit("worker/schedule.py", '    "sweep": _every(names.SWEEP, SWEEP_SECONDS),\n', ""),),
        shown=Shown("kill-cache", "not settled"),
    ),
    Mutant(
        "no-lookout",
        "workers wait for a broker that is gone",
        "I7",
        (Edit("worker/app.py", "    process.look_out()\n", ""),),
        red=("tests/faults/test_rabbitmq.py::test_while_the_broker_is_gone_all_is_applied_and_afterwards_too",),
    ),
    Mutant(
        "no-mark",
        "nothing notes that Redis is still to be told of a batch",
        "I5",
        (Edit(_APPLY_SQL, "FROM summed HAVING count(*) > 0", "FROM summed HAVING count(*) < 0"),),
        red=(
            f"{_TESTS}::TestBetweenCommitAndRefresh::test_a_worker_that_dies_before_the_refresh_is_finished_by_the_sweeper",
        ),
    ),
    Mutant(
        "deaths-not-counted",
        "a try on which the worker dies is not counted, so that a deadly update is tried for ever",
        "I8",
        (Edit("models/pipeline/dead_letters.py", "    connection.execute(_ADD, (1, shard, seqs))\n", ""),),
        red=(
            "tests/integration/test_deadly_updates.py::test_each_death_leaves_fewer_rows_under_suspicion_until_one_stands_alone",
        ),
        shown=Shown("deadly-update", "was not parked"),
    ),
    Mutant(
        "lack-counted-as-death",
        "that PostgreSQL has no disk left counts against the row that was tried",
        "I8",
        (
            Edit(
                _DRAIN,
                "            if not connection.closed:  # Postgres",
                "            if not error.args:  # Postgres",
            ),
        ),
        red=("tests/integration/test_deadly_updates.py::test_what_postgres_lacks_is_no_death_of_the_row",),
    ),
    Mutant(
        "lost-channels-kept",
        "a worker that loses its broker leaves channels open, and ends when it closes them later",
        "I8",
        (Edit("worker/connection.py", "for channel in channels * 2:", "for channel in channels * 0:"),),
        red=(
            "tests/integration/test_broker_lost.py::test_a_connection_lost_with_a_message_unacknowledged_is_closed_and_made_anew",
        ),
    ),
)
