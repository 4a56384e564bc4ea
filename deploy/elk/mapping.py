"""The index template of the log lines, made from `fields.yml`."""

from typing import Any, Final

from deploy.elk.fields import Field, Fields

#: Longer values stay in the line and are not searched for; ECS' own figure.
KEYWORD_MOST: Final = 1024
PATTERN: Final = "logs-scoreboard-*"
LIFECYCLE: Final = "scoreboard-logs"
#: Elasticsearch's own templates for `logs-*-*` have 100; ours comes before them.
PRIORITY: Final = 200


def template(fields: Fields) -> dict[str, Any]:
    """What is put to `_index_template/scoreboard-logs`."""
    return {
        "index_patterns": [PATTERN],
        "priority": PRIORITY,
        "data_stream": {},
        "template": {
            "settings": {
                "index.lifecycle.name": LIFECYCLE,
                "index.codec": "best_compression",
                "index.mapping.ignore_malformed": False,  # a wrong type goes to the dead letters, where it is seen
                "index.refresh_interval": "5s",
                "index.number_of_shards": 1,
                "index.number_of_replicas": 1,
            },
            "mappings": {
                "_meta": {"ecs_version": fields.version, "made_by": "python -m deploy.elk"},
                "dynamic": False,  # what others' lines bring besides is kept, and never makes a field of its own
                "date_detection": False,
                "properties": _properties(fields),
            },
        },
    }


def _properties(fields: Fields) -> dict[str, Any]:
    root: dict[str, Any] = {}
    for name, field in sorted(fields.by_name.items()):
        *parents, last = name.split(".")
        place = root
        for parent in parents:
            place = place.setdefault(parent, {"properties": {}})["properties"]
        place[last] = _mapping(field)
    return root


def _mapping(field: Field) -> dict[str, Any]:
    if field.type == "keyword" and not field.indexed:
        return {"type": "keyword", "index": False, "doc_values": False}
    if field.type == "keyword":
        return {"type": "keyword", "ignore_above": KEYWORD_MOST}
    return {"type": field.type}
