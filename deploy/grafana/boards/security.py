"""What is refused, what the rules make of it, and whether the audit trail grows."""

from grafana_foundation_sdk.models.dashboard import Dashboard

from deploy.grafana.panels import Group, Query, board, graph, number, rate

ABOUT = "What is refused, what the rules make of it, and whether the audit trail grows."


def dashboard() -> Dashboard:
    """Security."""
    now = [
        number(
            "Incidents in a day", "short", "sum(increase(scoreboard_incidents_total[1d])) or vector(0)", warn=1, bad=20
        ),
        number(
            "Forgeries refused",
            "ops",
            rate("scoreboard_refused_total", matching='{code=~"signature_invalid|token_.+|nonce_reused|forbidden"}'),
            warn=1,
            bad=10,
        ),
        number("Held in quarantine in a day", "short", "sum(increase(scoreboard_updates_held_total[1d]))", warn=1),
        number("Since the last seal", "s", "time() - max(scoreboard_sealed_timestamp_seconds)", warn=30, bad=120),
    ]
    refused = [
        graph(
            "Refused, by code",
            "ops",
            Query(rate("scoreboard_refused_total", by="code"), "{{code}}"),
            stacked=True,
            empty="nothing was refused",
        ),
        graph(
            "Answers 401, 403 and 429",
            "reqps",
            Query(rate("flask_http_request_total", by="status", matching='{status=~"401|403|429"}'), "{{status}}"),
            stacked=True,
            empty="none yet",
        ),
    ]
    rules = [
        graph(
            "Events that rules count",
            "ops",
            Query(rate("scoreboard_security_events_total", by="event"), "{{event}}"),
            stacked=True,
            empty="none yet",
        ),
        graph(
            "Incidents in an hour, by rule",
            "short",
            Query("sum by (rule) (increase(scoreboard_incidents_total[1h]))", "{{rule}}"),
            stacked=True,
        ),
        graph("Rows sealed", "ops", Query(rate("scoreboard_sealed_rows_total"), "rows of history and acts")),
    ]
    return board(
        "security",
        "security",
        ABOUT,
        [Group("Now", now), Group("Refused", refused), Group("Rules and the audit trail", rules)],
    )
