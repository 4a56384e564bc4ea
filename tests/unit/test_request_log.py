"""A line for each request: like all others, soon, and without holding anybody up."""

from __future__ import annotations

import io
import json
import threading
from typing import Any

import pytest
import structlog
from hypothesis import given
from hypothesis import strategies as st

from models.logs import configure_logging
from web import request_log
from web.request_log import RequestLog, Served

SERVED = Served(1_790_000_000.1239, 4711, "r-1", "POST", "/api/v1/scores/update", 202, None)


def lines(file: io.StringIO) -> list[dict[str, Any]]:
    """What was written."""
    return [json.loads(line) for line in file.getvalue().split("\n") if line]


def written(level: str, *served: Served) -> list[dict[str, Any]]:
    """The lines of these requests."""
    file = io.StringIO()
    log = RequestLog("scoreboard-web", level, file)
    for each in served:
        log.note(each)
    log.close()
    return lines(file)


def test_a_line_has_the_fields_of_all_others(capsys: pytest.CaptureFixture[str]) -> None:
    configure_logging("scoreboard-web", "info")
    structlog.get_logger().info(
        "request",
        **{
            "event.action": "request",
            "event.duration": 4711,
            "http.request.id": "r-1",
            "http.request.method": "POST",
            "http.response.status_code": 429,
            "error.code": "rate_limited",
            "scoreboard.action.id": "a-1",
            "span.id": "b" * 16,
            "trace.id": "a" * 32,
            "url.path": "/x",
            "user.id": "u-1",
        },
    )
    usual = json.loads(capsys.readouterr().err)
    all_there_may_be = {"code": "rate_limited", "update": ("u-1", "a-1"), "trace": ("a" * 32, "b" * 16)}
    (ours,) = written("info", SERVED._replace(path="/x", status=429, **all_there_may_be))
    assert ours.pop("@timestamp") == "2026-09-21T14:13:20.123Z"
    assert len(usual.pop("@timestamp")) == len("2026-09-21T14:13:20.123Z")
    assert ours == usual
    assert list(ours)[:3] == list(usual)[:3]


@given(st.text())
def test_any_path_is_told_as_it_is(path: str) -> None:
    (line,) = written("debug", SERVED._replace(path=path))
    assert line["url"]["path"] == path


@pytest.mark.parametrize(("level", "told"), [("debug", 2), ("info", 1), ("warning", 0), ("error", 0)])
def test_the_level_says_what_is_told(level: str, told: int) -> None:
    assert len(written(level, SERVED, SERVED._replace(path="/healthz"))) == told


def test_lines_are_written_by_themselves_and_in_order(eventually) -> None:
    file = io.StringIO()
    log = RequestLog("scoreboard-web", "info", file)
    for number in range(100):
        log.note(SERVED._replace(request_id=f"r-{number}"))
    eventually(lambda: file.getvalue().count("\n") == 100)
    log.note(SERVED._replace(request_id="r-100"))
    eventually(lambda: file.getvalue().count("\n") == 101)
    log.close()
    assert [line["http"]["request"]["id"] for line in lines(file)] == [f"r-{number}" for number in range(101)]


def test_a_reader_that_does_not_read_holds_nobody_up_and_is_told_what_it_missed(
    monkeypatch: pytest.MonkeyPatch, eventually
) -> None:
    monkeypatch.setattr(request_log, "WAITING_MOST", 10)

    class Stuck(io.StringIO):
        go_on = threading.Event()

        def write(self, text: str) -> int:
            assert self.go_on.wait(10)
            return super().write(text)

    file = Stuck()
    log = RequestLog("scoreboard-web", "info", file)
    log.note(SERVED)
    eventually(lambda: not log._served)
    for _ in range(25):
        log.note(SERVED)
    file.go_on.set()
    log.close()
    told = lines(file)
    assert len([line for line in told if line["message"] == "request"]) == 11
    assert sum(line["scoreboard"]["lost"] for line in told if line["message"] != "request") == 15
