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
)
