"""Keys are changed by a command, without anybody being signed out, and the old ones end when they were said to."""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from click.testing import Result
from flask import Flask
from flask.testing import FlaskClient

from models.settings import Settings
from tests.fixtures.api import OpenApi, SignedIn
from tests.fixtures.people import as_json, sign
from tests.fixtures.service import ENCRYPTION_KEYS, TOKEN_KEYS, environment_for
from web.commands import install_commands
from web.services import EXTENSION

ME = "/api/v1/scores/me"
Run = Callable[..., Result]


@pytest.fixture
def secrets_file(tmp_path: Path) -> Path:
    path = tmp_path / "secrets.json"
    path.write_text(json.dumps({"TOKEN_KEYS": TOKEN_KEYS, "ENCRYPTION_KEYS": ENCRYPTION_KEYS}), "utf-8")
    path.chmod(0o600)
    return path


@pytest.fixture
def environment(environment: dict[str, str], secrets_file: Path) -> dict[str, str]:
    kept = {name: value for name, value in environment.items() if name not in ("TOKEN_KEYS", "ENCRYPTION_KEYS")}
    return {**kept, "SECRETS_FILE": str(secrets_file)}


@pytest.fixture
def run(api: Flask) -> Run:
    install_commands(api)
    return lambda *words: api.test_cli_runner().invoke(args=list(words))


@pytest.fixture
def anew(open_api: OpenApi, environment: dict[str, str]) -> Callable[[], Flask]:
    """`anew()` is the API as it starts now."""
    return lambda: open_api(Settings.from_env(environment))


def update(client: FlaskClient, player: SignedIn) -> Any:
    headers = {"Content-Type": "application/json", **player.headers}
    return client.post("/api/v1/scores/update", data=as_json(sign(player.account)), headers=headers)


def test_a_token_key_is_rotated_and_nobody_is_signed_out(
    run: Run, anew: Callable[[], Flask], sign_up, secrets_file: Path
) -> None:
    player = sign_up()
    said = run("keys", "rotate")
    assert said.exit_code == 0, said.output
    assert "make reload" in said.output
    assert secrets_file.stat().st_mode & 0o777 == 0o600
    later = anew()
    [new, old] = later.extensions[EXTENSION].settings.token_keys
    assert old.kid == "t1"
    assert old.until == pytest.approx(time.time() + 30 * 86_400, abs=5)
    assert new.kid in said.output
    assert new.secret.hex() not in said.output
    client = later.test_client()
    assert client.get(ME, headers=player.headers).status_code == 200
    pair = later.extensions[EXTENSION].identity.issue(player.account.user_id)
    assert client.get(ME, headers={"Authorization": f"Bearer {pair.access_token}"}).status_code == 200


def test_an_old_key_ends_when_it_was_said_to(run: Run, anew: Callable[[], Flask], sign_up, eventually) -> None:
    player = sign_up()
    assert run("keys", "rotate", "--keep", "2s").exit_code == 0
    client = anew().test_client()
    assert client.get(ME, headers=player.headers).status_code == 200  # and is remembered from here on
    # Its tokens are held to the leeway of all tokens.
    eventually(lambda: client.get(ME, headers=player.headers).status_code == 401, 15)
    late = anew().test_client()
    assert late.get(ME, headers=player.headers).json["code"] == "token_invalid"


def test_encryption_keys_are_rotated_and_resealed(
    run: Run, anew: Callable[[], Flask], sign_up, secrets_file: Path, query
) -> None:
    player, other = sign_up(), sign_up()
    assert run("keys", "rotate", "encryption").exit_code == 0
    later = anew()
    assert update(later.test_client(), player).status_code == 202  # under the old key
    install_commands(later)
    runner = later.test_cli_runner()
    assert "2 keys" in runner.invoke(args=["keys", "reseal"]).output
    assert "0 keys" in runner.invoke(args=["keys", "reseal"]).output
    kid = later.extensions[EXTENSION].settings.encryption_keys[0].kid
    assert query("SELECT DISTINCT secret_key_kid FROM users") == [(kid,)]
    content = json.loads(secrets_file.read_text("utf-8"))
    content["ENCRYPTION_KEYS"] = content["ENCRYPTION_KEYS"].split(",")[0]
    secrets_file.write_text(json.dumps(content), "utf-8")
    assert update(anew().test_client(), other).status_code == 202  # without the old key


def test_keys_are_listed_by_their_names_alone(run: Run, secrets_file: Path) -> None:
    said = run("keys", "list").output
    assert "t1" in said
    assert "e1" in said
    for keys in json.loads(secrets_file.read_text("utf-8")).values():
        assert keys.partition(":")[2] not in said


def test_keys_of_the_environment_are_for_their_owner_to_change(
    open_api: OpenApi, tmp_path, database_url, redis_url
) -> None:
    app = open_api(Settings.from_env(environment_for(database_url, redis_url, tmp_path)))
    install_commands(app)
    said = app.test_cli_runner().invoke(args=["keys", "rotate"])
    assert said.exit_code == 1
    assert "by hand" in said.output
