"""The files for Elasticsearch, Logstash, Filebeat and Kibana: sound, made of one list of fields, and about those only.

None of these programs can be installed here, so nothing of this was run; what can be held against something is.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from deploy.elk import __main__ as command
from deploy.elk import kibana
from deploy.elk.fields import Fields, read
from deploy.elk.mapping import LIFECYCLE, PATTERN
from models.settings import Settings
from tests.fixtures.index import Index
from tests.fixtures.service import environment_for

FOLDER = command.FOLDER
#: Of Logstash's own making, on the way: a line that was taken apart, and what the pipeline keeps beside the event.
ON_THE_WAY = ("other", "@metadata", "refused")


@pytest.fixture(scope="module")
def fields() -> Fields:
    return read()


@pytest.fixture(scope="module")
def index() -> Index:
    return Index(FOLDER / "index-template.json")


def test_what_is_made_is_up_to_date(capsys: pytest.CaptureFixture[str]) -> None:
    assert command.main(["--check"]) == 0, capsys.readouterr().out + "run python -m deploy.elk"


def test_the_index_template_has_every_field_with_its_type(fields: Fields, index: Index) -> None:
    for name, field in fields.by_name.items():
        mapping = index.mapping_of(name)
        assert mapping is not None, name
        assert mapping["type"] == field.type, name


def test_the_stand_in_refuses_what_elasticsearch_would(index: Index) -> None:
    line = {"@timestamp": "2026-11-26T08:08:29.010Z", "scoreboard": {"shard": 1}}
    assert list(index.refusals(line)) == []
    assert list(index.refusals({**line, "scoreboard": {"shard": "one"}}))
    assert list(index.refusals({**line, "scoreboard": "one"}))  # an object, not a value
    assert list(index.refusals({**line, "unheard.of": 1}))


def test_lines_of_a_day_go_into_the_data_stream_that_the_policy_looks_after() -> None:
    template = json.loads((FOLDER / "index-template.json").read_text("utf-8"))
    assert template["index_patterns"] == [PATTERN]
    assert template["template"]["settings"]["index.lifecycle.name"] == LIFECYCLE
    phases = json.loads((FOLDER / "lifecycle.json").read_text("utf-8"))["policy"]["phases"]
    assert list(phases) == ["hot", "warm", "delete"]
    ages = [int(phases[phase]["min_age"].removesuffix("d").removesuffix("ms")) for phase in phases]
    assert ages == sorted(ages)


def test_addresses_in_load_balancers_lines_are_kept_no_longer_than_those_in_the_database(tmp_path: Path) -> None:
    policy = json.loads((FOLDER / "lifecycle.json").read_text("utf-8"))["policy"]
    kept_days = int(policy["phases"]["delete"]["min_age"].removesuffix("d"))
    settings = Settings.from_env(environment_for("postgresql://there/x", "redis://there", tmp_path))
    assert kept_days <= settings.address_days


def pipelines() -> list[Path]:
    return sorted((FOLDER / "logstash").glob("*/*.conf"))


@pytest.mark.parametrize("path", pipelines(), ids=lambda path: path.name)
def test_a_pipeline_is_whole_and_names_only_fields_there_are(path: Path, fields: Fields) -> None:
    text = re.sub(r"^\s*#.*$", "", path.read_text("utf-8"), flags=re.MULTILINE)
    bare = re.sub(r'"[^"]*"|/(?:\\.|[^/\n])+/', '""', text)
    for opening, closing in ("{}", "[]", "()"):
        assert bare.count(opening) == bare.count(closing)
    assert re.findall(r"^(\w+) \{", text, re.MULTILINE) == ["input", "filter", "output"]
    named = {".".join(re.findall(r"[\w@]+", each)) for each in re.findall(r"(?:\[[a-z@][\w@]*\])+", text)}
    assert named
    roots = {name.rpartition(".")[0] for name in fields.by_name}
    for name in named:
        if name.split(".")[0] not in ON_THE_WAY:
            assert name in fields.by_name or name in roots, name


def test_logstash_runs_both_pipelines_and_drops_nothing_silently() -> None:
    told = yaml.safe_load((FOLDER / "logstash/logstash.yml").read_text("utf-8"))
    assert told["dead_letter_queue.enable"] is True
    assert told["queue.type"] == "persisted"
    ran = yaml.safe_load((FOLDER / "logstash/pipelines.yml").read_text("utf-8"))
    assert [Path(each["path.config"]).name for each in ran] == ["scoreboard.conf", "dead-letters.conf"]
    assert {path.name for path in pipelines()} == {Path(each["path.config"]).name for each in ran}
    letters = (FOLDER / "logstash/dead-letters/dead-letters.conf").read_text("utf-8")
    assert f'pipeline_id => "{ran[0]["pipeline.id"]}"' in letters
    for path in pipelines():
        assert "drop {" not in path.read_text("utf-8")


def test_filebeat_reads_files_and_gives_them_to_logstash() -> None:
    text = (FOLDER / "filebeat.yml").read_text("utf-8")
    told = yaml.safe_load(text)
    inputs = told["filebeat.inputs"]
    assert len({each["id"] for each in inputs}) == len(inputs)
    for each in inputs:
        assert each["type"] == "filestream"
        assert any("ndjson" in parser for parser in each["parsers"])
    assert [name for name in told if name.startswith("output.")] == ["output.logstash"]
    for name in re.findall(r"^#   (\w+) ", text, re.MULTILINE):
        assert f"${{{name}:" in text


def saved() -> list[dict[str, Any]]:
    return [json.loads(line) for line in (FOLDER / "kibana.ndjson").read_text("utf-8").splitlines()]


def test_what_kibanas_objects_refer_to_comes_before_them() -> None:
    seen: set[tuple[str, str]] = set()
    for each in saved():
        for reference in each["references"]:
            assert (reference["type"], reference["id"]) in seen, each["id"]
        assert (each["type"], each["id"]) not in seen
        seen.add((each["type"], each["id"]))
    assert {kind for kind, _ in seen} == {"index-pattern", "search", "visualization", "dashboard"}


def asked_for() -> Iterator[tuple[str, str]]:
    """(search or chart, field) of every field that is shown, counted by or asked for."""
    for title, (_, query, columns) in kibana.SEARCHES.items():
        yield from ((title, name) for name in [*columns, *re.findall(r"([\w.@]+) :", query)])
    for title, (field, query) in kibana.CHARTS.items():
        yield from ((title, name) for name in [field, *re.findall(r"([\w.@]+) :", query)])


@pytest.mark.parametrize(("title", "name"), sorted(set(asked_for())))
def test_a_search_asks_for_a_field_there_is(title: str, name: str, fields: Fields) -> None:
    assert name in fields.by_name
    assert fields.by_name[name].indexed


def test_panels_of_the_dashboard_do_not_lie_on_each_other() -> None:
    [dashboard] = [each for each in saved() if each["type"] == "dashboard"]
    places = [panel["gridData"] for panel in json.loads(dashboard["attributes"]["panelsJSON"])]
    taken: set[tuple[int, int]] = set()
    for place in places:
        cells = {(x, y) for x in range(place["x"], place["x"] + place["w"]) for y in range(place["y"], place["y"] + 15)}
        assert place["x"] + place["w"] <= 48
        assert not cells & taken
        taken |= cells
