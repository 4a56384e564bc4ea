"""The operators' command line, on real stores."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from click.testing import Result
from flask import Flask
from flask.testing import FlaskClient

from tests.fixtures.api import SignedIn, bearer
from tests.fixtures.people import server_update
from web.commands import demo_check, install_commands

Run = Callable[..., Result]


@pytest.fixture
def run(api: Flask) -> Run:
    """`run("users", "list")` is `flask --app web users list`."""
    install_commands(api)
    runner = api.test_cli_runner()
    return lambda *words: runner.invoke(args=list(words))


@pytest.fixture
def played(players: Any, submit_batch: Any, drain: Any) -> list[Any]:
    """Three players with scores."""
    people: list[Any] = players(3)
    submit_batch([server_update(person, value=9 - at) for at, person in enumerate(people)])
    drain()
    return people


def test_a_service_token_stands_alone_on_the_last_line_and_works(run: Run, client: FlaskClient) -> None:
    said = run("tokens", "create", "--scope", "scores:write", "--name", "lobby")
    assert said.exit_code == 0, said.output
    token = said.output.splitlines()[-1]
    assert client.post("/api/v1/scores/batch", json={"updates": [1]}, headers=bearer(token)).status_code == 202
    assert client.post("/api/v1/users", json={}, headers=bearer(token)).json["code"] == "forbidden"
    jti = said.output.split("tokens revoke ")[1].split()[0]
    assert run("tokens", "revoke", jti).exit_code == 0
    answer = client.post("/api/v1/scores/batch", json={"updates": [1]}, headers=bearer(token))
    assert (answer.status_code, answer.json["code"]) == (401, "token_revoked")


def test_a_scope_that_is_none_is_refused_with_those_that_are(run: Run) -> None:
    said = run("tokens", "create", "--scope", "everything")
    assert said.exit_code == 2
    assert "scores:write" in said.output


def test_players_are_listed_shown_blocked_and_let_in_again(
    run: Run, client: FlaskClient, sign_up: Callable[[], SignedIn], services: Any
) -> None:
    player = sign_up()
    name = player.account.username
    assert name in run("users", "list").output
    assert player.account.user_id in run("users", "show", name.upper()).output
    assert run("users", "block", name).exit_code == 2  # a reason is asked for
    assert run("users", "block", name, "--reason", "a test").exit_code == 0
    services.stores.revocations.renew()
    assert client.get("/api/v1/scores/me", headers=player.headers).json["code"] == "user_blocked"
    assert "blocked since" in run("users", "show", name).output
    assert run("users", "unblock", name, "--reason", "over").exit_code == 0
    services.stores.revocations.renew()
    assert client.get("/api/v1/scores/me", headers=player.headers).status_code == 200
    unknown = run("users", "show", "nobody-of-that-name")
    assert unknown.exit_code == 1
    assert "no player named" in unknown.output


def test_boards_and_actions_are_listed(run: Run, played: list[Any]) -> None:
    boards = run("boards", "list").output
    assert f"{played[0].username} (90)" in boards
    assert "level_complete" in run("actions", "list").output


def test_a_catalogue_is_checked_before_it_is_used(run: Run, tmp_path: Path) -> None:
    file = tmp_path / "catalogue.toml"
    file.write_text('[boards.global]\n[actions.win]\npoints = "ten"\nboards = ["global"]\n')
    said = run("actions", "check", str(file))
    assert said.exit_code == 1
    assert "line 3" in said.output
    file.write_text('[boards.global]\n[actions.win]\npoints = 10\nboards = ["global"]\n')
    assert run("actions", "check", str(file)).exit_code == 0


def test_a_board_is_shown_held_against_postgres_and_mended(
    run: Run, played: list[Any], stores: Any, query: Any
) -> None:
    shown = run("leaderboard", "show", "--top", "2").output
    assert [name in shown for name in (p.username for p in played)] == [True, True, False]
    assert run("leaderboard", "verify").exit_code == 0
    query("UPDATE scores SET score = score + 1 WHERE user_id = :user_id", user_id=played[1].user_id)
    differs = run("leaderboard", "verify")
    assert differs.exit_code == 1
    assert "differing: 1" in differs.output
    assert run("leaderboard", "rebuild").exit_code == 0
    assert run("leaderboard", "verify").exit_code == 0
    query("UPDATE scores SET version = version + 1 WHERE user_id = :user_id", user_id=played[1].user_id)
    mended = run("leaderboard", "verify", "--mend")
    assert (mended.exit_code, "1 players were refreshed" in mended.output) == (0, True)
    stores.redis.flushdb()
    missing = run("leaderboard", "verify")
    assert (missing.exit_code, "not in Redis" in missing.output) == (1, True)
    assert "it was rebuilt" in run("leaderboard", "verify", "--mend").output
    assert run("leaderboard", "verify").exit_code == 0
    assert "no board" in run("leaderboard", "verify", "nowhere").output


def test_the_demo_finds_what_ledger_and_history_do_not_hold_alike(
    stores: Any, player: Any, submit: Any, drain: Any
) -> None:
    """Lost, of another worth, or counted without having been accepted; others' rows are none of its business."""
    for action_id in ("run-1", "run-2", "others-1"):
        submit(player, action_id, value=2)
    drain()
    right = {(player.user_id, "run-1"): 20, (player.user_id, "run-2"): 20}

    def faults(ledger: dict[tuple[str, str], int]) -> list[str]:
        return [fault.split(":")[0] for fault in demo_check.unlike_history(stores, "global", "run-", ledger)]

    assert faults(right) == []
    assert faults(right | {(player.user_id, "run-3"): 20}) == ["action run-3"]
    assert faults(right | {(player.user_id, "run-2"): 30}) == ["action run-2"]
    assert faults({(player.user_id, "run-1"): 20}) == ["action run-2"]


@pytest.mark.parametrize("words", [(), ("users",), ("tokens",), ("boards",), ("actions",), ("leaderboard",), ("demo",)])
def test_help_helps(run: Run, words: tuple[str, ...]) -> None:
    said = run(*words, "--help")
    assert said.exit_code == 0
    assert "Usage:" in said.output
