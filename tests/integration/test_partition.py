"""Scores and months in parts by player: made while everybody plays, whole in every respect, and one table again."""

from __future__ import annotations

import psycopg
import pytest

from migrations import __main__ as command_line
from migrations import partition
from migrations.partition import PartitionRefused
from models.pipeline import forget
from models.pipeline.ledger import Window, Worth, apply
from models.storage.database import open_connection
from tests.fixtures.people import server_update
from tests.fixtures.servers import PARTS, in_parts
from tests.fixtures.service import Query, environment_for
from tests.fixtures.threads import background

Raw = psycopg.Connection[tuple[object, ...]]


def parted(url: str, parts: int, **options: bool) -> list[str]:
    """Run it; returns what it said."""
    said: list[str] = []
    partition.partition(url, parts, said.append, **options)
    return said


def promises(raw: Raw) -> list[tuple[object, ...]]:
    """What scores and history promise: constraints, indexes, columns, and who refers to scores."""
    return raw.execute(
        "SELECT conrelid::regclass::text, conname, pg_get_constraintdef(oid) FROM pg_constraint"
        " WHERE 'scores'::regclass IN (conrelid, confrelid) AND conparentid = 0"
        " UNION ALL SELECT 'index', i::regclass::text, replace(pg_get_indexdef(i), ' ONLY', '') FROM pg_index,"
        "   LATERAL (SELECT indexrelid) AS t (i) WHERE indrelid = 'scores'::regclass"
        " UNION ALL SELECT 'column', attname,"
        "   concat_ws(' ', atttypid::regtype, attnotnull, pg_get_expr(adbin, adrelid))"
        "   FROM pg_attribute LEFT JOIN pg_attrdef ON adrelid = attrelid AND adnum = attnum"
        "   WHERE attrelid = 'scores'::regclass AND attnum > 0 AND NOT attisdropped ORDER BY 1, 2, 3"
    ).fetchall()


def test_it_is_done_while_everybody_plays_and_nothing_is_lost_doubled_or_refused(
    database_url, stores, players, drain, query, raw, eventually
) -> None:
    """I3, I4: there and back, under updates and drains that know nothing of it."""
    people = players(40)
    before = promises(raw)
    stop: list[bool] = []
    failed: list[BaseException] = []
    sent: list[int] = []
    worker = stores.drain()

    def play() -> None:
        try:
            while not stop:
                stores.acceptor.accept_batch([server_update(p) for p in people], address=None, request_id="b")
                sent.append(len(people))
                worker.drain(0)
        except psycopg.Error as error:
            failed.append(error)

    thread = background(play)
    try:
        for parts in (PARTS, 3, 1):
            assert any("copied" in sentence for sentence in parted(database_url, parts))
            assert query("SELECT score_parts()") == [(parts,)]
            assert promises(raw) == before
            reached = len(sent)
            eventually(lambda reached=reached: len(sent) >= reached + 3 or failed, 20)
    finally:
        stop.append(True)
        thread.join(20)
    worker.close()
    drain()
    assert failed == []
    rows = sum(sent)
    assert query("SELECT count(*), count(DISTINCT (user_id, action_id)) FROM score_history") == [(rows, rows)]
    assert query(
        "SELECT count(*) FROM scores s JOIN (SELECT user_id, sum(score_increment) AS sum, count(*) AS rows"
        " FROM score_history GROUP BY 1) h USING (user_id) WHERE (s.score, s.version) = (h.sum, h.rows)"
    ) == [(len(people),)]
    assert [entry.score for entry in stores.ranking.top("global", 40).entries] == [10 * len(sent)] * 40
    assert query("SELECT to_regclass('scores_copy'), to_regclass('scores_before'), to_regproc('scores_follow')") == [
        (None, None, None)
    ]


def test_months_to_come_follow_and_those_with_rows_stay(database_url, stores, submit, player, drain, query) -> None:
    submit(player)
    drain()
    parted(database_url, PARTS)
    parts_of_months = (
        "SELECT since IS NULL, (SELECT count(*) FROM pg_inherits WHERE inhparent = name::regclass)"
        " FROM score_history_months ORDER BY until"
    )
    assert query(parts_of_months) == [(True, 0)] + [(False, PARTS)] * 3
    query("DROP TABLE " + newest_month(query))
    assert len(forget.make_months(stores.engine)) == 1
    assert query(parts_of_months) == [(True, 0)] + [(False, PARTS)] * 3
    submit(player)
    drain()
    assert query("SELECT DISTINCT tableoid::regclass::text FROM score_history") == [("score_history_first",)]
    assert "already" in parted(database_url, PARTS)[0]
    parted(database_url, 1)
    assert query(parts_of_months) == [(True, 0)] + [(False, 0)] * 3


@pytest.mark.parametrize("score_parts", [PARTS], indirect=True)
def test_an_update_opens_its_players_parts_and_no_others(
    score_parts, stores, player, submit_batch, raw, database_url
) -> None:
    """What a partitioned table costs are the parts that a statement opens: of four it is one, in both tables."""
    submit_batch([server_update(player)])
    stores.registry.seasons()
    with open_connection(database_url) as connection:
        apply(
            connection, shard=0, window=Window(10), worths=[Worth("level_complete", "global", 1, 10)], refreshed=[]
        ).fetchall()
        [(backend,)] = connection.execute("SELECT pg_backend_pid()").fetchall()
        opened = raw.execute(
            "SELECT relname FROM pg_locks JOIN pg_class ON oid = relation WHERE pid = %s AND relkind = 'r'"
            " AND relname ~ '^score' ORDER BY 1",
            (backend,),
        ).fetchall()
        connection.rollback()
    assert len(opened) == 2, opened
    [(month,), (score,)] = opened
    assert month.startswith("score_history_first_")
    assert score.startswith(f"scores_{PARTS}_")
    assert month[-1] == score[-1], "both are parted alike"


@pytest.mark.parametrize("score_parts", [PARTS], indirect=True)
@pytest.mark.parametrize("change", ["UPDATE {} SET new_score = 0", "DELETE FROM {}", "TRUNCATE {}"])
def test_each_part_is_append_only(score_parts, submit, players, drain, raw, change) -> None:
    """I4: statement triggers are each table's own."""
    for each in players(8):
        submit(each)
    drain()
    tables = raw.execute("SELECT relid::regclass::text FROM pg_partition_tree('score_history')").fetchall()
    assert len(tables) == 1 + 1 + 4 * (1 + PARTS)
    for (table,) in tables:
        with pytest.raises(psycopg.errors.RestrictViolation):
            raw.execute(change.format(table))


@in_parts
def test_an_action_cannot_be_put_into_another_months_or_parts_row_twice(
    score_parts, submit, player, drain, raw
) -> None:
    """I2: keys begin with the player, so a player's rows of a month are all in one part, under its constraints."""
    submit(player, "a-1")
    drain()
    again = '{"version": 2}'
    with pytest.raises(psycopg.errors.UniqueViolation):
        raw.execute("INSERT INTO score_history SELECT (jsonb_populate_record(h, %s)).* FROM score_history h", (again,))


def test_a_rehearsal_tells_and_changes_nothing(database_url, raw) -> None:
    before = promises(raw)
    said = "\n".join(parted(database_url, PARTS, rehearse=True))
    assert "from one part to 4 parts" in said
    assert "accepting does not" in said
    assert promises(raw) == before
    assert raw.execute("SELECT score_parts()").fetchall() == [(1,)]


@pytest.mark.parametrize(
    ("made", "named"),
    [
        ("CREATE VIEW best AS SELECT max(score) FROM scores", "the view or rule best"),
        (
            "CREATE TRIGGER theirs BEFORE UPDATE ON scores EXECUTE FUNCTION suppress_redundant_updates_trigger()",
            "the trigger theirs",
        ),
        ("CREATE INDEX theirs ON scores (last_action_at)", "the index theirs"),
        (
            "CREATE TABLE prizes (u uuid, b text, s int, CONSTRAINT p_fkey FOREIGN KEY (u, b, s) REFERENCES scores)",
            "the foreign key p_fkey of prizes",
        ),
        ("GRANT SELECT (score) ON scores TO PUBLIC", "rights on the column score"),
    ],
)
def test_what_others_hung_on_scores_is_named_and_nothing_is_changed(database_url, raw, made, named) -> None:
    raw.execute(made)
    with pytest.raises(PartitionRefused, match=named):
        parted(database_url, PARTS)
    assert raw.execute("SELECT score_parts(), to_regclass('scores_copy')").fetchall() == [(1, None)]


@pytest.mark.parametrize(
    ("parts_wanted", "before", "said"),
    [
        (0, "", "takes 1 to 64"),
        (65, "", "takes 1 to 64"),
        (4, "UPDATE alembic_version SET version_num = '0003'", "is at revision 0003"),
    ],
)
def test_it_is_refused_where_it_makes_no_sense(database_url, raw, parts_wanted, before, said) -> None:
    if before:
        raw.execute(before)
    with pytest.raises(PartitionRefused, match=said):
        parted(database_url, parts_wanted)


def test_two_at_once_are_one(database_url, raw) -> None:
    raw.execute("SELECT pg_advisory_lock(%s)", (partition.LOCK_KEY,))
    with pytest.raises(PartitionRefused, match="another"):
        parted(database_url, PARTS)


@pytest.mark.parametrize("step", ["_follow", "_copy", "_change_names", "_make_anew"])
def test_dying_at_any_step_leaves_scores_as_they_were_and_the_next_run_goes_on(
    database_url, monkeypatch, submit, player, drain, query, raw, step
) -> None:
    def die(*_: object) -> None:
        raise SystemExit("kill -9, as near as a test gets")

    submit(player)
    drain()
    before = promises(raw)
    with monkeypatch.context() as dying:
        dying.setattr(partition, step, die)
        with pytest.raises(SystemExit):
            parted(database_url, PARTS)
    submit(player)
    assert drain().applied == 1
    assert promises(raw) == before
    parted(database_url, PARTS)
    submit(player)
    drain()
    assert query("SELECT score, version FROM scores") == [(30, 3)]
    assert query("SELECT score_parts()") == [(PARTS,)]
    assert promises(raw) == before
    parted(database_url, 1)


def test_who_holds_a_lock_is_waited_for_in_turns(database_url, raw, query) -> None:
    raw.execute("BEGIN")
    raw.execute("SELECT count(*) FROM scores")
    going = background(lambda: parted(database_url, PARTS))
    going.join(partition.LOCK_SECONDS * 2)
    assert going.is_alive()
    raw.execute("ROLLBACK")
    going.join(20)
    assert query("SELECT score_parts()") == [(PARTS,)]


def test_rights_on_scores_are_kept(database_url, raw, admin) -> None:
    admin.execute("DO $$ BEGIN IF to_regrole('reader') IS NULL THEN CREATE ROLE reader; END IF; END $$")
    raw.execute("GRANT SELECT ON scores TO reader WITH GRANT OPTION")
    raw.execute("GRANT INSERT ON scores TO PUBLIC")
    rights = "SELECT * FROM aclexplode((SELECT relacl FROM pg_class WHERE oid = 'scores'::regclass)) ORDER BY 2, 3"
    before = raw.execute(rights).fetchall()
    parted(database_url, PARTS)
    assert raw.execute(rights).fetchall() == before


def test_the_command_tells_what_it_does(database_url, tmp_path, monkeypatch, capsys) -> None:
    for name, value in environment_for(database_url, "redis://nobody", tmp_path).items():
        monkeypatch.setenv(name, value)
    assert command_line.main(["partition", "--by-user", "4"]) == 0
    assert "scores are in 4 parts; applying waited" in capsys.readouterr().out
    assert command_line.main(["partition", "--by-user", "1000"]) == 1
    assert capsys.readouterr().err == "Nothing was changed: --by-user takes 1 to 64, not 1000.\n"


def newest_month(query: Query) -> str:
    return str(query("SELECT name FROM score_history_months ORDER BY until DESC LIMIT 1")[0][0])
