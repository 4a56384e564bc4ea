"""Every query of every dashboard, read from the JSON that Grafana is given, and asked of a Prometheus."""

from __future__ import annotations

import json
import re
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

DASHBOARDS: Final = Path(__file__).parent / "dashboards"
ANSWER_SECONDS: Final = 10.0
_METRIC: Final = re.compile(r"[a-zA-Z_:][a-zA-Z0-9_:]*")


@dataclass(frozen=True, slots=True)
class Asked:
    """A query of a panel.

    Attributes:
        panel_id: the panel's within its dashboard; titles may be alike.
        letter: its name within the panel.
        may_be_empty: whether the panel says what to show when there is no data, since that is usual.
    """

    dashboard: str
    panel_id: int
    panel: str
    letter: str
    expr: str
    legend: str
    may_be_empty: bool

    def filled(self, window: str) -> str:
        """The query as Grafana would send it: with all instances, and with `window` (such as `1m`) for rates."""
        return self.expr.replace("$__rate_interval", window).replace("$instance", ".+")


class QueryFailed(Exception):
    """Prometheus does not understand a query, or does not answer."""


def dashboards() -> dict[str, dict[str, Any]]:
    """Name → dashboard, as Grafana reads it."""
    return {path.stem: json.loads(path.read_text("utf-8")) for path in sorted(DASHBOARDS.glob("*.json"))}


def queries(dashboard: str | None = None) -> Iterator[Asked]:
    """Those of one dashboard, or all."""
    for name, document in dashboards().items():
        if dashboard not in (None, name):
            continue
        for panel in document["panels"]:
            defaults = panel.get("fieldConfig", {}).get("defaults", {})
            for target in panel.get("targets", ()):
                yield Asked(
                    dashboard=name,
                    panel_id=panel["id"],
                    panel=panel["title"],
                    letter=target["refId"],
                    expr=target["expr"],
                    legend=target.get("legendFormat", ""),
                    may_be_empty="noValue" in defaults,
                )


def ask(prometheus: str, path: str, **values: object) -> list[dict[str, Any]]:
    """The series that Prometheus' HTTP API answers with (`query` or `query_range`).

    Raises:
        QueryFailed: with the query and what Prometheus says.
    """
    url = f"{prometheus.rstrip('/')}/api/v1/{path}?{urllib.parse.urlencode(values)}"
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    try:
        with opener.open(url, timeout=ANSWER_SECONDS) as answer:
            found: list[dict[str, Any]] = json.load(answer)["data"]["result"]
    except urllib.error.HTTPError as error:
        raise QueryFailed(f"{values.get('query')}: {error.read().decode(errors='replace')}") from error
    except (OSError, ValueError, KeyError) as error:
        raise QueryFailed(f"{values.get('query')}: {error}") from error
    return found


def name_of(asked: Asked, labels: dict[str, str]) -> str:
    """What Grafana would call a series: the legend with the labels' values in place of `{{label}}`."""
    return re.sub(r"\{\{\s*(\w+)\s*\}\}", lambda label: labels.get(label[1], ""), asked.legend) or asked.panel


def metrics_of(expr: str) -> set[str]:
    """The metrics that a query, or a rule, is made of, by Prometheus' form of names."""
    without_text = re.sub(r'"[^"]*"', '""', expr)
    without_labels = re.sub(r"\{[^}]*\}|\[[^\]]*\]|\b(by|on|without|ignoring)\s*\([^)]*\)", " ", without_text)
    return {word for word in _METRIC.findall(without_labels) if "_" in word and not re.search(rf"\b{word}\s*\(", expr)}
