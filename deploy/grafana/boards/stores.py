"""PostgreSQL and PgBouncer, Redis, RabbitMQ."""

from grafana_foundation_sdk.models.dashboard import Dashboard

from deploy.grafana.panels import Group, Query, board, graph, rate

ABOUT = "PostgreSQL and PgBouncer, Redis, RabbitMQ: work, room, replication."
_OURS = '{datname="scoreboard"}'


def dashboard() -> Dashboard:
    """The data stores."""
    postgres = [
        graph(
            "Transactions",
            "ops",
            Query(rate("pg_stat_database_xact_commit", by="instance", matching=_OURS), "{{instance}}"),
            Query(rate("pg_stat_database_xact_rollback", by="instance", matching=_OURS), "{{instance}} rolled back"),
        ),
        graph(
            "Found in shared buffers",
            "percentunit",
            Query(
                "sum by (instance) (rate(pg_stat_database_blks_hit[$__rate_interval]))"
                " / sum by (instance) (rate(pg_stat_database_blks_hit[$__rate_interval])"
                " + rate(pg_stat_database_blks_read[$__rate_interval]))",
                "{{instance}}",
            ),
        ),
        graph(
            "Connections, and the most there may be",
            "short",
            Query("sum by (instance) (pg_stat_activity_count)", "{{instance}}"),
            Query("max(pg_server_max_connections)", "limit"),
        ),
        graph(
            "Oldest transaction",
            "s",
            Query(f"max by (instance) (pg_stat_activity_max_tx_duration{_OURS})", "{{instance}}"),
        ),
    ]
    replication = [
        graph("Servers that follow", "short", Query("max by (instance) (pg_replicas_streaming)", "{{instance}}")),
        graph(
            "Behind",
            "s",
            Query("max by (instance) (pg_replication_lag_seconds)", "{{instance}}, by its own clock"),
            Query("max by (instance) (pg_replicas_replay_lag_seconds)", "as {{instance}} sees its slowest"),
        ),
        graph("Size", "bytes", Query(f"max by (instance) (pg_database_size_bytes{_OURS})", "{{instance}}")),
        graph(
            "Clients of PgBouncer",
            "short",
            Query('sum(pgbouncer_pools_client_active_connections{database!="pgbouncer"})', "with a connection"),
            Query('sum(pgbouncer_pools_client_waiting_connections{database!="pgbouncer"})', "that wait"),
            Query('sum(pgbouncer_pools_server_idle_connections{database!="pgbouncer"})', "idle connections"),
        ),
    ]
    redis = [
        graph("Commands", "ops", Query(rate("redis_commands_processed_total", by="instance"), "{{instance}}")),
        graph(
            "Memory",
            "bytes",
            Query("max by (instance) (redis_memory_used_bytes)", "{{instance}}"),
            Query("max(redis_memory_max_bytes)", "limit"),
        ),
        graph("Clients", "short", Query("max by (instance) (redis_connected_clients)", "{{instance}}")),
        graph(
            "Boards found at once",
            "percentunit",
            Query(
                'sum(rate(scoreboard_ranking_reads_total{result="hit"}[$__rate_interval]))'
                " / sum(rate(scoreboard_ranking_reads_total[$__rate_interval]))",
                "of reads",
            ),
        ),
    ]
    rabbitmq = [
        graph(
            "Messages that wait", "short", Query("max by (instance) (rabbitmq_queue_messages_ready)", "{{instance}}")
        ),
        graph(
            "Messages",
            "ops",
            Query(rate("rabbitmq_channel_messages_published_total"), "published"),
            Query(rate("rabbitmq_channel_messages_delivered_ack_total"), "delivered"),
        ),
        graph(
            "Alarms",
            "short",
            Query("max by (instance) (rabbitmq_alarms_memory_used_watermark)", "{{instance}} memory"),
            Query("max by (instance) (rabbitmq_alarms_free_disk_space_watermark)", "{{instance}} disk"),
        ),
        graph("Memory", "bytes", Query("max by (instance) (rabbitmq_process_resident_memory_bytes)", "{{instance}}")),
    ]
    return board(
        "stores",
        "data stores",
        ABOUT,
        [
            Group("PostgreSQL", postgres),
            Group("Replication and pooling", replication),
            Group("Redis", redis),
            Group("RabbitMQ", rabbitmq),
        ],
    )
