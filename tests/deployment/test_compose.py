"""docker-compose.yml says the same as the Procfile, .env.example and Settings; no Docker is needed to check that."""

import re
import secrets
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml

from deploy.local import procfile
from deploy.local.embedded import postgres, valkey
from models.settings import Settings

ROOT = procfile.ROOT
FILE = ROOT / "docker-compose.yml"
STORES = {"postgres": "postgres:18", "cache": "valkey/valkey:9", "broker": "valkey/valkey:9"}
JOBS = {"migrate"}


@pytest.fixture(scope="module")
def compose() -> dict[str, Any]:
    return yaml.safe_load(FILE.read_text("utf-8"))


def test_it_follows_the_compose_specification() -> None:
    checker = Path(sys.executable).parent / "check-jsonschema"
    checked = subprocess.run(
        [checker, "--builtin-schema", "vendor.compose-spec", FILE], capture_output=True, text=True, check=False
    )
    assert checked.returncode == 0, checked.stdout + checked.stderr


def test_it_has_the_processes_of_the_procfile_and_the_stores_they_need(compose: dict[str, Any]) -> None:
    assert set(compose["services"]) == {*procfile.read(), *STORES, *JOBS}
    for name, image in STORES.items():
        assert compose["services"][name]["image"] == image


@pytest.mark.parametrize("name", list(procfile.read()))
def test_a_container_runs_the_command_of_the_procfile(compose: dict[str, Any], name: str) -> None:
    service = compose["services"][name]
    assert service["command"] == ["python", "-m", "deploy.local.procfile", name]
    procfile.arguments(procfile.read()[name], {"DATA_DIR": "/data", **service["environment"]})


def test_every_service_tells_whether_it_is_well(compose: dict[str, Any]) -> None:
    for name, service in compose["services"].items():
        check = service["healthcheck"]
        assert check.get("test") or (name in JOBS and check == {"disable": True}), name


def test_nobody_starts_before_what_they_need(compose: dict[str, Any]) -> None:
    assert compose["services"]["migrate"]["depends_on"] == {"postgres": {"condition": "service_healthy"}}
    for name in procfile.read():
        needed = compose["services"][name]["depends_on"]
        assert needed["migrate"] == {"condition": "service_completed_successfully"}
        assert {"cache", "broker"} <= set(needed)


def test_every_variable_is_explained_and_the_secret_ones_are_asked_for() -> None:
    explained = set(re.findall(r"^([A-Z_]+)=", (ROOT / ".env.example").read_text("utf-8"), re.MULTILINE))
    used = re.findall(r"(?<!\$)\$\{([A-Z_]+)(:\?|:-)?", FILE.read_text("utf-8"))
    assert {name for name, _ in used} == explained
    secret = {"POSTGRES_PASSWORD", "VALKEY_PASSWORD", "TOKEN_KEYS", "ENCRYPTION_KEYS", "FLOWER_BASIC_AUTH"}
    for name, operator in used:
        assert operator == (":?" if name in secret else ":-"), name


def test_the_settings_accept_what_a_container_is_given(compose: dict[str, Any]) -> None:
    given = {name: "first:" + secrets.token_hex(32) for name in ("TOKEN_KEYS", "ENCRYPTION_KEYS")}
    given["DATA_DIR"] = "/nonexistent"
    environment = {
        name: re.sub(r"\$\{([A-Z_]+):(\?|-)([^}]*)\}", lambda m: given.get(m[1], m[3] if m[2] == "-" else "pw"), value)
        for name, value in compose["services"]["web"]["environment"].items()
    }
    settings = Settings.from_env({"DATA_DIR": "/nonexistent", **environment})
    assert settings.environment == "production"
    assert not settings.registration_open


def test_the_stores_are_set_as_in_the_one_command_stack(compose: dict[str, Any]) -> None:
    command = compose["services"]["postgres"]["command"]
    for name in ("shared_buffers", "max_wal_size", "max_connections", "synchronous_commit", "fsync"):
        assert f"-c {name}={postgres.SETTINGS[name]}" in command
    for name, settings in (("cache", valkey.CACHE), ("broker", valkey.BROKER)):
        content = compose["configs"][name]["content"].splitlines()
        for key, value in {**settings, "maxmemory-policy": valkey.COMMON["maxmemory-policy"]}.items():
            assert f"{key} {value}" in content
