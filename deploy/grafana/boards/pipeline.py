"""Accept, wake, apply, refresh: where time and updates are."""

from grafana_foundation_sdk.models.dashboard import Dashboard

from deploy.grafana.panels import Group, Query, board, graph, quantile, rate

ABOUT = "From the accepted update to the board: groups, batches, what waits, and what keeps house."


def dashboard() -> Dashboard:
    """The pipeline."""
    accept = [
        graph("Accepted", "ops", Query(rate("scoreboard_updates_accepted_total", by="way"), "{{way}}"), stacked=True),
        graph(
            "Updates that share a commit",
            "short",
            Query(
                "sum(rate(scoreboard_accept_group_rows_sum[$__rate_interval]))"
                " / sum(rate(scoreboard_accept_group_rows_count[$__rate_interval]))",
                "on average",
            ),
            Query(quantile(0.99, "scoreboard_accept_group_rows"), "p99"),
        ),
        graph(
            "One commit to the inbox",
            "s",
            Query(quantile(0.5, "scoreboard_accept_group_seconds"), "p50"),
            Query(quantile(0.99, "scoreboard_accept_group_seconds"), "p99"),
        ),
        graph("Answered again", "ops", Query(rate("scoreboard_updates_replayed_total"), "repeats")),
    ]
    apply = [
        graph(
            "Applied by worker", "ops", Query(rate("scoreboard_updates_applied_total", by="instance"), "{{instance}}")
        ),
        graph(
            "Rows a transaction settles",
            "short",
            Query(quantile(0.5, "scoreboard_apply_batch_rows"), "p50"),
            Query(quantile(0.99, "scoreboard_apply_batch_rows"), "p99"),
            about="500 all the time: the workers are at their limit.",
        ),
        graph("One transaction", "s", Query(quantile(0.99, "scoreboard_apply_batch_seconds"), "p99")),
        graph(
            "Taken back by the sweeper",
            "ops",
            Query(rate("scoreboard_sweeps_total", by="what"), "{{what}}"),
            about="Steady shard_woken: wake-ups are lost. refresh_finished: workers die, or Redis does.",
        ),
    ]
    waits = [
        graph("Inbox", "short", Query("max(scoreboard_inbox_depth)", "updates")),
        graph(
            "Inbox by shard",
            "short",
            Query("max by (shard) (scoreboard_inbox_shard_depth)", "shard {{shard}}"),
            stacked=True,
            empty="nothing waits",
        ),
        graph("Oldest waiting", "s", Query("max(scoreboard_inbox_oldest_age_seconds)", "age")),
        graph(
            "Parked or held",
            "short",
            Query("max(scoreboard_dead_letters)", "dead letters"),
            Query("sum(increase(scoreboard_updates_held_total[1h]))", "held in the last hour"),
        ),
    ]
    house = [
        graph("Players compared", "ops", Query(rate("scoreboard_players_compared_total", by="how"), "{{how}}")),
        graph(
            "Players and boards mended in an hour",
            "short",
            Query("sum by (board) (increase(scoreboard_players_repaired_total[1h]))", "players of {{board}}"),
            Query("sum by (board) (increase(scoreboard_boards_repaired_total[1h]))", "{{board}} rebuilt"),
            about="Anything above 0 is a fault.",
        ),
        graph(
            "Since it was done last",
            "s",
            Query("time() - max(scoreboard_swept_timestamp_seconds)", "swept"),
            Query("time() - min(max by (board) (scoreboard_compared_timestamp_seconds))", "boards compared"),
            Query("time() - max(scoreboard_sealed_timestamp_seconds)", "sealed"),
        ),
        graph(
            "Forgotten",
            "ops",
            Query(rate("scoreboard_forgotten_total", by="what"), "{{what}}"),
            stacked=True,
            empty="nothing yet",
        ),
    ]
    return board(
        "pipeline",
        "pipeline",
        ABOUT,
        [Group("Accept", accept), Group("Apply", apply), Group("What waits", waits), Group("Keeping house", house)],
    )
