"""What operators find in Kibana: the data view, searches, and a small dashboard, as objects to import."""

import json
from collections.abc import Sequence
from typing import Any, Final

from deploy.elk.mapping import PATTERN

DATA_VIEW: Final = "scoreboard-logs"
#: Of the form of these objects; newer versions of Kibana bring them forward as they import them.
_VERSIONS: Final = {"index-pattern": "8.0.0", "search": "8.0.0", "visualization": "8.5.0", "dashboard": "8.9.0"}
_CORE: Final = "8.8.0"

#: Title → what it is for, its query, its columns.
SEARCHES: Final[dict[str, tuple[str, str, Sequence[str]]]] = {
    "One request": (
        "What became of a request: put its X-Request-ID for the star. Oldest first, from load balancer to socket.",
        "http.request.id : *",
        ("service.name", "service.node.name", "event.action", "http.response.status_code", "error.code",
         "scoreboard.action.id", "scoreboard.board", "scoreboard.version", "message"),
    ),
    "One update": (
        "The same by the action that a player's client reports; put its action_id for the star.",
        "scoreboard.action.id : *",
        ("service.name", "http.request.id", "user.id", "http.response.status_code", "trace.id"),
    ),
    "Security incidents": (
        "Rules that were broken; `incidents show` has the evidence.",
        "event.kind : alert",
        ("rule.name", "scoreboard.answer", "scoreboard.incident", "scoreboard.suspicion", "user.id"),
    ),
    "Errors": (
        "Faults of ours, and lines that are not what they should be.",
        "log.level : (error or critical) or event.kind : pipeline_error",
        ("service.name", "service.node.name", "event.action", "error.type", "error.message", "message"),
    ),
    "Refused": (
        "Requests that were answered with a problem.",
        "error.code : * and event.action : request",
        ("error.code", "http.response.status_code", "http.request.method", "url.path", "http.request.id"),
    ),
}  # fmt: skip
#: Title → the field that the lines are counted by, and which lines.
CHARTS: Final = {
    "Answers by status": ("http.response.status_code", "event.action : request"),
    "Refused by code": ("error.code", "event.action : request and error.code : *"),
    "Errors by part": ("service.name", "log.level : (error or critical)"),
}


def objects() -> list[dict[str, Any]]:
    """All of them, what is referred to before what refers."""
    searches = [_search(title, *told) for title, told in SEARCHES.items()]
    charts = [_chart(title, *told) for title, told in CHARTS.items()]
    return [_data_view(), *searches, *charts, _dashboard(charts, searches)]


def _object(kind: str, title: str, attributes: dict[str, Any], references: list[dict[str, str]]) -> dict[str, Any]:
    return {
        "id": DATA_VIEW if kind == "index-pattern" else f"scoreboard-{title.lower().replace(' ', '-')}",
        "type": kind,
        "attributes": attributes,
        "references": references,
        "coreMigrationVersion": _CORE,
        "typeMigrationVersion": _VERSIONS[kind],
    }


def _data_view() -> dict[str, Any]:
    attributes = {"title": PATTERN, "name": "Scoreboard: logs", "timeFieldName": "@timestamp"}
    return _object("index-pattern", "", attributes, [])


def _source(query: str) -> dict[str, str]:
    reference = "kibanaSavedObjectMeta.searchSourceJSON.index"
    told = {"query": {"language": "kuery", "query": query}, "filter": [], "indexRefName": reference}
    return {"searchSourceJSON": json.dumps(told, sort_keys=True)}


def _to_data_view() -> list[dict[str, str]]:
    return [{"id": DATA_VIEW, "name": "kibanaSavedObjectMeta.searchSourceJSON.index", "type": "index-pattern"}]


def _search(title: str, description: str, query: str, columns: Sequence[str]) -> dict[str, Any]:
    order = "asc" if title.startswith("One ") else "desc"
    attributes = {
        "title": f"Scoreboard: {title}",
        "description": description,
        "columns": list(columns),
        "sort": [["@timestamp", order]],
        "kibanaSavedObjectMeta": _source(query),
    }
    return _object("search", title, attributes, _to_data_view())


def _chart(title: str, field: str, query: str) -> dict[str, Any]:
    count = {"id": "1", "enabled": True, "type": "count", "params": {}, "schema": "metric"}
    times = {"field": "@timestamp", "interval": "auto", "min_doc_count": 0}
    terms = {"field": field, "size": 10, "order": "desc", "orderBy": "1"}
    state = {
        "title": f"Scoreboard: {title}",
        "type": "histogram",
        "aggs": [
            count,
            {"id": "2", "enabled": True, "type": "date_histogram", "params": times, "schema": "segment"},
            {"id": "3", "enabled": True, "type": "terms", "params": terms, "schema": "group"},
        ],
        "params": {"type": "histogram", "addLegend": True, "addTooltip": True, "legendPosition": "right"},
    }
    attributes = {
        "title": f"Scoreboard: {title}",
        "description": "",
        "uiStateJSON": "{}",
        "visState": json.dumps(state, sort_keys=True),
        "version": 1,
        "kibanaSavedObjectMeta": _source(query),
    }
    return _object("visualization", title, attributes, _to_data_view())


def _dashboard(charts: list[dict[str, Any]], searches: list[dict[str, Any]]) -> dict[str, Any]:
    """The charts in a row, the incidents and the errors beneath them."""
    lists = [each for each in searches if each["attributes"]["title"].endswith(("incidents", "Errors"))]
    panels, references = [], []
    for number, shown in enumerate([*charts, *lists]):
        row, place = divmod(number, len(charts))
        width = 48 // (len(charts) if row == 0 else len(lists))
        panels.append(
            {
                "type": shown["type"],
                "panelIndex": str(number),
                "gridData": {"i": str(number), "x": place * width, "y": row * 15, "w": width, "h": 15},
                "panelRefName": f"panel_{number}",
                "embeddableConfig": {"enhancements": {}},
            }
        )
        references.append({"id": shown["id"], "name": f"{number}:panel_{number}", "type": shown["type"]})
    attributes = {
        "title": "Scoreboard: logs",
        "description": "Answers, refusals, errors and incidents, from the log lines of every part.",
        "panelsJSON": json.dumps(panels, sort_keys=True),
        "optionsJSON": json.dumps({"useMargins": True, "hidePanelTitles": False}),
        "timeRestore": True,
        "timeFrom": "now-24h",
        "timeTo": "now",
        "refreshInterval": {"pause": False, "value": 30_000},
        "version": 1,
        "kibanaSavedObjectMeta": {"searchSourceJSON": json.dumps({"query": {"language": "kuery", "query": ""}})},
    }
    return _object("dashboard", "dashboard", attributes, references)
