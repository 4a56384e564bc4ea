-- Accepts a group of updates in one statement: those whose action_id and nonce are new become inbox rows (I1, I2).
-- The unique constraints of inbox_keys decide, whatever the process; keys are taken in one order, so that two groups
-- cannot wait for each other. $1 to $10 are the columns, in the order of `t`. Returns how many are
-- new, and their keys in one text, 36 characters of user_id first: rows of an answer cost more than they say.
WITH incoming AS (
    SELECT *
    FROM unnest(
        $1::uuid[], $2::text[], $3::text[], $4::bigint[],
        $5::text[], $6::bytea[], $7::inet[], $8::text[],
        $9::smallint[], $10::bytea[]
    ) WITH ORDINALITY
        AS t (user_id, action_id, action, value, nonce, signature, ip_address, request_id, shard, vouch, arrival)
),
keyed AS (
    INSERT INTO inbox_keys (user_id, action_id, nonce, action, value)
    SELECT user_id, action_id, nonce, action, value FROM incoming ORDER BY user_id, action_id
    ON CONFLICT DO NOTHING
    RETURNING user_id, action_id
),
accepted AS (
    INSERT INTO inbox (shard, user_id, action_id, action, value, signature, nonce, ip_address, request_id, vouch)
    SELECT i.shard, i.user_id, i.action_id, i.action, i.value, i.signature, i.nonce, i.ip_address, i.request_id,
        i.vouch
    FROM incoming i JOIN keyed k ON k.user_id = i.user_id AND k.action_id = i.action_id
    ORDER BY i.arrival
    RETURNING user_id, action_id
)
SELECT count(*), string_agg(user_id::text || action_id, E'\n') FROM accepted
