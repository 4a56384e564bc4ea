-- The rows of history and the acts of a stretch of time: their ids and what is hashed of them. Each is lines of
-- text that cannot be read in two ways (docs/security.md); the address of who sent an update is not among them, so
-- that it can be forgotten. In the places in braces stands which rows: those of a stretch, or of a player.
SELECT id, convert_to(concat_ws(E'\n', 'v1', 'history', id, user_id, board, season, version, action_id, action, value,
        score_increment, previous_score, new_score, coalesce(encode(signature, 'hex'), '-'), coalesce(nonce, '-'),
        request_id, coalesce(encode(vouch, 'hex'), '-'), (extract(epoch FROM accepted_at) * 1000000)::bigint,
        (extract(epoch FROM created_at) * 1000000)::bigint), 'UTF8') AS content, created_at
FROM score_history {stretch}
UNION ALL
SELECT id, convert_to(concat_ws(E'\n', 'v1', 'act', id, encode(sha256(convert_to(operator, 'UTF8')), 'hex'), act,
        encode(sha256(convert_to(subject, 'UTF8')), 'hex'), encode(sha256(convert_to(reason, 'UTF8')), 'hex'),
        encode(sha256(convert_to(details::text, 'UTF8')), 'hex'), (extract(epoch FROM created_at) * 1000000)::bigint),
        'UTF8'), created_at
FROM acts {acts}
