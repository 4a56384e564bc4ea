"""The checker: decides from the ledger and the stores whether anything was lost, doubled or wrong."""

from __future__ import annotations

import http.client
import json
from collections import Counter, defaultdict
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any, Final, Protocol

from tests.faults.ledger import ACCEPTED, REFUSED, Action, Ledger
from tests.faults.spectators import Spectators
from tests.faults.ways import Ways
from tests.fixtures.waiting import eventually

#: After the last fault was healed and the players stopped, everything accepted is applied within this.
DRAIN_SECONDS: Final = 30.0
#: Every subscriber is right within this.
CONVERGE_SECONDS: Final = 10.0
BOARD: Final = "global"

_HISTORY: Final = """
SELECT user_id::text, action_id, version, previous_score, score_increment, new_score
FROM score_history WHERE board = 'global' AND user_id = ANY (%(users)s::uuid[]) ORDER BY user_id, version
"""
_BOARD: Final = """
SELECT user_id::text, score FROM scores WHERE board = 'global'
ORDER BY score DESC, coalesce(reached_at, created_at), user_id
"""


class Queries(Protocol):
    """The truth, past everything that is tried."""

    def query(self, sql: str, values: dict[str, Any] = ..., /) -> list[tuple[Any, ...]]:
        """Rows."""


@dataclass(slots=True)
class Verdict:
    """What the checker found; all is well when every list is empty."""

    accepted: int = 0
    refused: int = 0
    maybe: int = 0
    lost: list[str] = field(default_factory=list)
    doubled: list[str] = field(default_factory=list)
    wrong: list[str] = field(default_factory=list)
    parked: int = 0

    @property
    def clean(self) -> bool:
        """Nothing lost, nothing twice, nothing wrong."""
        return not (self.lost or self.doubled or self.wrong)


def judge(
    ledger: Ledger, postgres: Queries, ways: Ways, spectators: Spectators, *, parked: frozenset[str] = frozenset()
) -> Verdict:
    """Wait until all is applied, then compare; `parked` are the action_ids that were made to be given up."""
    verdict = Verdict()
    _settle(postgres, verdict)
    _judge_history(ledger, postgres, verdict, parked)
    _judge_board(postgres, ways, spectators, verdict)
    verdict.wrong += ledger.wrong
    return verdict


def _settle(postgres: Queries, verdict: Verdict) -> None:
    def settled() -> bool:
        return postgres.query("SELECT (SELECT count(*) FROM inbox) + (SELECT count(*) FROM refreshes)") == [(0,)]

    try:
        eventually(settled, DRAIN_SECONDS, 0.1)
    except AssertionError:
        (waiting,) = postgres.query("SELECT (SELECT count(*) FROM inbox), (SELECT count(*) FROM refreshes)")
        verdict.wrong.append(f"not settled after {DRAIN_SECONDS:.0f} s: {waiting[0]} updates, {waiting[1]} refreshes")


def _judge_history(ledger: Ledger, postgres: Queries, verdict: Verdict, parked: frozenset[str]) -> None:
    users = sorted({action.user_id for action in ledger.actions})
    rows = postgres.query(_HISTORY, {"users": users})
    found = Counter((row[0], row[1]) for row in rows)
    by_key = {(row[0], row[1]): row for row in rows}
    given_up = {
        (user_id, action_id)
        for user_id, action_id in postgres.query(
            "SELECT user_id::text, action_id FROM dead_letters WHERE user_id = ANY (%(users)s::uuid[])",
            {"users": users},
        )
    }
    verdict.parked = len(given_up)
    verdict.wrong += [f"{key[1]} was parked" for key in given_up if key[1] not in parked]
    verdict.doubled += [f"{key[1]} × {times}" for key, times in found.items() if times > 1]
    for action in ledger.actions:
        key = (action.user_id, action.action_id)
        outcome = action.verdict
        if outcome == ACCEPTED:
            verdict.accepted += 1
            if key not in found and key not in given_up:
                verdict.lost.append(f"{action.action_id}: {_story(action)}")
        elif outcome == REFUSED:
            verdict.refused += 1
            if key in found:
                verdict.wrong.append(f"{action.action_id} was refused and applied: {_story(action)}")
        else:
            verdict.maybe += 1
        if key in found:
            _judge_row(action, by_key[key], verdict)
    known = {(action.user_id, action.action_id) for action in ledger.actions}
    verdict.wrong += [f"{key[1]} is in the history and nobody sent it" for key in found if key not in known]
    _judge_chains(rows, postgres, verdict)


def _judge_row(action: Action, row: tuple[Any, ...], verdict: Verdict) -> None:
    _, _, _, previous, increment, new = row
    if increment != action.worth or action.forged:
        verdict.wrong.append(f"{action.action_id} is worth {action.worth} and counted {increment}")
    for answer in action.answers:
        for told in answer.results:
            if (told["previous_score"], told["score_increment"], told["new_score"]) != (previous, increment, new):
                verdict.wrong.append(f"{action.action_id}: told {told}, history says {row}")


def _judge_chains(rows: Iterable[tuple[Any, ...]], postgres: Queries, verdict: Verdict) -> None:
    scores: dict[str, int] = defaultdict(int)
    versions: dict[str, int] = defaultdict(int)
    for user_id, action_id, version, previous, increment, new in rows:
        if version != versions[user_id] + 1 or previous != scores[user_id] or previous + increment != new:
            verdict.wrong.append(f"the chain of {user_id} breaks at {action_id}, version {version}")
        versions[user_id], scores[user_id] = version, new
    held = postgres.query(
        "SELECT user_id::text, score, version FROM scores WHERE board = 'global' AND user_id = ANY (%(users)s::uuid[])",
        {"users": sorted(scores)},
    )
    for user_id, score, version in held:
        if (score, version) != (scores[user_id], versions[user_id]):
            verdict.wrong.append(f"{user_id} has {score} ({version}), history {scores[user_id]} ({versions[user_id]})")
    if len(held) != len(scores):
        verdict.wrong.append(f"{len(scores)} players have a history, {len(held)} a score")


def _judge_board(postgres: Queries, ways: Ways, spectators: Spectators, verdict: Verdict) -> None:
    """Redis, as the API shows it, and every spectator's list are what Postgres says."""
    expected = tuple(postgres.query(_BOARD))
    try:
        eventually(lambda: read_board(ways) == expected, CONVERGE_SECONDS, 0.2)
    except AssertionError:
        verdict.wrong.append(f"the board differs from Postgres: {_difference(read_board(ways), expected)}")
    for spectator in spectators.all:
        try:
            eventually(lambda s=spectator: s.lines() == expected[: s.top], CONVERGE_SECONDS, 0.05)  # type: ignore[misc]
        except AssertionError:
            difference = _difference(spectator.lines(), expected[: spectator.top])
            verdict.wrong.append(f"spectator {spectator.name} (top {spectator.top}) is not right: {difference}")


def read_board(ways: Ways) -> tuple[tuple[Any, ...], ...]:
    """Who is on the board with which score, in order, by pages of the API; nobody when it cannot be read now.

    Ranks are checked on the way.
    """
    try:
        return _read_board(ways)
    except (OSError, http.client.HTTPException):
        return ()


def _read_board(ways: Ways) -> tuple[tuple[Any, ...], ...]:
    lines: list[tuple[Any, ...]] = []
    cursor = ""
    connection = ways.connect(0, 10.0)
    while True:
        connection.request("GET", f"/api/v1/leaderboards/{BOARD}?limit=1000{cursor}")
        answer = connection.getresponse()
        content = answer.read()
        if answer.status != 200:
            return ()
        page = json.loads(content)
        lines += [(entry["user_id"], entry["score"]) for entry in page["entries"]]
        if [entry["rank"] for entry in page["entries"]] != list(
            range(len(lines) - len(page["entries"]) + 1, len(lines) + 1)
        ):
            return ()
        if not page["next_cursor"]:
            connection.close()
            return tuple(lines)
        cursor = f"&cursor={page['next_cursor']}"


def _difference(found: tuple[tuple[Any, ...], ...], expected: tuple[tuple[Any, ...], ...]) -> str:
    for place, (left, right) in enumerate(zip(found, expected, strict=False), start=1):
        if left != right:
            return f"at rank {place} {left} instead of {right}"
    return f"{len(found)} instead of {len(expected)} players"


def _story(action: Action) -> str:
    return ", ".join(
        f"{answer.sent_at:.2f}+{answer.seconds:.2f}s {answer.status} {answer.code}" for answer in action.answers
    )
