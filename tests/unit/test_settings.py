"""Settings tell every fault at once, and never show a secret."""

from __future__ import annotations

import json
import secrets
from pathlib import Path

import pytest

from models.errors import SettingsInvalid
from models.settings import Settings
from tests.fixtures.service import environment_for

RANDOM_KEYS = {name: "a:" + secrets.token_hex(32) for name in ("TOKEN_KEYS", "ENCRYPTION_KEYS", "AUDIT_KEYS")}


@pytest.fixture
def environment(tmp_path: Path) -> dict[str, str]:
    return environment_for("postgresql://someone:hush@db/scores", "redis://:hush@cache/0", tmp_path)


def faults_of(environment: dict[str, str]) -> tuple[str, ...]:
    with pytest.raises(SettingsInvalid) as refused:
        Settings.from_env(environment)
    assert all(fault in str(refused.value) for fault in refused.value.faults)
    return refused.value.faults


def test_an_empty_environment_names_everything_that_is_missing(tmp_path: Path) -> None:
    faults = faults_of({"DATA_DIR": str(tmp_path)})
    missing = ["DATABASE_URL", "REDIS_URL", "BROKER_URL", "TOKEN_KEYS", "ENCRYPTION_KEYS"]
    assert [fault.split()[0] for fault in faults] == missing


BROKEN = {
    "PORT": ("eight", "0", "65536", "80.5"),
    "SHARDS": ("0", "1025", "-1"),
    "TRUSTED_PROXIES": ("-1", "11"),
    "ENVIRONMENT": ("staging",),
    "REGISTRATION": ("maybe",),
    "LOG_LEVEL": ("loud",),
    "LIMIT_USER": ("fifty", "50", "/second"),
    "LIMIT_ADDRESS": ("often",),
    "LIMIT_REGISTRATION": ("1/fortnight",),
    "DATABASE_URL": ("mysql://db/scores", "db/scores"),
    "DATABASE_POOLING": ("session", "on"),
    "DATABASE_REPLICA_URL": ("mysql://db/scores",),
    "REPLICA_LAG_LIMIT_SECONDS": ("0", "soon"),
    "REDIS_URL": ("http://cache", "cache:6379", "redis://:hu/sh@cache", "sentinel://one,two", "redis+cluster://one/1"),
    "BROKER_URL": ("smtp://broker",),
    "TOKEN_KEYS": ("", "k1", "k1:zz", "k1:" + "aa" * 31, ":" + "aa" * 32, f"k:{'aa' * 32},k:{'bb' * 32}"),
    "ENCRYPTION_KEYS": ("k1:" + "aa" * 31, "k1:" + "aa" * 33),
    "INBOX_DEPTH_LIMIT": ("0", "many"),
}


@pytest.mark.parametrize(("name", "value"), [(name, value) for name, values in BROKEN.items() for value in values])
def test_one_broken_value_is_one_fault_that_names_it(environment: dict[str, str], name: str, value: str) -> None:
    [fault] = faults_of({**environment, name: value})
    assert fault.startswith(name)


def test_all_broken_values_are_told_at_once(environment: dict[str, str]) -> None:
    faults = faults_of({**environment, **{name: values[0] for name, values in BROKEN.items()}})
    assert {fault.split()[0].rstrip(":") for fault in faults} == set(BROKEN)


def test_a_fault_never_repeats_a_secret(environment: dict[str, str]) -> None:
    short = "ab" * 16
    refusal = "\n".join(
        faults_of({**environment, "TOKEN_KEYS": f"k1:{short}", "DATABASE_URL": "mysql://someone:hush@db/scores"})
    )
    assert short not in refusal
    assert "hush" not in refusal


def test_no_secret_is_in_the_settings_repr(environment: dict[str, str]) -> None:
    settings = Settings.from_env(environment)
    shown = repr(settings) + repr(settings.token_keys) + str(settings.encryption_keys)
    assert "hush" not in shown
    for key in (*settings.token_keys, *settings.encryption_keys):
        assert key.secret.hex() not in shown
        assert repr(key.secret) not in shown


def test_a_url_without_a_driver_gets_psycopg_whatever_the_default_of_the_day(environment: dict[str, str]) -> None:
    for given in ("postgres://h/d", "postgresql://h/d", "postgresql+psycopg://h/d"):
        assert Settings.from_env({**environment, "DATABASE_URL": given}).database_url == "postgresql+psycopg://h/d"


def test_the_environment_wins_over_the_running_stack_and_that_over_the_secrets_file(
    environment: dict[str, str], tmp_path: Path
) -> None:
    secrets = tmp_path / "secrets.json"
    secrets.write_text(json.dumps({"TOKEN_KEYS": "file:" + "cc" * 32, "PORT": "3001", "SHARDS": "2"}))
    stack = {"SECRETS_FILE": str(secrets), "PORT": "3002", "TRUSTED_PROXIES": "3"}
    (tmp_path / "environment.json").write_text(json.dumps(stack))
    del environment["TOKEN_KEYS"]
    settings = Settings.from_env({**environment, "TRUSTED_PROXIES": "4"})
    assert settings.token_keys[0].kid == "file"
    assert (settings.shards, settings.port, settings.trusted_proxies) == (2, 3002, 4)


def test_a_name_that_is_set_to_nothing_counts_as_not_set(environment: dict[str, str], tmp_path: Path) -> None:
    (tmp_path / "environment.json").write_text(json.dumps({"PORT": "3002"}))
    assert Settings.from_env({**environment, "PORT": ""}).port == 3002


@pytest.mark.parametrize("content", ["", "{", "[]", '{"PORT": 8000}', "\xff"])
def test_a_broken_file_is_a_fault_that_names_the_file(
    environment: dict[str, str], tmp_path: Path, content: str
) -> None:
    file = tmp_path / "environment.json"
    file.write_bytes(content.encode("latin-1"))
    [fault] = faults_of(environment)
    assert str(file) in fault


def test_a_secrets_file_that_is_not_there_is_a_fault(environment: dict[str, str], tmp_path: Path) -> None:
    [fault] = faults_of({**environment, "SECRETS_FILE": str(tmp_path / "none.json")})
    assert "SECRETS_FILE" in fault


def test_registration_is_open_in_development_and_closed_in_production(environment: dict[str, str]) -> None:
    assert Settings.from_env(environment).registration_open
    production = {**environment, "ENVIRONMENT": "production", **RANDOM_KEYS}
    assert not Settings.from_env(production).registration_open
    opened = {**production, "REGISTRATION": "open", "ALLOW_UNSAFE": "open-registration"}
    assert Settings.from_env(opened).registration_open


@pytest.mark.parametrize(
    ("unsafe", "name"),
    [
        ({"REGISTRATION": "open"}, "open-registration"),
        ({"LOG_LEVEL": "debug"}, "debug-logs"),
        ({"TOKEN_KEYS": "a:" + "ab" * 32}, "simple-secrets"),
        ({"ENCRYPTION_KEYS": "a:" + "00" * 32}, "simple-secrets"),
        ({"AUDIT_KEYS": "a:" + b"correct horse correct horse corr".hex()}, "simple-secrets"),
    ],
)
def test_production_does_not_start_with_what_is_only_fit_for_development(
    environment: dict[str, str], unsafe: dict[str, str], name: str
) -> None:
    production = {**environment, "ENVIRONMENT": "production", **RANDOM_KEYS, **unsafe}
    with pytest.raises(SettingsInvalid, match=f"ALLOW_UNSAFE={name}"):
        Settings.from_env(production)
    Settings.from_env({**production, "ALLOW_UNSAFE": f"{name}, debug-logs"})
    Settings.from_env({**environment, **unsafe})  # in development nobody is kept from it
    with pytest.raises(SettingsInvalid, match="ALLOW_UNSAFE names 'everything'"):
        Settings.from_env({**production, "ALLOW_UNSAFE": "everything"})


def test_every_port_and_address_follows_port_and_host(environment: dict[str, str]) -> None:
    settings = Settings.from_env({**environment, "PORT": "9000", "HOST": "0.0.0.0"})
    assert (settings.sockets_port, settings.flower_port) == (9001, 9002)
    assert (settings.api_url, settings.sockets_url) == ("http://127.0.0.1:9000", "ws://127.0.0.1:9001")
    assert settings.allowed_origins == ("http://127.0.0.1:9000", "http://localhost:9000")
