"""The Procfile is read as honcho or foreman would, and its variables are filled in without a shell."""

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from deploy.local import procfile, stack
from deploy.local.errors import StackError


def test_the_services_processes_are_known_to_the_supervisor() -> None:
    grouped = {name for names in stack.GROUPS.values() for name in names}
    assert set(procfile.read()) <= grouped
    assert grouped - set(procfile.read()) == {"postgres", "cache", "broker"}


def test_comments_and_empty_lines_are_passed_over(tmp_path: Path) -> None:
    path = tmp_path / "Procfile"
    path.write_text("# what\n\nweb: serve --port $PORT\n  beat:  tick\n")
    assert procfile.read(path) == {"web": "serve --port $PORT", "beat": "tick"}


def test_a_line_that_is_no_process_is_named(tmp_path: Path) -> None:
    path = tmp_path / "Procfile"
    path.write_text("web: serve\nnonsense\n")
    with pytest.raises(StackError, match="line 2"):
        procfile.read(path)


@given(st.text(st.characters(codec="utf-8", exclude_characters="\0")))
def test_a_value_stays_one_word_whatever_is_in_it(value: str) -> None:
    words = procfile.arguments("run --file $DATA_DIR/run/${NAME}.db 'two words'", {"DATA_DIR": value, "NAME": "x"})
    assert words == ["run", "--file", f"{value}/run/x.db", "two words"]


def test_a_variable_that_is_not_set_is_named() -> None:
    with pytest.raises(StackError, match=r"\$PORT"):
        procfile.arguments("serve $PORT", {})
