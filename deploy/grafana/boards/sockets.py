"""The socket servers: who is there, what is sent, how late."""

from grafana_foundation_sdk.models.dashboard import Dashboard

from deploy.grafana.panels import Group, Query, board, graph, quantile, rate

ABOUT = "The socket servers: who is there, what is sent, and how late."
_CHOSEN = '{instance=~"$instance"}'


def dashboard() -> Dashboard:
    """The sockets."""
    crowd = [
        graph(
            "Open",
            "short",
            Query(f"max by (instance) (scoreboard_sockets{_CHOSEN})", "{{instance}}"),
            stacked=True,
            about="A process takes 50,000 at most.",
        ),
        graph(
            "Closed, by code",
            "ops",
            Query(rate("scoreboard_socket_closed_total", by="code", matching=_CHOSEN), "{{code}}"),
            stacked=True,
            empty="none yet",
            about="1001: the server ends. 1006: without a farewell. 1013: hopeless readers.",
        ),
        graph(
            "Came back",
            "ops",
            Query(rate("scoreboard_socket_resumed_total", by="outcome", matching=_CHOSEN), "with a {{outcome}}"),
            empty="nobody yet",
        ),
        graph(
            "Messages of clients",
            "ops",
            Query(rate("scoreboard_socket_messages_total", by="type", matching=_CHOSEN), "{{type}}"),
            empty="none yet",
        ),
    ]
    sent = [
        graph(
            "Messages sent",
            "ops",
            Query(rate("scoreboard_socket_sent_total", by="type", matching=_CHOSEN), "{{type}}"),
            empty="none yet",
        ),
        graph(
            "Bytes sent",
            "Bps",
            Query(rate("scoreboard_socket_sent_bytes_total", by="instance", matching=_CHOSEN), "{{instance}}"),
        ),
        graph(
            "Left out for slow readers",
            "ops",
            Query(rate("scoreboard_socket_skipped_total", by="instance", matching=_CHOSEN), "{{instance}}"),
        ),
        graph(
            "Events that may have been missed, in an hour",
            "short",
            Query(f"sum by (instance) (increase(scoreboard_feed_gaps_total{_CHOSEN}[1h]))", "{{instance}}"),
        ),
    ]
    late = [
        graph(
            "From acceptance to the last screen",
            "s",
            Query(
                quantile(0.5, "scoreboard_accepted_sent_seconds", by="instance", matching=_CHOSEN), "{{instance}} p50"
            ),
            Query(
                quantile(0.99, "scoreboard_accepted_sent_seconds", by="instance", matching=_CHOSEN), "{{instance}} p99"
            ),
        ),
        graph(
            "From publication to the last screen, p99",
            "s",
            Query(quantile(0.99, "scoreboard_published_sent_seconds", by="instance", matching=_CHOSEN), "{{instance}}"),
        ),
        graph(
            "One tick, p99",
            "s",
            Query(quantile(0.99, "scoreboard_tick_seconds", by="instance", matching=_CHOSEN), "{{instance}}"),
            about="From the read of a board to its last send; above 25 ms deltas come more slowly.",
        ),
    ]
    return board(
        "sockets",
        "sockets",
        ABOUT,
        [Group("The crowd", crowd), Group("What is sent", sent), Group("How late", late)],
        instances_of="scoreboard_sockets",
    )
