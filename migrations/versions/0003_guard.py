"""What guards the scores: restrictions, incidents, quarantine, operators' acts, and the sealed chain over history."""

from __future__ import annotations

from alembic import op

revision = "0003"
down_revision = "0002"
branch_labels = None
depends_on = None

_USERS = """
ALTER TABLE users
    ADD COLUMN key_changed_at timestamptz,
    ADD COLUMN hidden_at timestamptz,
    ADD COLUMN erased_at timestamptz;
CREATE INDEX users_key_changed_at_idx ON users (key_changed_at) WHERE key_changed_at IS NOT NULL;
CREATE INDEX users_hidden_idx ON users (id) WHERE hidden_at IS NOT NULL;
"""

_RESTRICTIONS = """
CREATE TABLE restrictions (
    id uuid NOT NULL DEFAULT uuidv7() CONSTRAINT restrictions_pkey PRIMARY KEY,
    subject_kind text NOT NULL CONSTRAINT restrictions_subject_kind_check CHECK (subject_kind IN ('user', 'address')),
    subject text NOT NULL,
    kind text NOT NULL CONSTRAINT restrictions_kind_check CHECK (kind IN ('block', 'throttle', 'quarantine')),
    throttle_to text CONSTRAINT restrictions_throttle_check CHECK ((kind = 'throttle') = (throttle_to IS NOT NULL)),
    CONSTRAINT restrictions_quarantine_check CHECK (kind <> 'quarantine' OR subject_kind = 'user'),
    reason text NOT NULL,
    imposed_by text NOT NULL,
    incident uuid,
    imposed_at timestamptz NOT NULL DEFAULT clock_timestamp(),
    ends_at timestamptz,
    lifted_at timestamptz,
    lifted_by text,
    lifted_reason text,
    changed_at timestamptz NOT NULL DEFAULT clock_timestamp()
);
-- One of a kind stands for a subject; what has ended by itself counts as standing until it is extended or lifted.
CREATE UNIQUE INDEX restrictions_standing_key ON restrictions (subject_kind, subject, kind) WHERE lifted_at IS NULL;
CREATE INDEX restrictions_changed_at_idx ON restrictions (changed_at);
CREATE INDEX restrictions_quarantine_idx ON restrictions (subject) WHERE kind = 'quarantine' AND lifted_at IS NULL;

INSERT INTO restrictions (subject_kind, subject, kind, reason, imposed_by, imposed_at)
SELECT 'user', id::text, 'block', coalesce(nullif(blocked_reason, ''), 'blocked before reasons were kept'), 'operator',
    blocked_at
FROM users WHERE blocked_at IS NOT NULL;
DROP INDEX users_blocked_idx;
ALTER TABLE users DROP COLUMN blocked_at, DROP COLUMN blocked_reason;
"""

_INCIDENTS = """
CREATE TABLE incidents (
    id uuid NOT NULL DEFAULT uuidv7() CONSTRAINT incidents_pkey PRIMARY KEY,
    rule text NOT NULL,
    subject_kind text NOT NULL CONSTRAINT incidents_subject_kind_check CHECK (subject_kind IN ('user', 'address')),
    subject text NOT NULL,
    answer text NOT NULL,
    opened_at timestamptz NOT NULL DEFAULT clock_timestamp(),
    last_seen_at timestamptz NOT NULL DEFAULT clock_timestamp(),
    events bigint NOT NULL,
    suspicion double precision NOT NULL,
    evidence jsonb NOT NULL,
    told_at timestamptz,
    tries smallint NOT NULL DEFAULT 0,
    next_try_at timestamptz NOT NULL DEFAULT clock_timestamp(),
    closed_at timestamptz,
    closed_by text,
    closed_reason text
);
-- One is open for a rule and a subject, however long it goes on: a noisy client fills a row, not the table.
CREATE UNIQUE INDEX incidents_open_key ON incidents (rule, subject_kind, subject) WHERE closed_at IS NULL;
CREATE INDEX incidents_untold_idx ON incidents (next_try_at) WHERE told_at IS NULL;

-- Accepted updates of players in quarantine, as they stood in the inbox: released they go back there.
CREATE TABLE quarantine (
    user_id uuid NOT NULL,
    action_id text NOT NULL,
    shard smallint NOT NULL,
    action text NOT NULL,
    value bigint NOT NULL,
    signature bytea,
    nonce text,
    ip_address inet,
    request_id text NOT NULL,
    vouch bytea,
    accepted_at timestamptz NOT NULL,
    held_at timestamptz NOT NULL DEFAULT clock_timestamp(),
    CONSTRAINT quarantine_pkey PRIMARY KEY (user_id, action_id)
);
"""

_ACTS = """
-- What operators and rules did, each with its reason; append-only as history is, and sealed with it.
CREATE TABLE acts (
    id uuid NOT NULL DEFAULT uuidv7() CONSTRAINT acts_pkey PRIMARY KEY,
    operator text NOT NULL,
    act text NOT NULL,
    subject text NOT NULL,
    reason text NOT NULL,
    details jsonb NOT NULL DEFAULT '{}',
    created_at timestamptz NOT NULL DEFAULT clock_timestamp()
);
CREATE INDEX acts_created_at_idx ON acts USING brin (created_at) WITH (pages_per_range = 16);
CREATE INDEX acts_subject_idx ON acts (subject);
CREATE TRIGGER acts_append_only BEFORE UPDATE OR DELETE OR TRUNCATE ON acts
    FOR EACH STATEMENT EXECUTE FUNCTION refuse_history_change();

-- Each seals the rows of history and acts of a stretch of time: `leaves` are their ids and hashes (16 and 32 bytes
-- each), `root` is that of the Merkle tree over them (RFC 9162), `hash` binds it to the seal before, `signature` is
-- Ed25519 over that.
CREATE TABLE seals (
    number bigint NOT NULL CONSTRAINT seals_pkey PRIMARY KEY,
    upto timestamptz NOT NULL,
    rows integer NOT NULL,
    leaves bytea NOT NULL,
    root bytea NOT NULL,
    previous bytea NOT NULL,
    hash bytea NOT NULL,
    key_id text NOT NULL,
    signature bytea NOT NULL,
    sealed_at timestamptz NOT NULL
);
ALTER TABLE seals ALTER COLUMN leaves SET STORAGE EXTERNAL;
-- Which updates are void now, on which board, by which act; a void that was undone is only in the history.
CREATE TABLE voids (
    user_id uuid NOT NULL,
    action_id text NOT NULL,
    board text NOT NULL,
    act uuid NOT NULL,
    CONSTRAINT voids_pkey PRIMARY KEY (user_id, action_id, board)
);
-- How far work that goes through history in the order of time has come.
CREATE TABLE progress (name text NOT NULL CONSTRAINT progress_pkey PRIMARY KEY, upto timestamptz NOT NULL);
CREATE TRIGGER seals_append_only BEFORE UPDATE OR DELETE OR TRUNCATE ON seals
    FOR EACH STATEMENT EXECUTE FUNCTION refuse_history_change();
"""

#: In the order in which statements of the service take them, so that nobody waits for us who holds what we wait for.
_LOCKS = "LOCK TABLE inbox, dead_letters, users, score_history IN ACCESS EXCLUSIVE MODE"

# What came before has no code; the first seal closes over it.
_VOUCHED = """
ALTER TABLE inbox ADD COLUMN vouch bytea;
ALTER TABLE dead_letters ADD COLUMN vouch bytea;
ALTER TABLE score_history ADD COLUMN vouch bytea;
"""

# Addresses of the past are forgotten (privacy.py), and nothing else: the triggers let their column be emptied.
_HISTORY = """
CREATE INDEX score_history_created_at_idx ON score_history USING brin (created_at) WITH (autosummarize = on);

CREATE OR REPLACE FUNCTION refuse_history_change() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    RAISE EXCEPTION '% is append-only: % is refused', TG_TABLE_NAME, TG_OP USING ERRCODE = 'restrict_violation';
END $$;

CREATE FUNCTION guard_history_table(name text) RETURNS void LANGUAGE plpgsql AS $$
BEGIN
    EXECUTE format('DROP TRIGGER IF EXISTS score_history_append_only ON %I', name);
    EXECUTE format(
        'CREATE TRIGGER score_history_append_only BEFORE DELETE OR TRUNCATE OR UPDATE OF %s ON %I'
        ' FOR EACH STATEMENT EXECUTE FUNCTION refuse_history_change()',
        (SELECT string_agg(quote_ident(attname), ', ' ORDER BY attnum) FROM pg_attribute
            WHERE attrelid = 'score_history'::regclass AND attnum > 0 AND NOT attisdropped AND attname <> 'ip_address'),
        name
    );
END $$;
CREATE TRIGGER score_history_addresses BEFORE UPDATE OF ip_address ON score_history
    FOR EACH ROW WHEN (NEW.ip_address IS NOT NULL) EXECUTE FUNCTION refuse_history_change();
SELECT guard_history_table('score_history');
SELECT guard_history_table(inhrelid::regclass::text) FROM pg_inherits WHERE inhparent = 'score_history'::regclass;

CREATE OR REPLACE FUNCTION make_history_table(name text) RETURNS void LANGUAGE plpgsql AS $$
BEGIN
    EXECUTE format('CREATE TABLE %I (LIKE score_history INCLUDING DEFAULTS INCLUDING CONSTRAINTS)', name);
    EXECUTE format(
        'ALTER TABLE %I ADD CONSTRAINT %I PRIMARY KEY (user_id, board, season, version),'
        ' ADD CONSTRAINT %I UNIQUE (user_id, action_id, board)',
        name, name || '_pkey', name || '_action_key'
    );
    PERFORM guard_history_table(name);
END $$;
"""

_BACK = """
DROP TRIGGER score_history_addresses ON score_history;
DROP INDEX score_history_created_at_idx;

CREATE OR REPLACE FUNCTION make_history_table(name text) RETURNS void LANGUAGE plpgsql AS $$
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
DO $$ DECLARE name text; BEGIN
    FOR name IN SELECT 'score_history' UNION ALL
        SELECT inhrelid::regclass::text FROM pg_inherits WHERE inhparent = 'score_history'::regclass
    LOOP
        EXECUTE format('DROP TRIGGER score_history_append_only ON %I', name);
        EXECUTE format(
            'CREATE TRIGGER score_history_append_only BEFORE UPDATE OR DELETE OR TRUNCATE ON %I'
            ' FOR EACH STATEMENT EXECUTE FUNCTION refuse_history_change()', name
        );
    END LOOP;
END $$;
DROP FUNCTION guard_history_table(text);
ALTER TABLE score_history DROP COLUMN vouch;
ALTER TABLE dead_letters DROP COLUMN vouch;
ALTER TABLE inbox DROP COLUMN vouch;
CREATE OR REPLACE FUNCTION refuse_history_change() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    RAISE EXCEPTION 'score_history is append-only: % is refused', TG_OP USING ERRCODE = 'restrict_violation';
END $$;

-- What is held back goes on its way, as it was accepted; nothing holds it any more.
INSERT INTO inbox (shard, user_id, action_id, action, value, signature, nonce, ip_address, request_id, accepted_at)
SELECT shard, user_id, action_id, action, value, signature, nonce, ip_address, request_id, accepted_at
FROM quarantine ORDER BY accepted_at;

ALTER TABLE users ADD COLUMN blocked_at timestamptz, ADD COLUMN blocked_reason text;
UPDATE users SET blocked_at = r.imposed_at, blocked_reason = r.reason FROM restrictions r
WHERE r.subject_kind = 'user' AND r.kind = 'block' AND r.subject = users.id::text AND r.lifted_at IS NULL
    AND (r.ends_at IS NULL OR r.ends_at > now());
CREATE INDEX users_blocked_idx ON users (id) WHERE blocked_at IS NOT NULL;
ALTER TABLE users DROP COLUMN key_changed_at, DROP COLUMN hidden_at, DROP COLUMN erased_at;

DROP TABLE progress, seals, acts, voids, quarantine, incidents, restrictions;
"""


def upgrade() -> None:
    """Make room for what guards the scores."""
    op.execute(_LOCKS)
    op.execute(_USERS)
    op.execute(_RESTRICTIONS)
    op.execute(_INCIDENTS)
    op.execute(_ACTS)
    op.execute(_VOUCHED)
    op.execute(_HISTORY)


def downgrade() -> None:
    """Take it away: blocks stay, what was in quarantine is applied; incidents, acts and seals are gone."""
    op.execute(_LOCKS)
    op.execute(_BACK)
