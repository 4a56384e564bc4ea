-- Appends rows of history that an operator's act makes, with their scores, as apply.sql does for updates: one statement,
-- whatever their number. The caller holds the shard's lock.
--   chained  each row's place and sum among those of its board's season
--   summed   the score goes on by all of them at once, and its versions by as many
WITH those AS (
    SELECT * FROM unnest(
        CAST(:boards AS text[]), CAST(:seasons AS integer[]), CAST(:increments AS bigint[]),
        CAST(:action_ids AS text[]), CAST(:vouches AS bytea[])
    ) WITH ORDINALITY AS t (board, season, increment, action_id, vouch, nth)
),
chained AS (
    SELECT *,
        sum(increment) OVER after AS tail,
        row_number() OVER after AS nth_from_last
    FROM those
    WINDOW after AS (PARTITION BY board, season ORDER BY nth DESC)
),
totals AS (
    SELECT board, season, sum(increment) AS increment, count(*) AS rows FROM those GROUP BY board, season
),
summed AS (
    UPDATE scores s SET
        score = (s.score + t.increment)::bigint,
        version = s.version + t.rows,
        reached_at = CASE WHEN t.increment = 0 THEN s.reached_at ELSE clock_timestamp() END,
        updated_at = clock_timestamp()
    FROM totals t
    WHERE s.user_id = CAST(:user_id AS uuid) AND s.board = t.board AND s.season = t.season
    RETURNING s.board, s.season, s.score, s.version
)
INSERT INTO score_history (user_id, board, season, version, action_id, action, value, score_increment, previous_score,
    new_score, request_id, vouch, accepted_at, created_at)
SELECT CAST(:user_id AS uuid), c.board, c.season, s.version - (c.nth_from_last - 1), c.action_id, :action, 0, c.increment,
    (s.score - c.tail)::bigint, (s.score - c.tail + c.increment)::bigint, :request_id, c.vouch, clock_timestamp(),
    greatest(statement_timestamp(), (SELECT upto FROM progress WHERE name = 'sealing') + interval '1 microsecond')
FROM chained c JOIN summed s ON s.board = c.board AND s.season = c.season
ORDER BY c.nth
