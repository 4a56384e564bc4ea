"""A command's `--help` tells what it does where nothing runs and nothing is set."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest


@pytest.mark.parametrize("command", ["demo", "users", "tokens", "boards", "actions", "leaderboard"])
def test_help_needs_no_stack(command: str) -> None:
    told = _flask(command, "--help")
    assert told.returncode == 0, told.stderr
    assert f"flask {command} [OPTIONS]" in told.stdout


def test_a_command_without_a_stack_says_what_to_do() -> None:
    told = _flask("users", "list")
    assert told.returncode != 0
    assert "start the embedded stack with `make run`" in told.stderr
    assert "Traceback" not in told.stderr


def _flask(*arguments: str) -> subprocess.CompletedProcess[str]:
    bare = {name: os.environ[name] for name in ("PATH", "HOME") if name in os.environ}
    command = [sys.executable, "-m", "flask", "--app", "web", *arguments]
    return subprocess.run(command, env=bare, capture_output=True, text=True, timeout=60, check=False)
