-- The pipeline at a glance, all in one moment and true of every process together: how many updates ever came into the
-- inbox (its numbers; also those that operators put back), what waits there by shard, and what waits for people.
WITH waiting AS MATERIALIZED (
    SELECT shard, count(*) AS updates,
        greatest(extract(epoch FROM clock_timestamp() - min(accepted_at)), 0)::float8 AS oldest_seconds
    FROM inbox GROUP BY shard
)
SELECT clock_timestamp() AS at,
    coalesce(pg_sequence_last_value(pg_get_serial_sequence('inbox', 'seq')::regclass), 0) AS accepted,
    coalesce((SELECT json_agg(json_build_array(shard, updates, oldest_seconds) ORDER BY shard) FROM waiting), '[]') AS shards,
    (SELECT count(*) FROM dead_letters WHERE dropped_at IS NULL) AS dead_letters,
    (SELECT count(*) FROM quarantine) AS held_updates,
    (SELECT count(*) FROM incidents WHERE closed_at IS NULL) AS open_incidents,
    (SELECT count(*) FROM restrictions WHERE lifted_at IS NULL AND (ends_at IS NULL OR ends_at > clock_timestamp()))
        AS restrictions,
    (SELECT count(*) FROM refreshes) AS unrefreshed_batches
