"""Mutants of the boards: what Redis holds, and what sockets are told of it."""

from __future__ import annotations

from typing import Final

from tests.faults.mutants.mutant import Edit, Mutant, Shown

_DRAIN: Final = "models/pipeline/drain.py"
_REFRESHER: Final = "models/pipeline/refresher.py"
_REFRESH: Final = "models/boards/lua/refresh.lua"
_HUB: Final = "web/live/hub.py"
_RANKING_TESTS: Final = "tests/integration/test_ranking.py"
_APPLY_TESTS: Final = "tests/integration/test_apply.py"
_HUB_TESTS: Final = "tests/unit/test_live_hub.py"

#: Redis adds up for itself, as `ZINCRBY` does: what it missed, or heard twice, stays wrong.
_ADD_UP: Final = """\
                held = {e.user_id: e.score for e in self._ranking.ranks(board, [s.user_id for s in standings]).entries}
                for update in by_board[board, season]:
                    held[update.user_id] = held.get(update.user_id, 0) + update.score_increment
                standings = [replace(standing, score=held[standing.user_id]) for standing in standings]
                version = self._ranking.refresh(board, season, standings)
"""

MUTANTS: Final = (
    Mutant(
        "refresh-before-commit",
        "boards and events show a batch that is not committed yet",
        "I5",
        (
            Edit(
                _DRAIN,
                '                connection.execute("COMMIT", prepare=False)\n',
                "                self._refresher.refresh(ledger.applied(answer), shard)\n"
                "                answer.scroll(0, mode='absolute')\n"
                '                connection.execute("COMMIT", prepare=False)\n',
            ),
        ),
        red=(
            f"{_APPLY_TESTS}::TestBetweenCommitAndRefresh::test_a_batch_whose_commit_fails_is_on_no_board_and_told_to_nobody",
        ),
    ),
    Mutant(
        "increments",
        "Redis is sent what to add (`ZINCRBY`) instead of what the score is",
        "I5",
        (
            Edit(_REFRESHER, "import redis\n", "import redis\nfrom msgspec.structs import replace\n"),
            Edit(_REFRESHER, "                version = self._ranking.refresh(board, season, standings)\n", _ADD_UP),
        ),
        red=(
            f"{_APPLY_TESTS}::TestBetweenCommitAndRefresh::test_a_batch_that_redis_missed_is_made_good_by_the_next_one",
        ),
    ),
    Mutant(
        "no-version-guard",
        "a score in Redis is replaced by whichever refresh comes last",
        "I5",
        (
            Edit(
                _REFRESH,
                "    if not held or struct.unpack('>I8', held, 17) < struct.unpack('>I8', version) then\n",
                "    if true then\n",
            ),
        ),
        red=(
            f"{_RANKING_TESTS}::test_only_a_later_version_of_a_score_is_taken_and_each_change_raises_the_boards_version",
            f"{_APPLY_TESTS}::TestBetweenCommitAndRefresh::test_refreshes_in_any_order_and_doubled_leave_the_last_score",
        ),
    ),
    Mutant(
        "build-overtaken",
        "a refresh during a rebuild reaches the old board alone",
        "I5",
        (Edit(_REFRESH, "if redis.call('EXISTS', KEYS[6]) == 1 then put(KEYS[4], KEYS[5]) end\n", ""),),
        red=(
            f"{_RANKING_TESTS}::TestBuilds::test_a_refresh_during_a_build_is_in_it_whether_it_comes_before_or_after_its_player_is_loaded",
            f"{_RANKING_TESTS}::test_a_rebuild_under_load_is_complete_and_readers_never_see_less",
        ),
    ),
    Mutant(
        "snapshot-of-the-past",
        "a snapshot tells the current version with the lines of an older one",
        "I6",
        (
            Edit(
                _HUB,
                "current.total, current.lines[:top])",
                "current.total, next(iter(self._topic.recent._states.values())).lines[:top])",
            ),
        ),
        red=(f"{_HUB_TESTS}::test_every_list_is_the_boards_top_at_its_version",),
    ),
    Mutant(
        "delta-from-elsewhere",
        "who comes back with a version that is not known any more gets a delta from another one",
        "I6",
        (
            Edit(
                _HUB,
                "        old = self._topic.recent.at(version, top)\n",
                "        old = self._topic.recent.at(version, top)\n"
                "        if old is None and version is not None:\n"
                "            old = next(iter(self._topic.recent._states.values()))\n",
            ),
        ),
        red=(f"{_HUB_TESTS}::test_who_lagged_too_long_gets_a_snapshot",),
        shown=Shown("kill-sockets", "spectator .*: a delta from"),
    ),
    Mutant(
        "delta-skipped",
        "a slow socket is noted to hold a version that it was not sent",
        "I6",
        (
            Edit(
                _HUB,
                "                self._skipped += 1\n",
                "                self._skipped += 1\n                member.version = version\n",
            ),
        ),
        red=(f"{_HUB_TESTS}::test_who_lagged_gets_one_delta_over_all_it_missed",),
    ),
    Mutant(
        "neighbours-frame",
        "a socket gets what the one before it got, though it holds another version",
        "I6",
        (Edit(_HUB, "made is None or member.version != made.version or ", "made is None or "),),
        red=(f"{_HUB_TESTS}::test_neighbours_who_hold_different_versions_get_each_their_own_delta",),
    ),
    Mutant(
        "version-goes-back",
        "a read that was overtaken by a later one becomes the current state",
        "I6",
        (
            Edit(
                "web/live/recent.py",
                "            if version < current.version or (version == current.version and not longer):\n",
                "            if version == current.version and not longer:\n",
            ),
        ),
        red=(f"{_HUB_TESTS}::test_every_list_is_the_boards_top_at_its_version",),
    ),
    Mutant(
        "gap-unnoticed",
        "a subscription that was lost and made anew is no reason to look at the boards",
        "I6",
        (
            Edit(
                "web/live/feed.py",
                "            metrics.GAPS.inc()\n            self._hub.missed()\n",
                "            metrics.GAPS.inc()\n",
            ),
        ),
        red=("tests/integration/test_live_feed.py::test_a_subscription_made_anew_counts_as_a_gap",),
    ),
    Mutant(
        "nobody-polls",
        "sockets look at a board when they are told of a change, and only then",
        "I6",
        (
            Edit(
                "web/live/live.py",
                "            self._hub.seen(board, self._services.stores.ranking.version(board))\n",
                "            self._services.stores.ranking.version(board)\n",
            ),
        ),
        red=("tests/integration/test_live_sockets.py::test_a_change_that_nobody_was_told_of_is_seen_all_the_same",),
    ),
    Mutant(
        "pages-kept-too-long",
        "a process does not hear that a board changed, and tells the page it kept",
        "I5",
        (
            Edit(
                "web/api/serving/early_boards.py",
                'if b":next:" not in name and not name.endswith(b":compared"):',
                "if False:",
            ),
        ),
        red=("tests/integration/test_early_boards.py::test_what_changed_is_read_at_once_by_who_may_know_of_it",),
    ),
    Mutant(
        "two-lines-to-redis",
        "a line to Redis that broke is opened twice, and each takes the other's answers",
        "I8",
        (
            Edit(
                "models/storage/loop_redis.py",
                '        self._unsent, self._answered_at = b"", float("-inf")\n        due',
                "        self._loop.call_later(RECONNECT_SECONDS, self._beat)\n"
                '        self._unsent, self._answered_at = b"", float("-inf")\n        due',
            ),
        ),
        red=("tests/unit/test_loop_redis.py::test_a_line_that_falls_silent_is_given_up_and_one_other_takes_its_place",),
    ),
)
