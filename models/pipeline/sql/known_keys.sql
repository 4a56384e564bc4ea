-- What is already known of updates that were not new: by their action_id, and by their nonce.
SELECT k.user_id::text, k.action_id, k.action, k.value, k.nonce
FROM unnest(%(user_ids)s::uuid[], %(action_ids)s::text[], %(nonces)s::text[]) AS t (user_id, action_id, nonce)
JOIN inbox_keys k ON k.user_id = t.user_id AND k.action_id = t.action_id
UNION
SELECT k.user_id::text, k.action_id, k.action, k.value, k.nonce
FROM unnest(%(user_ids)s::uuid[], %(nonces)s::text[]) AS t (user_id, nonce)
JOIN inbox_keys k ON k.user_id = t.user_id AND k.nonce = t.nonce
