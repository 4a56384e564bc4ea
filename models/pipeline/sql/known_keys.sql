-- What is already known of updates that were not new: by their action_id, and by their nonce.
--
-- Who is told that an update was accepted before must not be told so of a commit that its synchronous standby has not
-- got: a row shows itself once its writer has given up that wait. So this writes to the WAL, where a standby is waited
-- for, and its own commit waits until the standby has all that came before.
SELECT known.*, CASE WHEN awaited THEN pg_logical_emit_message(true, 'known', '') END
FROM (
    SELECT k.user_id::text, k.action_id, k.action, k.value, k.nonce
    FROM unnest(%(user_ids)s::uuid[], %(action_ids)s::text[], %(nonces)s::text[]) AS t (user_id, action_id, nonce)
    JOIN inbox_keys k ON k.user_id = t.user_id AND k.action_id = t.action_id
    UNION
    SELECT k.user_id::text, k.action_id, k.action, k.value, k.nonce
    FROM unnest(%(user_ids)s::uuid[], %(nonces)s::text[]) AS t (user_id, nonce)
    JOIN inbox_keys k ON k.user_id = t.user_id AND k.nonce = t.nonce
) AS known
CROSS JOIN (SELECT current_setting('synchronous_standby_names') <> '' AS awaited) AS setting
