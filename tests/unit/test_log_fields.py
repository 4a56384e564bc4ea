"""The list of fields is sound, and holds every field that code names; what is not on it is found."""

from __future__ import annotations

import ast
import json
import logging
import re
from typing import Any

import pytest
import structlog

from deploy.elk.fields import Fields, read
from deploy.local.procfile import ROOT
from models.logs import ECS_VERSION, ServerLines, configure_logging, server_logging
from worker import sayings

_LOGS = re.compile(r"\blog\.(debug|info|warning|error|exception)\b")
GOOD: dict[str, Any] = {
    "@timestamp": "2026-11-26T08:08:29.010Z",
    "log.level": "info",
    "message": "request",
    "ecs.version": ECS_VERSION,
    "service": {"name": "scoreboard-web"},
}


@pytest.fixture(scope="module")
def fields() -> Fields:
    return read()


def logged_names() -> set[str]:
    """The names of fields in the calls that log, wherever they stand: `x=` is ours, `"a.b"` stands as it is."""
    names = set()
    for folder in ("models", "web", "worker"):
        for path in (ROOT / folder).rglob("*.py"):
            for node in ast.walk(ast.parse(path.read_text("utf-8"))):
                if isinstance(node, ast.Call) and _LOGS.search(ast.unparse(node.func)):
                    for keyword in node.keywords:
                        if keyword.arg is not None:
                            names.add(keyword.arg)
                        names |= {
                            each.value
                            for each in ast.walk(keyword.value)
                            if keyword.arg is None
                            and isinstance(each, ast.Constant)
                            and isinstance(each.value, str)
                            and "." in each.value
                        }
    return {
        name if "." in name else f"scoreboard.{name}" for name in names if name not in ("error", "exc_info", "causes")
    }


def test_every_field_that_code_logs_is_listed(fields: Fields) -> None:
    named = logged_names()
    assert len(named) > 30
    assert named - fields.groups["ecs"] - fields.groups["own"] == set()


def test_no_field_is_a_part_of_another(fields: Fields) -> None:
    for name in fields.by_name:
        assert not any(other.startswith(f"{name}.") for other in fields.by_name), name


def test_a_load_balancers_line_has_fields_of_its_own(fields: Fields) -> None:
    line = json.dumps(GOOD | {"source": {"ip": "192.0.2.7"}, "scoreboard": {"cache": "HIT"}})
    assert fields.faults(line, edge=True) == []
    assert len(fields.faults(line)) == 2
    assert fields.faults(json.dumps(GOOD | {"source": {"ip": "-"}}), edge=True)


def test_the_version_is_what_lines_say(fields: Fields) -> None:
    assert fields.version == ECS_VERSION


def test_all_that_is_ours_has_one_root(fields: Fields) -> None:
    ours = {name for name in fields.by_name if name.startswith("scoreboard.")}
    assert all("." in name or name in ("@timestamp", "message", "tags") for name in fields.by_name)
    assert len(ours) > 30


@pytest.mark.parametrize(
    ("change", "fault"),
    [
        ({}, None),
        ({"service": {}}, "service.name is missing"),
        ({"code": "x"}, "code is no field of ours"),
        ({"scoreboard": {"shards": 1}}, "scoreboard.shards is no field of ours"),
        ({"scoreboard": {"shard": "1"}}, "scoreboard.shard is long"),
        ({"scoreboard": {"shard": True}}, "scoreboard.shard is long"),
        ({"scoreboard": {"shard": 2**63}}, "scoreboard.shard is long"),
        ({"scoreboard": {"board": ["a", "b"]}}, "scoreboard.board is keyword"),
        ({"http": {"request": {"id": ["a", "b"]}}}, None),
        ({"event": {"kind": "alarm"}}, "event.kind is keyword"),
        ({"@timestamp": "2026-11-26 08:08"}, "@timestamp is date"),
        ({"source": {"ip": "192.0.2.7"}}, "source.ip is no field of ours"),
        ({"log": {"level": "info"}}, "log.level comes twice"),
    ],
)
def test_a_line_that_does_not_keep_to_the_list_is_found(
    fields: Fields, change: dict[str, Any], fault: str | None
) -> None:
    found = fields.faults(json.dumps(GOOD | change))
    assert found == [] if fault is None else any(each.startswith(fault) for each in found), found


@pytest.mark.parametrize("line", ["plain words", "[1]", ""])
def test_what_is_no_line_of_json_is_found(fields: Fields, line: str) -> None:
    assert fields.faults(line)


def test_an_error_is_told_by_its_type_and_words(capsys: pytest.CaptureFixture[str], fields: Fields) -> None:
    configure_logging("scoreboard-web", "info")
    log = structlog.get_logger()
    log.warning("a", error=ValueError("why"))
    log.warning("b", error=ValueError)
    log.warning("c", error="in words")
    try:
        raise KeyError("d")
    except KeyError:
        log.exception("d")
    lines = capsys.readouterr().err.splitlines()
    assert [fields.faults(line) for line in lines] == [[], [], [], []]
    told = [json.loads(line)["error"] for line in lines]
    assert told[:3] == [{"type": "ValueError", "message": "why"}, {"type": "ValueError"}, {"message": "in words"}]
    assert (told[3]["type"], told[3]["message"]) == ("KeyError", "'d'")
    assert "Traceback" in told[3]["stack_trace"]


def test_what_a_library_hangs_on_a_record_makes_no_field(fields: Fields) -> None:
    record = logging.makeLogRecord({"msg": "%s failed", "args": ("x",), "levelname": "ERROR", "data": {"id": 1}})
    line = ServerLines("scoreboard-worker").format(record)
    assert fields.faults(line) == []
    assert json.loads(line)["message"] == "x failed"
    assert server_logging("scoreboard-web")["formatters"]["ecs"]["()"] == "models.logs.ServerLines"


def test_what_celery_says_from_a_signals_handler_is_a_line_too(fields: Fields) -> None:
    line = sayings.line("\nworker: Warm shutdown (MainProcess)")
    assert line.endswith("\n")
    assert fields.faults(line) == []
    assert json.loads(line)["message"] == "worker: Warm shutdown (MainProcess)"
