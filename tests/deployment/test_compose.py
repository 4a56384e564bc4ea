"""docker-compose.yml says the same as the Procfile, .env.example and Settings; no Docker is needed to check that."""

from __future__ import annotations

import re
import secrets
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml

from deploy import compose as configure
from deploy.local import procfile
from deploy.local.embedded import postgres, valkey
from models.settings import Settings

ROOT = procfile.ROOT
FILE = ROOT / "docker-compose.yml"
CORE_STORES = {"postgres": "postgres:18", "cache": "valkey/valkey:9", "broker": "valkey/valkey:9"}
JOBS = {"migrate", "production-migrate", "configure", "elastic-setup"}
#: Process of the Procfile → its containers in production.
PRODUCTION = {
    "web": configure.APIS,
    "sockets": configure.SOCKETS,
    "worker": configure.WORKERS,
    "beat": ("beat-1", "beat-2"),
    "flower": ("flower-1",),
}
PRODUCTION_STORES = {
    *("postgres-1", "postgres-2", "pgbouncer"),
    *("redis-1", "redis-2", "sentinel-1", "sentinel-2", "sentinel-3", "rabbitmq"),
}
MONITORING = {"prometheus", "alertmanager", "grafana", "node-exporter"}
LOGGING = {"filebeat", "logstash", "elasticsearch", "kibana", "elastic-setup"}
CHOICES = (
    {"core"},
    {"core", "monitoring"},
    {"core", "logging"},
    {"production"},
    {"production", "monitoring", "logging"},
)
#: Images whose start-up changes their own files, and those that need a right to begin with.
WRITES_INTO_ITSELF = {"postgres", "rabbitmq", "logstash", "elasticsearch", "kibana"}
BEGINS_AS_ROOT = {"postgres", "rabbitmq"}
SECRET = {"POSTGRES_PASSWORD", "VALKEY_PASSWORD", "TOKEN_KEYS", "ENCRYPTION_KEYS", "FLOWER_BASIC_AUTH"}
SECRET_OF_A_PROFILE = {name for names in configure.NEEDED.values() for name in names}
_VARIABLE = re.compile(r"(?<!\$)\$\{([A-Z][A-Z_0-9]*)(?:(:\?|:-)([^}]*))?\}")

Services = dict[str, dict[str, Any]]


@pytest.fixture(scope="module")
def compose() -> dict[str, Any]:
    return yaml.safe_load(FILE.read_text("utf-8"))


@pytest.fixture(scope="module")
def services(compose: dict[str, Any]) -> Services:
    return compose["services"]


def filled(text: str, given: dict[str, str]) -> str:
    """A value as Docker Compose fills it in."""
    return _VARIABLE.sub(lambda m: given.get(m[1]) or (m[3] if m[2] == ":-" else "pw"), text)


def environment(service: dict[str, Any]) -> dict[str, str]:
    given = {name: "first:" + secrets.token_hex(32) for name in ("TOKEN_KEYS", "ENCRYPTION_KEYS")}
    of_the_image = {"DATA_DIR": "/nonexistent", "PROMETHEUS_MULTIPROC_DIR": "/nonexistent"}
    return {**of_the_image, **{name: filled(v, given) for name, v in service["environment"].items()}}


def depends_on(service: dict[str, Any]) -> dict[str, str]:
    return {name: each["condition"] for name, each in service.get("depends_on", {}).items()}


def test_it_follows_the_compose_specification() -> None:
    checker = Path(sys.executable).parent / "check-jsonschema"
    checked = subprocess.run(
        [checker, "--builtin-schema", "vendor.compose-spec", FILE], capture_output=True, text=True, check=False
    )
    assert checked.returncode == 0, checked.stdout + checked.stderr


def test_core_has_the_processes_of_the_procfile_and_the_stores_they_need(services: Services) -> None:
    core = {name for name, service in services.items() if "core" in service["profiles"]}
    assert core == {*procfile.read(), *CORE_STORES, "migrate"}
    for name, image in CORE_STORES.items():
        assert services[name]["image"] == image


def test_production_has_the_whole_picture(services: Services) -> None:
    found = {name for name, service in services.items() if service["profiles"] == ["production"]}
    processes = {name for names in PRODUCTION.values() for name in names}
    exporters = {name for name in found if name.endswith("-exporter")}
    assert found - exporters == {*processes, *PRODUCTION_STORES, "lb-1", "lb-2", "production-migrate"}
    for profile, expected in (("monitoring", MONITORING), ("logging", LOGGING)):
        assert {name for name, each in services.items() if each["profiles"] == [profile]} == expected


@pytest.mark.parametrize("process", procfile.read())
def test_a_container_runs_the_command_of_the_procfile(services: Services, process: str) -> None:
    for name in (process, *PRODUCTION[process]):
        service = services[name]
        assert service["command"] == ["python", "-m", "deploy.local.procfile", process]
        assert service["healthcheck"]["test"] == ["CMD", "python", "-m", "deploy.health", process]
        procfile.arguments(procfile.read()[process], environment(service))


def test_every_service_tells_whether_it_is_well(services: Services) -> None:
    for name, service in services.items():
        check = service["healthcheck"]
        assert check.get("test") or (name in JOBS and check == {"disable": True}), name


def test_nobody_starts_before_what_they_need(services: Services) -> None:
    for name in JOBS - {"configure"}:
        assert set(depends_on(services[name]).values()) == {"service_healthy"}, name
    for process, names in PRODUCTION.items():
        needed = depends_on(services[process])
        assert needed["migrate"] == "service_completed_successfully"
        assert {"cache", "broker"} <= set(needed)
        for name in names:
            needed = depends_on(services[name])
            assert needed["production-migrate"] == "service_completed_successfully", name
            assert {"pgbouncer", "rabbitmq", "sentinel-1"} <= set(needed), name


@pytest.mark.parametrize("chosen", CHOICES, ids=lambda chosen: "+".join(sorted(chosen)))
def test_a_choice_of_profiles_needs_nothing_beyond_itself(services: Services, chosen: set[str]) -> None:
    started = {name: each for name, each in services.items() if chosen & set(each["profiles"])}
    for name, service in started.items():
        for needed, condition in depends_on(service).items():
            assert needed in started, f"{name} waits for {needed}"
            assert (condition == "service_completed_successfully") == (needed in JOBS), (name, needed)


def test_every_container_is_shut_in(services: Services) -> None:
    for name, service in services.items():
        assert service["security_opt"] == ["no-new-privileges:true"], name
        assert (service.get("cap_drop") == ["ALL"]) == (name not in BEGINS_AS_ROOT), name
        assert service.get("read_only", False) == (name not in WRITES_INTO_ITSELF), name
        assert not service.get("privileged")
        assert service.get("cap_add", []) == (["DAC_READ_SEARCH"] if name == "filebeat" else []), name


def test_ports_are_published_on_this_machine_unless_asked_otherwise(services: Services) -> None:
    for name, service in services.items():
        for port in service.get("ports", ()):
            outside = name in ("web", "sockets", "lb-1", "lb-2")
            assert port.startswith("${BIND_ADDRESS:-127.0.0.1}:" if outside else "127.0.0.1:"), name
    published = [
        port.rpartition(":${")[2].partition(":")[0] for each in services.values() for port in each.get("ports", ())
    ]
    assert len(set(published)) == len(published)


def test_images_are_of_a_version(services: Services) -> None:
    for name, service in services.items():
        tag = filled(service["image"], {}).partition(":")[2]
        assert re.match(r"v?\d", tag), name


def test_every_variable_is_explained_and_the_secret_ones_are_asked_for() -> None:
    example = dict(re.findall(r"^([A-Z_0-9]+)=(.*)$", (ROOT / ".env.example").read_text("utf-8"), re.MULTILINE))
    used = _VARIABLE.findall(FILE.read_text("utf-8"))
    assert {name for name, _, _ in used} == set(example)
    for name, operator, default in used:
        if name in SECRET:
            assert (operator, example[name]) == (":?", ""), name
        elif name in SECRET_OF_A_PROFILE:  # asked for by `configure`: Compose would ask whatever the profile
            assert (operator, default, example[name]) == (":-", "", ""), name
        else:
            assert (operator, default) == (":-", example[name]), name


def test_no_secret_is_in_the_file() -> None:
    text = FILE.read_text("utf-8")
    assert not re.search(r"[0-9a-f]{32}|-----BEGIN", text)
    for name, value in re.findall(r"^\s+(\w*(?:PASS|PASSWORD|KEYS|AUTH)):\s*(.+)$", text, re.MULTILINE):
        assert value.startswith('"${'), name


def test_the_settings_accept_what_a_container_is_given(services: Services) -> None:
    settings = Settings.from_env(environment(services["web"]))
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


def test_the_settings_accept_what_production_is_given(services: Services) -> None:
    for name in (*configure.APIS, *configure.WORKERS, "production-migrate"):
        settings = Settings.from_env(environment(services[name]))
        assert settings.shards == len(configure.WORKERS)


def test_what_is_mounted_is_written_and_is_there(services: Services, tmp_path: Path) -> None:
    given = environment(services["configure"]) | {"COMPOSE_PROFILES": "production,monitoring,logging"}
    given |= dict.fromkeys(SECRET_OF_A_PROFILE, "pw")
    files = configure.write(tmp_path, given)
    for name, service in services.items():
        mounts = [each for each in service.get("volumes", ()) if isinstance(each, dict)]
        assert all(each["read_only"] and each["source"] == "configuration" for each in mounts), name
        words = " ".join([*service.get("command", ()), *service.get("entrypoint", ())]) if mounts else ""
        for path in re.findall(r"/configuration/([\w.-]+\.\w+)", words):
            assert f"{mounts[0]['volume']['subpath']}/{path}" in files, name
        for each in service.get("volumes", ()):
            if isinstance(each, str) and each.startswith("./"):
                assert (ROOT / each.partition(":")[0]).exists(), each
    assert not any("${" in (tmp_path / path).read_text("utf-8") for path in files if "prometheus" in path)


def test_prometheus_finds_every_part(services: Services, tmp_path: Path) -> None:
    for chosen in ("core,monitoring", "production,monitoring"):
        given = environment(services["configure"]) | dict.fromkeys(SECRET_OF_A_PROFILE, "pw")
        files = dict(configure.written(given | {"COMPOSE_PROFILES": chosen}))
        wanted = set(
            re.findall(r'"\$\{TARGETS\}/(\w+)\.json"', (ROOT / "deploy/prometheus/prometheus.yml.template").read_text())
        )
        assert {f"prometheus/targets/{job}.json" for job in wanted} <= set(files)
        for path, text in files.items():
            for host in re.findall(r'"([\w-]+):\d+"', text) if path.startswith("prometheus/targets") else ():
                assert set(services[host]["profiles"]) & set(chosen.split(",")), host


def test_a_profile_without_its_secret_is_refused(services: Services) -> None:
    given = environment(services["configure"])
    assert configure.profiles(given | {"COMPOSE_PROFILES": "core"}) == {"core"}
    for profile, names in configure.NEEDED.items():
        with pytest.raises(configure.SecretMissing, match=names[0]):
            configure.profiles(given | {"COMPOSE_PROFILES": f"core,{profile}", names[0]: ""})
