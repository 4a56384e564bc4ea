"""The first look: is it well, how much comes, how long does it take to the screen."""

from grafana_foundation_sdk.models.dashboard import Dashboard

from deploy.grafana.panels import Group, Query, board, graph, number, quantile, rate

ABOUT = "Whether all is well, what comes, and how long it takes to the screen."


def dashboard() -> Dashboard:
    """The overview."""
    now = [
        number("Accepted", "ops", rate("scoreboard_updates_accepted_total"), about="Updates accepted a second."),
        number("To the screen, p99", "s", quantile(0.99, "scoreboard_accepted_sent_seconds"), warn=0.1, bad=0.25),
        number("Oldest waiting", "s", "max(scoreboard_inbox_oldest_age_seconds)", warn=1, bad=5),
        number("Sockets", "short", "sum(scoreboard_sockets)", about="Open now."),
        number("Parts down", "short", "count(up == 0) or vector(0)", warn=1, bad=2),
        number(
            "Alerts",
            "short",
            'count(ALERTS{alertstate="firing",alertname!="Watchdog"}) or vector(0)',
            about="Firing, the watchdog left out.",
            warn=1,
            bad=3,
        ),
    ]
    flow = [
        graph(
            "Updates",
            "ops",
            Query(rate("scoreboard_updates_accepted_total"), "accepted"),
            Query(rate("scoreboard_updates_applied_total"), "applied (rows of history)"),
            Query(rate("scoreboard_refused_total"), "refused, all requests"),
            about="What is applied follows what is accepted: an action on two boards makes two rows.",
        ),
        graph(
            "From the accepted update to …",
            "s",
            Query(quantile(0.99, "scoreboard_accept_group_seconds"), "its commit, p99"),
            Query(quantile(0.99, "scoreboard_accepted_to_applied_seconds"), "history, p99"),
            Query(quantile(0.99, "scoreboard_accepted_to_published_seconds"), "the boards, p99"),
            Query(quantile(0.99, "scoreboard_accepted_sent_seconds"), "the last screen, p99"),
            Query(quantile(0.5, "scoreboard_accepted_sent_seconds"), "the last screen, p50"),
        ),
    ]
    doors = [
        graph(
            "Requests by status",
            "reqps",
            Query(rate("flask_http_request_total", by="status"), "{{status}}"),
            stacked=True,
        ),
        graph(
            "Slowest routes, p99",
            "s",
            Query(
                f"topk(6, {quantile(0.99, 'flask_http_request_duration_seconds', by='method, url_rule')})",
                "{{method}} {{url_rule}}",
            ),
        ),
        graph(
            "Reads of boards",
            "reqps",
            Query(rate("scoreboard_leaderboard_reads_total", by="how"), "{{how}}"),
            stacked=True,
        ),
    ]
    promises = [
        graph(
            "Bad events of the last hour, as part of each budget",
            "percentunit",
            Query("scoreboard:writes_failed:ratio_rate1h / 0.001", "writes failed (0.1 %)"),
            Query("scoreboard:screens_late:ratio_rate1h / 0.01", "screens late (1 %)"),
            Query("scoreboard:boards_late:ratio_rate1h / 0.001", "boards late (0.1 %)"),
            about="At 100 % the month's budget would last exactly the month; from 1,440 % on somebody is paged.",
        ),
        graph(
            "Waiting",
            "short",
            Query("max(scoreboard_inbox_depth)", "updates in the inbox"),
            Query("max(scoreboard_unrefreshed_batches)", "batches not on the boards"),
            Query("max(scoreboard_dead_letters)", "dead letters"),
        ),
        graph("Parts that answer", "short", Query("sum by (job) (up)", "{{job}}"), stacked=True),
    ]
    return board(
        "overview",
        "overview",
        ABOUT,
        [Group("Now", now), Group("Updates", flow), Group("Requests", doors), Group("Promises", promises)],
    )
