"""The first tables: players, boards, the inbox, scores and their append-only history."""

from __future__ import annotations

from alembic import op

revision = "0001"
down_revision = None
branch_labels = None
depends_on = None

_TABLES = """
CREATE TABLE users (
    id uuid NOT NULL DEFAULT gen_random_uuid() CONSTRAINT users_pkey PRIMARY KEY,
    username text NOT NULL,
    email text NOT NULL,
    secret_key bytea NOT NULL,
    secret_key_kid text NOT NULL,
    blocked_at timestamptz,
    blocked_reason text,
    created_at timestamptz NOT NULL DEFAULT now(),
    updated_at timestamptz NOT NULL DEFAULT now()
);
CREATE UNIQUE INDEX users_username_key ON users (lower(username));
CREATE UNIQUE INDEX users_email_key ON users (lower(email));
CREATE INDEX users_blocked_idx ON users (id) WHERE blocked_at IS NOT NULL;

CREATE TABLE boards (
    name text NOT NULL CONSTRAINT boards_pkey PRIMARY KEY,
    title text NOT NULL,
    season integer NOT NULL DEFAULT 1,
    created_at timestamptz NOT NULL DEFAULT now(),
    updated_at timestamptz NOT NULL DEFAULT now()
);

CREATE TABLE seasons (
    board text NOT NULL CONSTRAINT seasons_board_fkey REFERENCES boards (name),
    number integer NOT NULL,
    ranking_epoch integer NOT NULL DEFAULT 0,
    starts_at timestamptz NOT NULL DEFAULT now(),
    ends_at timestamptz,
    CONSTRAINT seasons_pkey PRIMARY KEY (board, number)
);

CREATE TABLE scores (
    id uuid NOT NULL DEFAULT uuidv7(),
    user_id uuid NOT NULL CONSTRAINT scores_user_id_fkey REFERENCES users (id),
    board text NOT NULL,
    season integer NOT NULL,
    score bigint NOT NULL,
    version bigint NOT NULL,
    last_action_id text NOT NULL,
    last_action_at timestamptz NOT NULL,
    reached_at timestamptz,
    created_at timestamptz NOT NULL DEFAULT now(),
    updated_at timestamptz NOT NULL DEFAULT now(),
    CONSTRAINT scores_pkey PRIMARY KEY (user_id, board, season),
    CONSTRAINT scores_board_fkey FOREIGN KEY (board, season) REFERENCES seasons (board, number)
) WITH (fillfactor = 80);
CREATE INDEX scores_ranking_idx ON scores (board, season);

CREATE TABLE score_history (
    id uuid NOT NULL DEFAULT uuidv7(),
    user_id uuid NOT NULL,
    board text NOT NULL,
    season integer NOT NULL,
    version bigint NOT NULL,
    action_id text NOT NULL,
    action text NOT NULL,
    value bigint NOT NULL,
    score_increment bigint NOT NULL,
    previous_score bigint NOT NULL,
    new_score bigint NOT NULL,
    signature bytea,
    nonce text,
    ip_address inet,
    request_id text NOT NULL,
    accepted_at timestamptz NOT NULL,
    -- Not now(): a transaction that waited for the shard's lock began before the one whose rows stand before its own.
    created_at timestamptz NOT NULL DEFAULT statement_timestamp(),
    CONSTRAINT score_history_pkey PRIMARY KEY (user_id, board, season, version),
    CONSTRAINT score_history_action_key UNIQUE (user_id, action_id, board),
    CONSTRAINT score_history_sum_check CHECK (previous_score + score_increment = new_score),
    -- True by construction: rows are only written beside the score they belong to, by one statement. Not enforced,
    -- since a look-up for each row would cost more than the row.
    CONSTRAINT score_history_score_fkey FOREIGN KEY (user_id, board, season)
        REFERENCES scores (user_id, board, season) NOT ENFORCED,
    CONSTRAINT score_history_user_fkey FOREIGN KEY (user_id) REFERENCES users (id) NOT ENFORCED
);

CREATE FUNCTION refuse_history_change() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    RAISE EXCEPTION 'score_history is append-only: % is refused', TG_OP USING ERRCODE = 'restrict_violation';
END $$;
CREATE TRIGGER score_history_append_only BEFORE UPDATE OR DELETE OR TRUNCATE ON score_history
    FOR EACH STATEMENT EXECUTE FUNCTION refuse_history_change();

CREATE TABLE inbox_keys (
    user_id uuid NOT NULL,
    action_id text NOT NULL,
    nonce text,
    action text NOT NULL,
    value bigint NOT NULL,
    CONSTRAINT inbox_keys_pkey PRIMARY KEY (user_id, action_id),
    CONSTRAINT inbox_keys_nonce_key UNIQUE (user_id, nonce)
);

CREATE TABLE told_ranks (
    user_id uuid NOT NULL,
    action_id text NOT NULL,
    ranks jsonb NOT NULL,
    CONSTRAINT told_ranks_pkey PRIMARY KEY (user_id, action_id)
);

CREATE TABLE inbox (
    seq bigint NOT NULL GENERATED ALWAYS AS IDENTITY,
    shard smallint NOT NULL,
    user_id uuid NOT NULL,
    action_id text NOT NULL,
    action text NOT NULL,
    value bigint NOT NULL,
    signature bytea,
    nonce text,
    ip_address inet,
    request_id text NOT NULL,
    attempts smallint NOT NULL DEFAULT 0,
    accepted_at timestamptz NOT NULL DEFAULT clock_timestamp(),
    CONSTRAINT inbox_pkey PRIMARY KEY (shard, seq)
) WITH (autovacuum_vacuum_scale_factor = 0, autovacuum_vacuum_threshold = 20000);

CREATE TABLE cooldowns (
    user_id uuid NOT NULL,
    action text NOT NULL,
    until timestamptz NOT NULL,
    CONSTRAINT cooldowns_pkey PRIMARY KEY (user_id, action)
);

CREATE TABLE dead_letters (
    user_id uuid NOT NULL,
    action_id text NOT NULL,
    code text NOT NULL,
    detail text NOT NULL,
    attempts smallint NOT NULL,
    shard smallint NOT NULL,
    action text NOT NULL,
    value bigint NOT NULL,
    signature bytea,
    nonce text,
    ip_address inet,
    request_id text NOT NULL,
    accepted_at timestamptz NOT NULL,
    parked_at timestamptz NOT NULL DEFAULT now(),
    CONSTRAINT dead_letters_pkey PRIMARY KEY (user_id, action_id)
);

CREATE TABLE refreshes (
    id bigint NOT NULL GENERATED ALWAYS AS IDENTITY CONSTRAINT refreshes_pkey PRIMARY KEY,
    user_ids uuid[] NOT NULL,
    created_at timestamptz NOT NULL DEFAULT now()
);

CREATE TABLE token_families (
    family uuid NOT NULL CONSTRAINT token_families_pkey PRIMARY KEY,
    user_id uuid NOT NULL CONSTRAINT token_families_user_id_fkey REFERENCES users (id),
    refresh_jti uuid NOT NULL,
    expires_at timestamptz NOT NULL
);
CREATE INDEX token_families_expires_at_idx ON token_families (expires_at);

CREATE TABLE revoked_tokens (
    token uuid NOT NULL CONSTRAINT revoked_tokens_pkey PRIMARY KEY,
    reason text NOT NULL,
    expires_at timestamptz NOT NULL,
    revoked_at timestamptz NOT NULL DEFAULT now()
);
CREATE INDEX revoked_tokens_revoked_at_idx ON revoked_tokens (revoked_at);
CREATE INDEX revoked_tokens_expires_at_idx ON revoked_tokens (expires_at);
"""


def upgrade() -> None:
    """Make the tables."""
    op.execute(_TABLES)


def downgrade() -> None:
    """Drop them, and all that is in them."""
    op.execute(
        "DROP TABLE revoked_tokens, token_families, refreshes, dead_letters, cooldowns, inbox, told_ranks, inbox_keys,"
        " score_history, scores, seasons, boards, users"
    )
    op.execute("DROP FUNCTION refuse_history_change()")
