-- Applies the oldest updates of a shard: one statement and so one transaction for inbox, scores and history (I3).
-- The caller holds the shard's lock. Whatever the size of the batch, the number of statements is one.
--   claimed    leaves the inbox here; comes back whole if anything below fails
--   held       what a player in quarantine sent waits there for an operator, with its place in the order of acceptance
--   parked     what the catalogue does not know is kept with its reason, never dropped
--   credited   one row an update and board
--   summed     scores are locked in one order (user, board), so that two batches cannot wait for each other
--   appended   previous and new score follow from the score after the batch and what comes later in it (I4)
--   marked     says that Redis is to be told; taken away when it was (settles earlier batches' marks too)
-- Rows' ids are UUIDs of version 7 whose last 32 bits count them (RFC 9562, 6.2): the default, which draws random bits
-- for each, takes 4 of a row's 30 µs in each of the two tables.
WITH claimed AS MATERIALIZED (
    DELETE FROM inbox
    WHERE ctid = ANY (ARRAY(
        SELECT ctid FROM inbox
        WHERE shard = %(shard)s AND seq > %(after)s AND seq <= %(upto)s ORDER BY seq LIMIT %(most)s
    ))
    RETURNING *
),
quarantined AS MATERIALIZED (
    SELECT subject::uuid AS user_id FROM restrictions
    WHERE kind = 'quarantine' AND lifted_at IS NULL AND (ends_at IS NULL OR ends_at > clock_timestamp())
),
held AS (
    INSERT INTO quarantine (user_id, action_id, shard, action, value, signature, nonce, ip_address, request_id, vouch,
        accepted_at)
    SELECT user_id, action_id, shard, action, value, signature, nonce, ip_address, request_id, vouch, accepted_at
    FROM claimed WHERE user_id IN (SELECT user_id FROM quarantined)
    RETURNING 1
),
ids AS MATERIALIZED (
    SELECT left(uuidv7()::text, 28) AS prefix
),
written AS MATERIALIZED (  -- after all that is or will be sealed, whatever the clock says: a seal never gains a row
    SELECT greatest(statement_timestamp(), (SELECT upto FROM progress WHERE name = 'sealing')
        + interval '1 microsecond') AS instant
),
worth AS (
    SELECT * FROM unnest(%(actions)s::text[], %(boards)s::text[], %(seasons)s::integer[], %(points)s::bigint[])
        AS t (action, board, season, points)
),
parked AS (
    INSERT INTO dead_letters (user_id, action_id, code, detail, attempts, shard, action, value, signature, nonce,
        ip_address, request_id, vouch, accepted_at)
    SELECT user_id, action_id, 'action_unknown', 'The catalogue has no action of that name any more.', attempts + 1,
        shard, action, value, signature, nonce, ip_address, request_id, vouch, accepted_at
    FROM claimed WHERE action NOT IN (SELECT action FROM worth) AND user_id NOT IN (SELECT user_id FROM quarantined)
    RETURNING 1
),
credited AS MATERIALIZED (
    SELECT c.*, w.board, w.season, c.value * w.points AS increment
    FROM claimed c JOIN worth w ON w.action = c.action
    WHERE c.user_id NOT IN (SELECT user_id FROM quarantined)
),
running AS MATERIALIZED (
    SELECT *,
        sum(increment) OVER later AS tail,
        row_number() OVER later AS nth_from_last
    FROM credited
    WINDOW later AS (PARTITION BY user_id, board, season ORDER BY seq DESC ROWS UNBOUNDED PRECEDING)
),
totals AS (
    SELECT user_id, board, season, sum(increment)::bigint AS increment, count(*) AS changes,
        max(accepted_at) FILTER (WHERE increment <> 0) AS reached_at,
        max(accepted_at) AS accepted_at, max(action_id) FILTER (WHERE nth_from_last = 1) AS action_id
    FROM running GROUP BY user_id, board, season
),
summed AS (
    INSERT INTO scores AS s (id, user_id, board, season, score, version, last_action_id, last_action_at, reached_at)
    SELECT ((SELECT prefix FROM ids) || lpad(to_hex(row_number() OVER ()), 8, '0'))::uuid,
        user_id, board, season, increment, changes, action_id, accepted_at, reached_at
    FROM totals ORDER BY user_id, board, season
    ON CONFLICT (user_id, board, season) DO UPDATE SET
        score = s.score + excluded.score,
        version = s.version + excluded.version,
        last_action_id = excluded.last_action_id,
        last_action_at = excluded.last_action_at,
        reached_at = coalesce(excluded.reached_at, s.reached_at),
        updated_at = clock_timestamp()
    RETURNING user_id, board, season, score, version, coalesce(reached_at, created_at) AS reached_at
),
appended AS (
    INSERT INTO score_history (id, user_id, board, season, version, action_id, action, value, score_increment,
        previous_score, new_score, signature, nonce, ip_address, request_id, vouch, accepted_at, created_at)
    SELECT ((SELECT prefix FROM ids) || lpad(to_hex(row_number() OVER ()), 8, '0'))::uuid,
        r.user_id, r.board, r.season, s.version - (r.nth_from_last - 1), r.action_id, r.action, r.value, r.increment,
        (s.score - r.tail)::bigint, (s.score - r.tail + r.increment)::bigint,
        r.signature, r.nonce, r.ip_address, r.request_id, r.vouch, r.accepted_at, (SELECT instant FROM written)
    FROM running r JOIN summed s ON s.user_id = r.user_id AND s.board = r.board AND s.season = r.season
    ORDER BY r.seq
    RETURNING user_id, board, season, action_id, score_increment, previous_score, new_score, request_id, accepted_at
),
settled AS (
    DELETE FROM refreshes WHERE id = ANY (%(refreshed)s::bigint[])
),
marked AS (
    INSERT INTO refreshes (user_ids)
    SELECT array_agg(DISTINCT user_id) FROM summed HAVING count(*) > 0
    RETURNING id
)
SELECT 'batch', (SELECT id FROM marked), (SELECT count(*) FROM claimed), (SELECT count(*) FROM parked),
    NULL::text, NULL::text, NULL::integer, NULL::text, (SELECT count(*) FROM held), NULL::bigint, NULL::bigint, NULL::text,
    NULL::bigint
UNION ALL
SELECT 'applied', NULL, NULL, NULL, user_id::text, board, season, action_id, previous_score, score_increment, new_score,
    request_id, (extract(epoch FROM accepted_at) * 1000000)::bigint
FROM appended
UNION ALL
SELECT 'standing', NULL, NULL, NULL, s.user_id::text, s.board, s.season,
    (SELECT CASE WHEN hidden_at IS NULL THEN '+' ELSE '-' END || username FROM users u WHERE u.id = s.user_id), s.score, s.version, NULL, NULL,
    (extract(epoch FROM s.reached_at) * 1000000)::bigint
FROM summed s
