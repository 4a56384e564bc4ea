"""Mutants of what protects the service: deadlines, limits, revocation."""

from __future__ import annotations

from typing import Final

from tests.faults.mutants.mutant import Edit, Mutant, Shown

MUTANTS: Final = (
    Mutant(
        "no-deadline",
        "a wait for PostgreSQL's answer ends when PostgreSQL says so",
        "I8",
        (
            Edit(
                "models/storage/database.py",
                "            return self.wait_within(gen, interval, seconds)\n",
                "            return super().wait(gen, interval)\n",
            ),
        ),
        shown=Shown("postgres-frozen", r"after 1\d\.\d s"),
    ),
    Mutant(
        "limits-fail-open",
        "without Redis nobody counts",
        "I8",
        (
            Edit(
                "web/limits.py",
                "                self._rest(error)\n                if self._local.hit(item, kind, caller):\n",
                "                self._rest(error)\n                if self._local.hit(item, kind, caller) or error:\n",
            ),
        ),
        red=("tests/integration/test_api_refusals.py::test_without_redis_a_limit_holds_all_the_same",),
    ),
    Mutant(
        "revocation-fails-open",
        "while PostgreSQL is away every token passes",
        "I10",
        (
            Edit(
                "models/accounts/revocation.py",
                "        except SQLAlchemyError as error:\n            raise unknown from error\n",
                "        except SQLAlchemyError:\n            return\n",
            ),
        ),
        red=(
            "tests/integration/test_revocation.py::test_a_stale_replica_is_not_believed_and_never_fails_open",
            "tests/integration/test_revocation.py::test_with_postgres_stopped_every_check_says_not_ready_and_then_recovers",
        ),
    ),
    Mutant(
        "revocation-unseen",
        "a process learns of revocations when it starts, and never again",
        "I10",
        (
            Edit(
                "models/accounts/revocation.py",
                "        self._tokens = tokens if reload else self._tokens | tokens\n",
                "        self._tokens = tokens if reload else self._tokens\n",
            ),
        ),
        red=(
            "tests/integration/test_revocation.py::test_a_revoked_token_is_refused_in_another_process_within_a_second",
        ),
    ),
    Mutant(
        "block-unheard",
        "a process learns of blocks when it starts, and never again",
        "I10",
        (
            Edit(
                "models/accounts/revocation.py",
                "        self.restrictions.take(restricted, anew=reload)\n",
                "        self.restrictions.take(restricted if reload else (), anew=reload)\n",
            ),
        ),
        red=(
            "tests/integration/test_restrictions.py::test_a_block_holds_elsewhere_within_a_second_and_ends_by_itself",
        ),
    ),
    Mutant(
        "old-key-known",
        "a process goes on with the signature key it remembers, though it was changed",
        "I10",
        (Edit("models/accounts/revocation.py", "        self._users.forget_keys(changed_keys)\n", ""),),
        red=("tests/integration/test_privacy.py::test_a_player_changes_the_key_with_the_old_one",),
    ),
    Mutant(
        "ticket-for-many",
        "a ticket opens as many sockets as are asked for",
        "I10",
        (Edit("models/accounts/tickets.py", "        == 1\n", "        < 2\n"),),
        red=("tests/integration/test_tickets.py::test_it_serves_once",),
    ),
    Mutant(
        "quarantine-counts",
        "what a player in quarantine sends is held back, and counts all the same",
        "I3",
        (
            Edit(
                "models/pipeline/sql/apply.sql",
                "    WHERE c.user_id NOT IN (SELECT user_id FROM quarantined)\n",
                "",
            ),
        ),
        red=("tests/integration/test_restrictions.py::test_quarantine_holds_back_and_releases_in_order",),
    ),
    Mutant(
        "seal-gains-a-row",
        "a writer whose clock is behind writes into a time that is sealed",
        "I4",
        (
            Edit(
                "models/pipeline/sql/apply.sql",
                "greatest(statement_timestamp(), (SELECT upto FROM progress WHERE name = 'sealing')\n"
                "        + interval '1 microsecond') AS instant",
                "statement_timestamp() AS instant",
            ),
        ),
        red=("tests/integration/test_audit.py::test_no_row_is_ever_older_than_a_seal",),
    ),
    Mutant(
        "seal-waits-for-nobody",
        "a seal closes over a time in which a writer is still about to commit",
        "I4",
        (
            Edit(
                "models/guard/audit.py",
                "                with self._waiting() as connection:\n"
                "                    lock_shard(connection, shard)\n",
                "                pass\n",
            ),
        ),
        red=("tests/integration/test_audit.py::test_a_writer_that_takes_long_is_sealed_at_the_next_turn",),
    ),
)
