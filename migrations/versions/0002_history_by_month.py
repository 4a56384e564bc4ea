"""History by month, and nonces that are forgotten once no signature of theirs is valid any more."""

from __future__ import annotations

from alembic import op

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None

#: In the order in which statements of the service take them, so that nobody waits for us who holds what we wait for.
_LOCKS = "LOCK TABLE inbox_keys, score_history IN ACCESS EXCLUSIVE MODE"

# What was accepted before is '-infinity', which costs no rewrite, except where its nonce may still matter.
_KEYS = """
ALTER TABLE inbox_keys ADD COLUMN accepted_at timestamptz NOT NULL DEFAULT '-infinity';
UPDATE inbox_keys k SET accepted_at = recent.accepted_at FROM (
    SELECT user_id, action_id, accepted_at FROM inbox
    UNION
    SELECT user_id, action_id, accepted_at FROM dead_letters WHERE accepted_at > now() - interval '2 days'
    UNION
    SELECT user_id, action_id, accepted_at FROM score_history WHERE accepted_at > now() - interval '2 days'
) recent
WHERE k.user_id = recent.user_id AND k.action_id = recent.action_id;
-- Nothing else says when somebody signed in: a day from now these are a day old at least.
UPDATE inbox_keys SET accepted_at = now() WHERE action = 'token' AND action_id LIKE 'token/%';
ALTER TABLE inbox_keys ALTER COLUMN accepted_at SET DEFAULT clock_timestamp();

-- Only rows that have a nonce are in it, so that one that is forgotten leaves both indexes.
ALTER TABLE inbox_keys DROP CONSTRAINT inbox_keys_nonce_key;
CREATE UNIQUE INDEX inbox_keys_nonce_key ON inbox_keys (user_id, nonce) WHERE nonce IS NOT NULL;
CREATE INDEX inbox_keys_accepted_at_idx ON inbox_keys (accepted_at) WHERE nonce IS NOT NULL;

CREATE INDEX cooldowns_until_idx ON cooldowns (until);
"""

# No row is moved: the table that was there becomes the first partition, up to the end of the month it has rows of.
_PARTITIONED = r"""
ALTER TABLE score_history RENAME TO score_history_first;
ALTER TABLE score_history_first RENAME CONSTRAINT score_history_pkey TO score_history_first_pkey;
ALTER TABLE score_history_first RENAME CONSTRAINT score_history_action_key TO score_history_first_action_key;

CREATE TABLE score_history (LIKE score_history_first INCLUDING DEFAULTS INCLUDING CONSTRAINTS)
    PARTITION BY RANGE (created_at);
-- PostgreSQL can only hold rows unique over all partitions by a key with `created_at` in it, which would say nothing.
-- So each partition has the two unique constraints of its own rows, and between partitions I2 and I4 are held by what
-- a row is made from: inbox_keys_pkey lets an action_id into the inbox once ever, apply.sql takes it out of there in
-- the transaction that writes its rows, and numbers each by scores.version under that score's row lock.
ALTER TABLE score_history
    -- True by construction: rows are only written beside the score they belong to, by one statement. Not enforced,
    -- since a look-up for each row would cost more than the row.
    ADD CONSTRAINT score_history_score_fkey FOREIGN KEY (user_id, board, season)
        REFERENCES scores (user_id, board, season) NOT ENFORCED,
    ADD CONSTRAINT score_history_user_fkey FOREIGN KEY (user_id) REFERENCES users (id) NOT ENFORCED;
CREATE TRIGGER score_history_append_only BEFORE UPDATE OR DELETE OR TRUNCATE ON score_history
    FOR EACH STATEMENT EXECUTE FUNCTION refuse_history_change();

DO $$ BEGIN
    EXECUTE format(
        'ALTER TABLE score_history ATTACH PARTITION score_history_first FOR VALUES FROM (MINVALUE) TO (%L)',
        date_add(
            date_trunc('month', greatest(now(), (SELECT max(created_at) FROM score_history_first)), 'UTC'),
            '1 month', 'UTC'
        )
    );
END $$;

-- Makes a table that can become a partition. Statement triggers and unique constraints are each table's own.
CREATE FUNCTION make_history_table(name text) RETURNS void LANGUAGE plpgsql AS $$
BEGIN
    EXECUTE format('CREATE TABLE %I (LIKE score_history INCLUDING DEFAULTS INCLUDING CONSTRAINTS)', name);
    EXECUTE format(
        'ALTER TABLE %I ADD CONSTRAINT %I PRIMARY KEY (user_id, board, season, version),'
        ' ADD CONSTRAINT %I UNIQUE (user_id, action_id, board)',
        name, name || '_pkey', name || '_action_key'
    );
    EXECUTE format(
        'CREATE TRIGGER score_history_append_only BEFORE UPDATE OR DELETE OR TRUNCATE ON %I'
        ' FOR EACH STATEMENT EXECUTE FUNCTION refuse_history_change()', name
    );
END $$;

-- Makes and attaches the partition of the month (in UTC) that holds an instant; returns its name. Attaching waits for
-- those who write, and stops them for a moment; it fails where the default partition has rows of that month.
CREATE FUNCTION make_history_month(instant timestamptz) RETURNS text LANGUAGE plpgsql AS $$
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

-- An insert never fails for want of a month.
SELECT make_history_table('score_history_default');
ALTER TABLE score_history ATTACH PARTITION score_history_default DEFAULT;

-- The partitions that are months, with their bounds: `since` is null for the first, `until` is no longer in it.
CREATE VIEW score_history_months AS
SELECT c.relname::text AS name,
    substring(bound FROM $$FROM \('([^']+)'\)$$)::timestamptz AS since,
    substring(bound FROM $$TO \('([^']+)'\)$$)::timestamptz AS until
FROM pg_inherits i JOIN pg_class c ON c.oid = i.inhrelid,
    LATERAL pg_get_expr(c.relpartbound, c.oid) AS bound
WHERE i.inhparent = 'score_history'::regclass AND bound <> 'DEFAULT';

SELECT make_history_month(month)
FROM (SELECT max(until) AS start FROM score_history_months) last,
    generate_series(start, date_add(start, '2 months', 'UTC'), '1 month', 'UTC') AS month;
"""

# Back to one table: every row is copied, and unique over all of them again.
_WHOLE = """
DROP VIEW score_history_months;
DROP FUNCTION make_history_month(timestamptz), make_history_table(text);
ALTER TABLE score_history RENAME TO score_history_months;
CREATE TABLE score_history (LIKE score_history_months INCLUDING DEFAULTS INCLUDING CONSTRAINTS);
INSERT INTO score_history SELECT * FROM score_history_months;
DROP TABLE score_history_months;
ALTER TABLE score_history
    ADD CONSTRAINT score_history_pkey PRIMARY KEY (user_id, board, season, version),
    ADD CONSTRAINT score_history_action_key UNIQUE (user_id, action_id, board),
    ADD CONSTRAINT score_history_score_fkey FOREIGN KEY (user_id, board, season)
        REFERENCES scores (user_id, board, season) NOT ENFORCED,
    ADD CONSTRAINT score_history_user_fkey FOREIGN KEY (user_id) REFERENCES users (id) NOT ENFORCED;
CREATE TRIGGER score_history_append_only BEFORE UPDATE OR DELETE OR TRUNCATE ON score_history
    FOR EACH STATEMENT EXECUTE FUNCTION refuse_history_change();
"""

_KEYS_WITHOUT_TIME = """
DROP INDEX cooldowns_until_idx, inbox_keys_accepted_at_idx, inbox_keys_nonce_key;
ALTER TABLE inbox_keys DROP COLUMN accepted_at, ADD CONSTRAINT inbox_keys_nonce_key UNIQUE (user_id, nonce);
"""


def upgrade() -> None:
    """Give keys their time, and history its months."""
    op.execute(_LOCKS)
    op.execute(_KEYS)
    op.execute(_PARTITIONED)


def downgrade() -> None:
    """Put the months together again; nonces that were forgotten stay so, months that were detached stay out."""
    op.execute(_LOCKS)
    op.execute(_WHOLE)
    op.execute(_KEYS_WITHOUT_TIME)
