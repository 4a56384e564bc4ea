"""Months of history can have parts by player: as many as `scores` has, from the next month that is made.

Only functions change: no table is locked. How `scores` gets its parts is `python -m migrations partition`.
"""

from __future__ import annotations

from alembic import op

revision = "0004"
down_revision = "0003"
branch_labels = None
depends_on = None

#: The version that brings it; `python -m migrations.safety` says what this is for.
release = "1.1.0"

_PARTS = r"""
-- How many parts scores are kept in; months of history that are made from now on have as many.
CREATE FUNCTION score_parts() RETURNS integer LANGUAGE sql STABLE AS $$
    SELECT greatest(1, count(*))::integer FROM pg_inherits WHERE inhparent = 'scores'::regclass
$$;

-- Makes a table in so many parts by player, that can become a partition. Its unique constraints begin with user_id, so
-- they hold over all parts. Statement triggers are each table's own.
CREATE FUNCTION make_history_parts(name text, parts integer) RETURNS void LANGUAGE plpgsql AS $$
BEGIN
    EXECUTE format(
        'CREATE TABLE %I (LIKE score_history INCLUDING DEFAULTS INCLUDING CONSTRAINTS)'
        ' PARTITION BY HASH (user_id)', name
    );
    EXECUTE format(
        'ALTER TABLE %I ADD CONSTRAINT %I PRIMARY KEY (user_id, board, season, version),'
        ' ADD CONSTRAINT %I UNIQUE (user_id, action_id, board)',
        name, name || '_pkey', name || '_action_key'
    );
    PERFORM guard_history_table(name);
    FOR part IN 0 .. parts - 1 LOOP
        PERFORM make_history_table(format('%s_%s', name, part));
        EXECUTE format(
            'ALTER TABLE %I ATTACH PARTITION %I FOR VALUES WITH (MODULUS %s, REMAINDER %s)',
            name, format('%s_%s', name, part), parts, part
        );
    END LOOP;
END $$;

CREATE OR REPLACE FUNCTION make_history_month(instant timestamptz) RETURNS text LANGUAGE plpgsql AS $$
DECLARE
    first timestamptz := date_trunc('month', instant, 'UTC');
    name text := to_char(first AT TIME ZONE 'UTC', '"score_history_"YYYY_MM');
BEGIN
    IF score_parts() = 1 THEN
        PERFORM make_history_table(name);
    ELSE
        PERFORM make_history_parts(name, score_parts());
    END IF;
    EXECUTE format(
        'ALTER TABLE score_history ATTACH PARTITION %I FOR VALUES FROM (%L) TO (%L)',
        name, first, date_add(first, '1 month', 'UTC')
    );
    RETURN name;
END $$;
"""

# Each month becomes one table again, and so do the scores: every row is copied.
_WHOLE = r"""
LOCK TABLE scores, score_history IN ACCESS EXCLUSIVE MODE;

DO $$ DECLARE month record; BEGIN
    FOR month IN
        SELECT c.relname AS name, pg_get_expr(c.relpartbound, c.oid) AS bound
        FROM pg_inherits i JOIN pg_class c ON c.oid = i.inhrelid
        WHERE i.inhparent = 'score_history'::regclass AND c.relkind = 'p'
    LOOP
        PERFORM make_history_table('score_history_whole');
        EXECUTE format('INSERT INTO score_history_whole SELECT * FROM %I', month.name);
        EXECUTE format('DROP TABLE %I', month.name);
        EXECUTE format('ALTER TABLE score_history_whole RENAME TO %I', month.name);
        EXECUTE format(
            'ALTER TABLE %I RENAME CONSTRAINT score_history_whole_pkey TO %I', month.name, month.name || '_pkey'
        );
        EXECUTE format(
            'ALTER TABLE %I RENAME CONSTRAINT score_history_whole_action_key TO %I',
            month.name, month.name || '_action_key'
        );
        EXECUTE format('ALTER TABLE score_history ATTACH PARTITION %I %s', month.name, month.bound);
    END LOOP;
END $$;

DO $$ DECLARE reference record; BEGIN
    IF (SELECT relkind FROM pg_class WHERE oid = 'scores'::regclass) = 'r' THEN
        RETURN;
    END IF;
    CREATE TEMPORARY TABLE referring ON COMMIT DROP AS
        SELECT conrelid::regclass AS name, conname, pg_get_constraintdef(oid) AS definition
        FROM pg_constraint WHERE confrelid = 'scores'::regclass AND conparentid = 0;
    FOR reference IN SELECT * FROM referring LOOP
        EXECUTE format('ALTER TABLE %s DROP CONSTRAINT %I', reference.name, reference.conname);
    END LOOP;
    ALTER TABLE scores RENAME TO scores_in_parts;
    CREATE TABLE scores (LIKE scores_in_parts INCLUDING DEFAULTS) WITH (fillfactor = 80);
    INSERT INTO scores SELECT * FROM scores_in_parts;
    DROP TABLE scores_in_parts;
    ALTER TABLE scores
        ADD CONSTRAINT scores_pkey PRIMARY KEY (user_id, board, season),
        ADD CONSTRAINT scores_user_id_fkey FOREIGN KEY (user_id) REFERENCES users (id),
        ADD CONSTRAINT scores_board_fkey FOREIGN KEY (board, season) REFERENCES seasons (board, number);
    CREATE INDEX scores_ranking_idx ON scores (board, season);
    FOR reference IN SELECT * FROM referring LOOP
        EXECUTE format('ALTER TABLE %s ADD CONSTRAINT %I %s', reference.name, reference.conname, reference.definition);
    END LOOP;
END $$;
"""

_BACK = r"""
CREATE OR REPLACE FUNCTION make_history_month(instant timestamptz) RETURNS text LANGUAGE plpgsql AS $$
DECLARE
    first timestamptz := date_trunc('month', instant, 'UTC');
    name text := to_char(first AT TIME ZONE 'UTC', '"score_history_"YYYY_MM');
BEGIN
    PERFORM make_history_table(name);
    EXECUTE format(
        'ALTER TABLE score_history ATTACH PARTITION %I FOR VALUES FROM (%L) TO (%L)',
        name, first, date_add(first, '1 month', 'UTC')
    );
    RETURN name;
END $$;
DROP FUNCTION make_history_parts(text, integer), score_parts();
"""


def upgrade() -> None:
    """Let months have parts."""
    op.execute(_PARTS)


def downgrade() -> None:
    """Put all parts together again."""
    op.execute(_WHOLE)
    op.execute(_BACK)
