"""How much room is left: per part, per machine, and of every limit."""

from grafana_foundation_sdk.models.dashboard import Dashboard

from deploy.grafana.panels import Group, Query, board, graph, rate

ABOUT = "How much room is left: per part, per machine, and of every limit."
_DISKS = '{fstype!~"tmpfs|ramfs|overlay|squashfs"}'


def dashboard() -> Dashboard:
    """Capacity."""
    parts = [
        graph("Requests by API", "reqps", Query(rate("flask_http_request_total", by="instance"), "{{instance}}")),
        graph(
            "Writes refused for load",
            "ops",
            Query(rate("scoreboard_refused_total", matching='{code="overloaded"}'), "overloaded"),
            about="Anything steady: more API processes, or more machines.",
        ),
        graph(
            "Updates by worker", "ops", Query(rate("scoreboard_updates_applied_total", by="instance"), "{{instance}}")
        ),
        graph(
            "Sockets, as part of a process' 50,000",
            "percentunit",
            Query("max by (instance) (scoreboard_sockets) / 50000", "{{instance}}"),
        ),
    ]
    limits = [
        graph(
            "Of PostgreSQL's connections",
            "percentunit",
            Query(
                "sum by (instance) (pg_stat_activity_count) / max by (instance) (pg_server_max_connections)",
                "{{instance}}",
            ),
        ),
        graph(
            "Of Redis' memory",
            "percentunit",
            Query("max by (instance) (redis_memory_used_bytes / (redis_memory_max_bytes > 0))", "{{instance}}"),
        ),
        graph("Longest wait for PgBouncer", "s", Query("max(pgbouncer_pools_client_maxwait_seconds)", "longest")),
        graph(
            "Connections at the doors",
            "short",
            Query("max by (instance) (haproxy_process_current_connections)", "{{instance}}"),
            Query("max by (instance) (nginx_connections_active)", "{{instance}}"),
        ),
    ]
    machines = [
        graph(
            "Processors, busy",
            "percentunit",
            Query(
                '1 - avg by (instance) (rate(node_cpu_seconds_total{mode="idle"}[$__rate_interval]))', "{{instance}}"
            ),
        ),
        graph(
            "Memory, taken",
            "percentunit",
            Query("1 - node_memory_MemAvailable_bytes / node_memory_MemTotal_bytes", "{{instance}}"),
        ),
        graph(
            "Disks, full",
            "percentunit",
            Query(
                f"1 - node_filesystem_avail_bytes{_DISKS} / node_filesystem_size_bytes{_DISKS}",
                "{{instance}} {{mountpoint}}",
            ),
        ),
        graph(
            "Disks, busy",
            "percentunit",
            Query(rate("node_disk_io_time_seconds_total", by="instance, device"), "{{instance}} {{device}}"),
        ),
    ]
    return board(
        "capacity",
        "capacity",
        ABOUT,
        [Group("Parts", parts), Group("Limits", limits), Group("Machines", machines)],
    )
