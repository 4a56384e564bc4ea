"""Mutants of the way in: acceptance, idempotency, nonces, and what the sender is told."""

from __future__ import annotations

from typing import Final

from tests.faults.mutants.mutant import Edit, Mutant, Shown

_ACCEPT: Final = "models/pipeline/accept.py"
_WRITER: Final = "models/pipeline/inbox_writer.py"
_EARLY: Final = "web/loop_acceptor.py"
_TESTS: Final = "tests/integration/test_accept.py"

MUTANTS: Final = (
    Mutant(
        "answer-before-commit",
        "the sender is told 202 while the write is still to come",
        "I1",
        (
            Edit(
                _ACCEPT,
                "        verdict = self._commits.submit((arrival,))[0]\n",
                "        threading.Thread(target=self._commits.submit, args=((arrival,),), daemon=True).start()\n"
                "        verdict: Verdict = Receipt(arrival.action_id, False, arrival.shard)\n",
            ),
        ),
        red=(f"{_TESTS}::test_fifty_equal_requests_at_once_are_one_row_and_one_answer_is_new",),
    ),
    Mutant(
        "early-answer-before-commit",
        "who is answered on the event loop is told 202 while the write is still to come",
        "I1",
        (
            Edit(
                _EARLY,
                "            self._commits.submit(arrival, answer_by, told)\n",
                "            self._commits.submit(arrival, answer_by, lambda _verdict: None)\n"
                "            told(Receipt(arrival.action_id, False, arrival.shard))\n",
            ),
        ),
        red=("tests/integration/test_serving.py::test_what_the_commit_refuses_is_told_as_flask_tells_it",),
        shown=Shown("kill-postgres", "lost: "),
    ),
    Mutant(
        "early-for-nothing",
        "who is answered on the event loop is counted by no limit",
        "I8",
        (
            Edit(
                _EARLY,
                "        if not windows():\n            return False\n",
                "",
            ),
        ),
        red=("tests/integration/test_serving.py::test_an_early_answer_is_counted_against_the_limits",),
    ),
    Mutant(
        "credit-not-reported",
        "what a process lets in on credit is forgotten and never told to the others",
        "I8",
        (Edit("web/credit.py", "            arguments += (hits, limit", "            arguments += (0, limit"),),
        red=("tests/integration/test_credit.py::test_what_was_reported_counts_where_flask_limiter_counts",),
    ),
    Mutant(
        "failure-accepted",
        "a group that could not be written is answered as if it were",
        "I1",
        (
            Edit(
                _WRITER,
                "                break\n        raise QueueUnavailable(retry_after_seconds=1)\n",
                "                break\n"
                "        return [Receipt(each.action_id, False, each.shard) for each in arrivals]\n",
            ),
        ),
        red=(
            f"{_TESTS}::TestConnectionsThatDie::test_what_cannot_be_written_is_not_called_accepted_and_can_be_sent_again",
        ),
        shown=Shown("kill-postgres", "lost: "),
    ),
    Mutant(
        "refused-after-commit",
        "who waits for the result of a committed update is told that it was refused when the result cannot be read",
        "I1",
        (
            Edit(
                "web/api/waiting.py",
                "    except AWAY as error:\n",
                '    except AWAY as error:\n        raise NotReady("Come again.", retry_after_seconds=1) from error\n',
            ),
        ),
        red=("tests/integration/test_api_scores.py::test_a_result_that_cannot_be_read_is_no_refusal",),
        shown=Shown("network-unreliable", "refused and applied"),
    ),
    Mutant(
        "ids-not-unique",
        "no constraint says that an action_id is used once, at the way in or in history",
        "I2",
        (
            Edit(
                "migrations/versions/0001_first_tables.py",
                "    CONSTRAINT inbox_keys_pkey PRIMARY KEY (user_id, action_id),\n",
                "",
            ),
            Edit(
                "migrations/versions/0001_first_tables.py",
                "CONSTRAINT score_history_action_key UNIQUE (user_id, action_id, board)",
                "CONSTRAINT score_history_action_key UNIQUE (user_id, action_id, board, version)",
            ),
        ),
        red=(
            f"{_TESTS}::test_fifty_requests_signed_afresh_for_one_action_are_one_row",
            f"{_TESTS}::test_one_id_raced_for_two_values_goes_to_one_of_them",
            "tests/integration/test_history.py::test_no_second_row_for_a_version_or_an_action",
        ),
        shown=Shown("kill-web-child", "doubled: "),
    ),
    Mutant(
        "nonces-not-unique",
        "no constraint says that a nonce is used once",
        "I2",
        (
            Edit(
                "migrations/versions/0002_history_by_month.py",
                "CREATE UNIQUE INDEX inbox_keys_nonce_key",
                "CREATE INDEX inbox_keys_nonce_key",
            ),
        ),
        red=(
            f"{_TESTS}::test_one_nonce_raced_for_fifty_actions_is_spent_once",
            "tests/integration/test_forget.py::TestNonces::test_a_nonce_is_refused_by_constraint_and_none_at_all_is_no_nonce",
        ),
    ),
    Mutant(
        "nonce-forgotten",
        "the nonce of a signed update is checked but not kept, so that it may be used again",
        "I2",
        (Edit(_ACCEPT, "            nonce=nonce,\n", "            nonce=None,\n"),),
        red=(
            f"{_TESTS}::test_one_nonce_raced_for_fifty_actions_is_spent_once",
            "tests/integration/test_api_refusals.py::test_an_action_id_and_a_nonce_serve_one_action",
        ),
    ),
    Mutant(
        "keys-in-any-order",
        "groups of two processes lock their keys in the order in which they came, and so each other out",
        "I3",
        (
            Edit(
                "models/pipeline/sql/accept.sql",
                "FROM incoming ORDER BY user_id, action_id\n    ON CONFLICT DO NOTHING",
                "FROM incoming\n    ON CONFLICT DO NOTHING",
            ),
        ),
        red=(f"{_TESTS}::TestBatch::test_overlapping_batches_never_hold_what_each_other_waits_for",),
    ),
    Mutant(
        "refusal-costs",
        "an update refused for its nonce starts its action's cool-down all the same",
        "I9",
        (
            Edit(
                _WRITER,
                "inbox.stop_cooldowns(cursor, [arrival for arrival in started if arrival.key not in new])",
                "pass",
            ),
        ),
        red=(f"{_TESTS}::TestCoolDown::test_an_update_refused_for_its_nonce_does_not_start_it",),
    ),
)
