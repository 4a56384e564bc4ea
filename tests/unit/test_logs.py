"""A log that cannot be written must not fail what was done."""

from __future__ import annotations

import io
import json
import os
import subprocess
import sys

import pytest

from deploy.local.procfile import ROOT
from models.logs import UnfailingFile


def test_a_broken_pipe_loses_the_line_and_nothing_else() -> None:
    """So it is when the supervisor died that read our standard error: an update is committed by then."""
    reads, writes = os.pipe()
    os.close(reads)
    with open(writes, "w", buffering=1, closefd=True) as pipe:  # noqa: PTH123 - a descriptor
        file = UnfailingFile(pipe)
        with pytest.raises(BrokenPipeError):
            pipe.write("x\n")
        file.write("x\n")
        file.flush()
        os.dup2(os.open(os.devnull, os.O_WRONLY), writes)  # so that closing what is buffered succeeds


def test_a_closed_file_loses_the_line_and_nothing_else() -> None:
    text = io.StringIO()
    text.close()
    UnfailingFile(text).write("x\n")


def test_what_can_be_written_is() -> None:
    text = io.StringIO()
    UnfailingFile(text).write("a line\n")
    assert text.getvalue() == "a line\n"


def test_characters_that_would_be_obeyed_are_written_as_escapes() -> None:
    text = io.StringIO()
    odd = "a\u2028b\u202ec\x7fd\x9be\ufeff"
    UnfailingFile(text).write(json.dumps({"path": odd + "Zoë 漢字"}, ensure_ascii=False) + "\n")
    assert text.getvalue() == '{"path": "a\\u2028b\\u202ec\\u007fd\\u009be\\ufeffZoë 漢字"}\n'
    assert json.loads(text.getvalue()) == {"path": odd + "Zoë 漢字"}


def test_a_token_that_a_client_put_into_an_address_is_not_written() -> None:
    text = io.StringIO()
    token = "eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiJhZGEifQ.c2lnbmF0dXJl"
    UnfailingFile(text).write(f'{{"url":{{"path":"/api/{token}/x"}}}}\n')
    assert text.getvalue() == '{"url":{"path":"/api/[token]/x"}}\n'


MANY = """
import os, sys
from models.logs import configure_logging
configure_logging("tests", "info")
for number in range(8):
    os.write(2, (str(number) * 60_000 + "\\n").encode())
"""


@pytest.mark.skipif(sys.platform != "linux", reason="pipes have a size that can be set on Linux only")
def test_lines_of_processes_that_share_a_pipe_do_not_mix_while_nobody_reads() -> None:
    reads, writes = os.pipe()
    processes = [subprocess.Popen([sys.executable, "-c", MANY], stderr=writes, cwd=ROOT) for _ in range(2)]
    os.close(writes)
    assert [process.wait(10) for process in processes] == [0, 0]  # there was room for all of it
    with os.fdopen(reads) as pipe:
        lines = pipe.read().splitlines()
    assert sorted(lines) == sorted(str(number) * 60_000 for number in range(8) for _ in range(2))
