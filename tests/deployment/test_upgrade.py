"""The next version, with a migration, takes over from this one while players, readers and sockets go on.

The short form of `python -m tests.faults.upgrade`, which says what the next version is.
"""

from __future__ import annotations

import shutil
import time
from pathlib import Path
from typing import Any

import psycopg
import pytest

from migrations.safety.check import check
from tests.faults.checker import judge
from tests.faults.ledger import Ledger
from tests.faults.players import Crowd
from tests.faults.spectators import Spectators
from tests.faults.upgrade import migrate, next_version, version_before
from tests.faults.ways import Ways
from tests.fixtures.live_stack import running_stack
from tests.fixtures.servers import connect

PAUSE_SECONDS = 0.5


class Database:
    """What the checker asks."""

    def __init__(self, connection: psycopg.Connection[tuple[object, ...]]) -> None:
        self._connection = connection

    def query(self, statement: str, parameters: dict[str, object] | None = None) -> list[tuple[Any, ...]]:
        return self._connection.execute(statement, parameters).fetchall()


@pytest.mark.slow
@pytest.mark.timeout(240)  # some 15 s; seven processes are started, and five of them twice
def test_a_next_version_and_its_migration_take_over_and_no_request_fails(
    postgres_server: str, template: str, servers_folder: Path, tmp_path: Path
) -> None:
    with (
        version_before() as tree,
        running_stack(
            "upgrade", postgres_server, template, servers_folder, tmp_path, tree=tree, WEB_PROCESSES="1"
        ) as stack,
        connect(stack.settings.database_url) as connection,
    ):
        database, ledger = Database(connection), Ledger()
        crowd = Crowd(Ways([stack.api_url]), ledger, clients=8, users=8, per_second=8.0, seed=1)
        crowd.hanging_up, crowd.resending = 0.0, True
        spectators = Spectators(Ways([stack.sockets_url]), ledger, count=4)
        spectators.start()
        crowd.start()
        time.sleep(PAUSE_SECONDS)
        with next_version(tree) as following:
            migrate(following, stack.environ)
            time.sleep(PAUSE_SECONDS)
            [(by_before,)] = database.query("SELECT count(*) FROM inbox_keys WHERE let_in_by IS NULL")
            shutil.copytree(following, tree, dirs_exist_ok=True)
            for name in ("web", "sockets"):
                stack.reload(name)
            for name in ("worker", "beat"):
                stack.stop(name)
                stack.start(name)
        stack.wait_ready()
        time.sleep(PAUSE_SECONDS)
        crowd.stop()
        verdict = judge(ledger, database, Ways([stack.api_url]), spectators)  # type: ignore[arg-type]
        spectators.stop()
        calls = [*ledger.calls, *ledger.others]
        assert [call for call in calls if call.status == 0 or call.status >= 500] == []
        assert (verdict.lost, verdict.doubled, verdict.wrong) == ([], [], [])
        assert set(spectators.codes) <= {1001}
        [(by_next, applied)] = database.query(
            "SELECT count(*) FILTER (WHERE let_in_by = 'the next version'),"
            " (SELECT count(*) FROM scores WHERE applied_by = 'the next version') FROM inbox_keys"
        )
        assert by_before > 0, "the version before served on the next one's tables"
        assert by_next > 0
        assert applied > 0, "and the next one took over"


def test_the_migration_of_that_upgrade_is_one_that_the_check_lets_through(postgres_server: str) -> None:
    with version_before() as tree, next_version(tree) as following:
        assert check(postgres_server, scripts=str(following / "migrations")) == []
