-- Starts the cool-down of actions that have one, unless it is running or the update is a repeat.
-- Returns (user_id, action_id, seconds left, or null where it was started now), without the repeats.
WITH incoming AS (
    SELECT t.*
    FROM unnest(%(user_ids)s::uuid[], %(action_ids)s::text[], %(actions)s::text[], %(seconds)s::integer[])
        AS t (user_id, action_id, action, seconds)
    WHERE NOT EXISTS (SELECT FROM inbox_keys k WHERE k.user_id = t.user_id AND k.action_id = t.action_id)
),
started AS (
    INSERT INTO cooldowns AS c (user_id, action, until)
    SELECT user_id, action, clock_timestamp() + make_interval(secs => seconds)
    FROM incoming ORDER BY user_id, action
    ON CONFLICT (user_id, action) DO UPDATE SET until = excluded.until WHERE c.until <= clock_timestamp()
    RETURNING user_id, action
)
SELECT i.user_id::text, i.action_id,
    CASE WHEN s.user_id IS NULL THEN coalesce(extract(epoch FROM c.until - clock_timestamp()), i.seconds) END::float8
FROM incoming i
LEFT JOIN started s ON s.user_id = i.user_id AND s.action = i.action
LEFT JOIN cooldowns c ON c.user_id = i.user_id AND c.action = i.action
