-- Forgets the oldest nonces that are past their time: of an action the row stays without it, and leaves both indexes of
-- nonces; of a sign-in nothing else is in the row. Rows somebody else holds are left for the next time.
WITH old AS MATERIALIZED (
    SELECT ctid, starts_with(action_id, :sign_ins) AS is_sign_in
    FROM inbox_keys
    WHERE nonce IS NOT NULL AND accepted_at < now() - make_interval(secs => :seconds)
    ORDER BY accepted_at LIMIT :most FOR UPDATE SKIP LOCKED
),
sign_ins AS (
    DELETE FROM inbox_keys WHERE ctid = ANY (ARRAY(SELECT ctid FROM old WHERE is_sign_in)) RETURNING 1
),
actions AS (
    UPDATE inbox_keys SET nonce = NULL WHERE ctid = ANY (ARRAY(SELECT ctid FROM old WHERE NOT is_sign_in)) RETURNING 1
)
SELECT (SELECT count(*) FROM sign_ins) + (SELECT count(*) FROM actions)
