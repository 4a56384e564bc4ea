"""The documents say what the code does: metrics, settings, error codes, commands, links."""

from __future__ import annotations

import ast
import re
import shlex
from pathlib import Path
from unittest.mock import MagicMock

import click
import pytest
from flask import Flask
from prometheus_client import REGISTRY, CollectorRegistry
from prometheus_client.metrics_core import Metric

import models.exposition
import web.live.metrics
import web.metrics
import worker.metrics
from models import settings as settings_module
from models.settings import Settings
from web.api import operations, schemas
from web.commands import install_commands
from web.problems import STATUS_OF

ROOT = Path(__file__).parents[2]
DOCUMENTS = sorted(
    path for pattern in ("*.md", "docs/**/*.md", "bench/**/*.md", "migrations/*.md") for path in ROOT.glob(pattern)
)
MEASURING = (web.metrics, worker.metrics, web.live.metrics)  # importing them registers what they measure

_CODE = re.compile(r"^```.*?^```", re.MULTILINE | re.DOTALL)
_LINK = re.compile(r"(?<!!)\[[^\]]*\]\(([^()\s]+)\)")
_ROW = re.compile(r"^\| (?:<a id=\"\w+\"></a>)?`([^`]+)` \| (.*?) \|", re.MULTILINE)


def read(name: str) -> str:
    return (ROOT / name).read_text("utf-8")


def section(text: str, heading: str) -> str:
    """What stands beneath a heading, down to the next of any level."""
    _, found, rest = text.partition(f"\n{heading}\n")
    assert found, f"there is no {heading!r}"
    return re.split(r"^#{1,6} ", rest, maxsplit=1, flags=re.MULTILINE)[0]


def rows(text: str, heading: str) -> dict[str, str]:
    """First and second cell of the rows whose first cell is code."""
    return dict(_ROW.findall(section(text, heading)))


def exposed_name(metric: Metric) -> str:
    return metric.name + ("_total" if metric.type == "counter" else "")


#: What is called like a metric, and is a name of PgBouncer's.
DATABASES = {"scoreboard_replica"}


def measured() -> set[str]:
    """Every metric of ours, as `/metrics` spells it."""
    names = {exposed_name(metric) for metric in REGISTRY.collect()}
    database = MagicMock()
    database.settings.shards = 1
    database.engine.connect().__enter__().execute().scalar_one.return_value = 0
    names |= {metric.name for metric in web.metrics._PipelineState(database).collect()}
    names |= {metric.name for metric in models.exposition.Build().collect()}
    return {name for name in names if name.startswith("scoreboard_")}


def test_every_metric_is_explained_and_every_explained_metric_is_measured() -> None:
    documented = set(re.findall(r"^\| `(scoreboard_\w+)` \|", read("docs/operations.md"), re.MULTILINE))
    assert documented == measured()


def test_a_metric_named_anywhere_in_the_documents_is_measured() -> None:
    series = {name + suffix for name in measured() for suffix in ("", "_bucket", "_sum", "_count")}
    for path in DOCUMENTS:
        named = set(re.findall(r"\bscoreboard_[a-z_]+\b(?!\.py)", path.read_text("utf-8")))
        assert named <= series | DATABASES, path.name


def test_the_requests_figures_are_those_of_the_exporter() -> None:
    requests: CollectorRegistry = web.metrics.Requests(Flask("documented")).registry
    documented = set(re.findall(r"`(flask_\w+)`", read("docs/operations.md")))
    assert documented == {exposed_name(metric) for metric in requests.collect()}


def test_every_setting_is_explained_and_every_explained_setting_is_read() -> None:
    tree = ast.parse(Path(settings_module.__file__).read_text("utf-8"))
    texts = {node.value for node in ast.walk(tree) if isinstance(node, ast.Constant) and isinstance(node.value, str)}
    names = {text for text in texts if re.fullmatch(r"[A-Z][A-Z_]+", text)}
    assert set(rows(read("docs/deployment.md"), "## Settings")) == names


def test_the_defaults_of_the_settings_are_as_told(tmp_path: Path) -> None:
    needed = {
        "DATA_DIR": str(tmp_path),
        "DATABASE_URL": "postgresql://there/scoreboard",
        "REDIS_URL": "redis://there",
        "BROKER_URL": "redis://there",
        "TOKEN_KEYS": "a:" + "00" * 32,
        "ENCRYPTION_KEYS": "a:" + "00" * 32,
    }
    settings = Settings.from_env(needed)
    for name, cell in rows(read("docs/deployment.md"), "## Settings").items():
        told = re.fullmatch(r"`([^`]+)`", cell)
        if told is None:
            continue
        default = getattr(settings, name.lower())
        if isinstance(default, Path):
            default = default.relative_to(ROOT)
        elif isinstance(default, float) and default.is_integer():
            default = int(default)
        assert str(default) == told[1], name


def test_every_error_code_is_explained_with_its_status() -> None:
    documented = {code: int(status) for code, status in rows(read("docs/api.md"), "## Problems").items()}
    assert documented == STATUS_OF


def test_every_error_code_has_its_anchor() -> None:
    assert anchors(ROOT / "docs/api.md") >= set(STATUS_OF)


def test_every_part_of_readyz_is_explained() -> None:
    assert set(rows(read("docs/operations.md"), "## Is it well?")) == set(operations.PARTS)
    assert set(schemas.Readiness.__struct_fields__) == {"status", "parts"}


def commands() -> list[tuple[str, str]]:
    """(document, words after `flask --app web`) of every command that is told with all of its words."""
    found = []
    for path in DOCUMENTS:
        for line in re.findall(r"flask --app web ([^`\n#]+)", path.read_text("utf-8")):
            found += [(path.name, line.strip())]
    return found


@pytest.mark.parametrize(("document", "line"), commands())
def test_every_command_told_is_there(document: str, line: str) -> None:
    app = Flask("documented")
    install_commands(app)
    command: click.Command = app.cli
    words = shlex.split(line)
    while words and isinstance(command, click.Group) and not words[0].startswith("-"):
        name = words.pop(0)
        assert name in command.commands, f"{document}: flask --app web {line}"
        command = command.commands[name]
    known = {"--help"}.union(*(parameter.opts for parameter in command.params))
    options = {word for word in words if word.startswith("--") and word != "--help"}
    assert options <= known, f"{document}: flask --app web {line}"


def test_every_make_target_told_is_there() -> None:
    targets = set(re.findall(r"^([a-z-]+):", read("Makefile"), re.MULTILINE))
    for path in DOCUMENTS:
        told = set(re.findall(r"^make ([a-z-]+)|`make ([a-z-]+)", path.read_text("utf-8"), re.MULTILINE))
        assert {first or second for first, second in told} <= targets, path.name


def anchors(path: Path) -> set[str]:
    """What can be linked to in a document: its headings, as GitHub spells them, and named places."""
    text = path.read_text("utf-8")
    headings = re.findall(r"^#{1,6} (.+)$", _CODE.sub("", text), re.MULTILINE)
    slugs = {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}
    return slugs | set(re.findall(r'<a id="(\w+)">', text))


@pytest.mark.parametrize("path", DOCUMENTS, ids=lambda path: str(path.relative_to(ROOT)))
def test_every_link_leads_somewhere(path: Path) -> None:
    for target in _LINK.findall(_CODE.sub("", path.read_text("utf-8"))):
        if re.match(r"[a-z]+:", target):
            assert target.startswith("https://"), target
            continue
        name, _, anchor = target.partition("#")
        file = (path.parent / name).resolve() if name else path
        assert file.is_relative_to(ROOT), target
        assert file.exists(), target
        if anchor and file.suffix == ".md":
            assert anchor in anchors(file), target


@pytest.mark.parametrize("path", DOCUMENTS, ids=lambda path: str(path.relative_to(ROOT)))
def test_no_document_names_a_place_on_somebodys_machine(path: Path) -> None:
    assert not re.search(r"(?<![\w.$])/(work|root|home|Users|tmp|mnt)/\w", path.read_text("utf-8"))


@pytest.mark.parametrize("path", DOCUMENTS, ids=lambda path: str(path.relative_to(ROOT)))
def test_files_named_in_code_marks_exist(path: Path) -> None:
    """`models/…`, `web/…` and the like, where they are named with their folder."""
    text = _CODE.sub("", path.read_text("utf-8"))
    for name in re.findall(r"`((?:models|web|worker|migrations|deploy|tests|bench|docs)/[\w./-]+)`", text):
        assert (ROOT / name).exists(), name


def test_the_readme_is_short_and_names_both_commands() -> None:
    readme = read("README.md")
    assert len(readme.splitlines()) <= 120
    assert "make run" in readme
    assert "make test" in readme


@pytest.mark.parametrize("path", DOCUMENTS, ids=lambda path: str(path.relative_to(ROOT)))
def test_python_in_the_documents_is_python(path: Path) -> None:
    for block in re.findall(r"^```python\n(.*?)^```", path.read_text("utf-8"), re.MULTILINE | re.DOTALL):
        ast.parse(block)
