"""A log that cannot be written must not fail what was done."""

from __future__ import annotations

import io
import os

import pytest

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
