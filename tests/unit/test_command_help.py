"""A command's `--help` tells what it does where nothing runs and nothing is set."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest


@pytest.mark.parametrize("command", ["demo", "users", "tokens", "boards", "actions", "leaderboard"])
def test_help_needs_no_stack(command: str, tmp_path: Path) -> None:
    told = _flask(tmp_path, command, "--help")
    assert told.returncode == 0, told.stderr
    assert f"flask {command} [OPTIONS]" in told.stdout


def test_a_command_without_a_stack_says_what_to_do(tmp_path: Path) -> None:
    told = _flask(tmp_path, "users", "list")
    assert told.returncode != 0
    assert "start the embedded stack with `make run`" in told.stderr
    assert "Traceback" not in told.stderr


def _flask(data: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    bare = {"PATH": os.environ["PATH"], "DATA_DIR": str(data)}  # not the folder of a stack that may be running here
    command = [sys.executable, "-m", "flask", "--app", "web", *arguments]
    return subprocess.run(command, env=bare, capture_output=True, text=True, timeout=60, check=False)
