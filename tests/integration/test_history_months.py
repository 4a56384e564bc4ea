"""History by month: made ahead, never in the way of an insert, read where it can be, taken out by operators."""

from __future__ import annotations

import re
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import psycopg
import pytest
from sqlalchemy import event

from models.pipeline import forget, history_months, ledger
from models.stores import Stores
from tests.fixtures.api import SignedIn
from tests.fixtures.people import as_json, sign
from tests.fixtures.servers import in_parts
from tests.fixtures.service import Query

pytestmark = in_parts
#: What the name of a part has after that of its month.
PART = re.compile(r"_\d$")
OPERATIONS = Path(__file__).parents[2] / "docs" / "operations.md"


@pytest.fixture
def months(query: Query) -> Callable[[], list[str]]:
    """The names of the partitions that are months, oldest first."""
    return lambda: [str(name) for (name,) in query("SELECT name FROM score_history_months ORDER BY until")]


def runbook(heading: str) -> list[str]:
    """The SQL statements of a runbook, as operators copy them."""
    _, _, rest = OPERATIONS.read_text("utf-8").partition(f"\n### {heading}\n")
    blocks = rest.partition("\n### ")[0].split("```sql\n")[1:]
    return [block.partition("```")[0] for block in blocks]


class TestMaintenance:
    """What the beat task does."""

    def test_months_are_made_ahead_without_gap_or_overlap_and_only_once(self, stores, query, months) -> None:
        made = months()
        assert len(made) == 1 + history_months.AHEAD_MONTHS
        assert forget.make_months(stores.engine) == []
        query("DROP TABLE " + ", ".join(made[2:]))
        assert forget.make_months(stores.engine) == made[2:]
        assert months() == made
        bounds = query("SELECT since, until FROM score_history_months ORDER BY until")
        assert [until for _, until in bounds[:-1]] == [since for since, _ in bounds[1:]]
        assert bounds[-1][1] > datetime.now(UTC) + timedelta(days=85)

    def test_a_month_that_was_made_is_in_every_respect_like_those_of_the_migration(self, stores, query, months) -> None:
        last = months()[-1]
        definition = (
            "SELECT pg_get_constraintdef(oid), contype, conenforced FROM pg_constraint"
            " WHERE conrelid = CAST(:name AS regclass) UNION ALL SELECT tgname, 't', tgenabled = 'O' FROM pg_trigger"
            " WHERE tgrelid = CAST(:name AS regclass) AND NOT tgisinternal ORDER BY 1, 2"
        )
        before = query(definition, name=last)
        query(f"DROP TABLE {last}")
        assert forget.make_months(stores.engine) == [last]
        assert query(definition, name=last) == before
        assert before == query(definition, name="score_history_first")

    def test_without_its_month_an_update_is_applied_all_the_same_and_maintenance_tells_and_moves_on(
        self, stores, player, submit, drain, query, months, raw, caplog
    ) -> None:
        made = months()
        raw.execute(f"ALTER TABLE score_history DETACH PARTITION {made[0]}")
        query(f"DROP TABLE {made[0]}, {made[-1]}")
        submit(player, "a-1")
        drain()
        assert query("SELECT tableoid::regclass::text, new_score FROM score_history") == [("score_history_default", 10)]
        assert forget.make_months(stores.engine) == [made[-1]], "the month of now cannot be made, those after it can"
        with stores.engine.connect() as connection:
            assert history_months.any_unplaced(connection)
            assert ledger.outcome(connection, player.user_id, "a-1").status == "applied"

    def test_rows_without_a_month_are_put_into_it_by_the_runbook(
        self, stores, player, submit, drain, query, months, raw
    ) -> None:
        raw.execute(f"ALTER TABLE score_history DETACH PARTITION {months()[0]}")
        submit(player, "a-1")
        drain()
        [sql] = runbook("History has rows without a month")
        raw.execute(sql)
        with stores.engine.connect() as connection:
            assert not history_months.any_unplaced(connection)
        [(table, action_id)] = query("SELECT tableoid::regclass::text, action_id FROM score_history")
        assert (PART.sub("", table), action_id) == (f"score_history_{datetime.now(UTC):%Y_%m}", "a-1")
        assert forget.make_months(stores.engine) == []
        submit(player, "a-2")
        drain()
        assert query("SELECT count(DISTINCT tableoid), count(*) FROM score_history") == [(1, 2)]


class TestReads:
    """Where a read cannot find anything it does not look."""

    def looked_into(self, stores: Stores, read: Callable[[Any], object]) -> set[str]:
        """The partitions that a read's statement visits."""
        statements: list[tuple[str, Any]] = []
        with stores.engine.connect() as connection:
            event.listen(connection, "before_cursor_execute", lambda *a: statements.append((a[2], a[3])))
            read(connection)
            statement, parameters = statements[0]
            plan = connection.exec_driver_sql("EXPLAIN (ANALYZE, FORMAT JSON) " + statement, parameters).scalar_one()

        def visited(node: dict[str, Any]) -> set[str]:
            own = {node["Relation Name"]} if "Relation Name" in node and node["Actual Loops"] else set()
            return own.union(*map(visited, node.get("Plans", [])))

        found = {name for name in visited(plan[0]["Plan"]) if name.startswith("score_history")}
        months = {PART.sub("", name) for name in found}
        assert len(months) == len(found), "of each month the player's part and no other"
        return months

    def test_an_outcome_is_only_looked_for_in_the_months_since_its_acceptance(
        self, stores, player, submit, drain, query, months
    ) -> None:
        submit(player, "a-1")
        drain()
        everywhere = {*months(), "score_history_default"}
        look = lambda: self.looked_into(stores, lambda c: ledger.outcome(c, player.user_id, "a-1"))  # noqa: E731
        assert look() == everywhere
        query("UPDATE inbox_keys SET accepted_at = date_trunc('month', accepted_at) + interval '3 months 2 days'")
        assert look() == {months()[-1], "score_history_default"}
        query("UPDATE inbox_keys SET accepted_at = '-infinity'")
        assert look() == everywhere

    def test_a_page_of_history_leaves_out_the_months_after_its_cursor(self, stores, player, submit, drain, months):
        submit(player)
        drain()
        before = ledger.HistoryCursor(datetime.now(UTC), "global", 99)
        found = self.looked_into(
            stores, lambda c: ledger.history(c, player.user_id, [("global", 1)], before=before, limit=5)
        )
        assert found - {"score_history_default"} == {months()[0]}


class TestDetached:
    """The oldest month is taken out by the runbook, and everything else goes on."""

    @pytest.fixture
    def player(self, sign_up: Callable[[], SignedIn], submit: Any, drain: Any, raw: Any, stores: Stores) -> SignedIn:
        """A player whose update `old` was applied in a month that was taken out, two days ago."""
        person = sign_up()
        submit(person.account, "old", value=3)
        drain()
        raw.execute("UPDATE inbox_keys SET accepted_at = accepted_at - interval '2 days'")
        _, detach = runbook("History by month")
        raw.execute(detach)
        assert len(forget.make_months(stores.engine)) == 1
        return person

    def test_its_rows_are_kept_and_nobody_changes_them(self, player, raw, query) -> None:
        assert query("SELECT action_id, new_score FROM score_history_first") == [("old", 30)]
        assert query("SELECT count(*) FROM score_history") == [(0,)]
        with pytest.raises(psycopg.errors.RestrictViolation):
            raw.execute("DELETE FROM score_history_first")

    def test_scores_go_on_from_where_they_were(self, player, submit, drain, query, stores) -> None:
        """I4: the next row follows the last of the month that left."""
        submit(player.account, "new")
        drain()
        assert query("SELECT action_id, version, previous_score, new_score FROM score_history") == [("new", 2, 30, 40)]
        assert stores.ranking.top("global", 1).entries[0].score == 40

    def test_a_repeat_is_known_is_not_applied_again_and_is_told_that_it_counted(
        self, player, client, drain, query
    ) -> None:
        """I2: with a fresh signature, over HTTP, waiting for the result."""
        headers = {"Content-Type": "application/json", "Prefer": "wait=5", **player.headers}
        body = as_json(sign(player.account, "old", value=3))
        answer = client.post("/api/v1/scores/update", data=body, headers=headers)
        assert (answer.status_code, answer.headers["Idempotent-Replayed"]) == (200, "true")
        assert answer.json == {"action_id": "old", "status": "applied", "results": []}
        assert drain().applied == 0
        assert query("SELECT score FROM scores") == [(30,)]
        conflict = client.post(
            "/api/v1/scores/update", data=as_json(sign(player.account, "old", value=4)), headers=headers
        )
        assert conflict.json["code"] == "action_id_conflict"

    def test_its_state_is_applied_and_the_page_of_history_ends_before_it(self, player, client, submit, drain) -> None:
        submit(player.account, "new")
        drain()
        state = client.get("/api/v1/scores/updates/old", headers=player.headers).json
        assert state == {"action_id": "old", "status": "applied", "results": []}
        page = client.get("/api/v1/scores/me/history", headers=player.headers).json
        assert [entry["action_id"] for entry in page["entries"]] == ["new"]

    def test_what_still_waits_is_queued_however_old_it_is(self, player, submit, query, stores) -> None:
        submit(player.account, "waits")
        query("UPDATE inbox_keys SET accepted_at = accepted_at - interval '3 months'")
        with stores.engine.connect() as connection:
            assert ledger.outcome(connection, player.account.user_id, "waits").status == "queued"
            assert ledger.outcome(connection, player.account.user_id, "old").status == "applied"


def test_a_second_row_of_an_action_in_another_month_is_kept_out_by_the_key_of_the_inbox(
    stores, player, submit, drain, query, raw
) -> None:
    """I2 over months: the partitions' constraints end with the month, the inbox lets an action_id in once ever."""
    submit(player, "a-1")
    drain()
    raw.execute("ALTER TABLE score_history DETACH PARTITION score_history_first")
    forget.make_months(stores.engine)
    assert submit(player, "a-1").replayed
    assert drain().applied == 0
    assert query("SELECT count(*) FROM score_history") == [(0,)]
