"""Fills in the templates for the names of docker-compose.yml: `python -m deploy.compose FOLDER`, service `configure`.

What stands where is said here and nowhere else: a file of the folder for each entry of `written`, by profile.
"""

import argparse
import json
import os
import shutil
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Final

from deploy.templates import FOLDER, fill
from models.storage.database import SESSION

APIS: Final = ("api-1", "api-2", "api-3")
SOCKETS: Final = ("sockets-1", "sockets-2")
WORKERS: Final = ("worker-1", "worker-2")
#: What a profile cannot do without, and the others can.
NEEDED: Final = {
    "production": ("RABBITMQ_PASSWORD",),
    "monitoring": ("GRAFANA_PASSWORD",),
}
#: Job → instance → where Prometheus finds its figures.
_CORE: Final = {"api": {"web": "web:8000"}, "sockets": {"sockets": "sockets:8001"}, "worker": {"worker": "worker:8003"}}
_CORE_FLOWER: Final = {"flower": {"flower": "flower:8002"}}
_PRODUCTION: Final = {
    "api": {name: f"{name}:8000" for name in APIS},
    "sockets": {name: f"{name}:8001" for name in SOCKETS},
    "worker": {name: f"{name}:8003" for name in WORKERS},
    "flower": {"flower": "flower-1:8002"},
    "nginx": {"lb-1": "nginx-exporter:9113"},
    "haproxy": {"lb-2": "lb-2:8405"},
    "postgres": {name: f"{name}-exporter:9187" for name in ("postgres-1", "postgres-2")},
    "pgbouncer": {"pgbouncer": "pgbouncer-exporter:9127"},
    "redis": {name: f"{name}-exporter:9121" for name in ("redis-1", "redis-2")},
    "rabbitmq": {"rabbitmq": "rabbitmq:15692"},
}
_WATCHING: Final = {
    "node": {"node": "node-exporter:9100"},
    "prometheus": {"prometheus": "prometheus:9090"},
    "alertmanager": {"alertmanager": "alertmanager:9093"},
}


class SecretMissing(KeyError):
    """A profile is asked for without what it needs."""

    def __init__(self, profile: str, names: list[str]) -> None:
        super().__init__(f"the profile {profile} needs {', '.join(names)} in .env")


def profiles(given: Mapping[str, str]) -> set[str]:
    """Those that are asked for.

    Raises:
        SecretMissing: one of them lacks a secret.
    """
    wanted = {name.strip() for name in given["COMPOSE_PROFILES"].split(",")}
    for profile in sorted(wanted & set(NEEDED)):
        missing = [name for name in NEEDED[profile] if not given.get(name)]
        if missing:
            raise SecretMissing(profile, missing)
    return wanted


def written(given: Mapping[str, str]) -> Iterator[tuple[str, str]]:
    """The path of each file in the folder, and its text."""
    wanted = profiles(given)
    if "production" in wanted:
        yield from _edges(given)
        yield from _postgres(given)
        yield from _redis(given)
    if "monitoring" in wanted:
        yield from _monitoring(given, production="production" in wanted)


def _edges(given: Mapping[str, str]) -> Iterator[tuple[str, str]]:
    origins = [origin.strip() for origin in given["ALLOWED_ORIGINS"].split(",")]
    inner = [network.strip() for network in given["INNER_NETWORKS"].split(",")]
    values = {
        "PUBLIC_URL": given["API_URL"],
        "FLOWER": "flower-1:8002",
        "CERTIFICATE": "/run/secrets/certificate",
        "KEY": "/run/secrets/certificate",
        "CONNECTIONS": 8192,
        "DRAIN_SECONDS": 20,
        "REQUESTS_A_SECOND": 1000,
        "REQUESTS_AT_ONCE": 500,
        "SOCKETS_AT_ONCE": 10_000,
        "CONNECTIONS_AT_ONCE": 10_500,
        "SLOW": "10s",
    }
    nginx = values | {
        "LISTEN": "8443",
        "LISTEN_PLAIN": "8080",
        "LISTEN_STATUS": "8405",
        "LISTEN_PRESS": "127.0.0.1:8406",
        "FOLDER": "/run/nginx",
        "LOG": "/dev/stdout",
        "WORKERS": "auto",
        "REQUESTS_BURST": 2000,
        "ALLOWED_ORIGINS": ",".join(origins),
        "INNER_NETWORKS": " ".join(f"{network} 1;" for network in inner),
        "API_SERVERS": " ".join(f"server {name}:8000 max_fails=2 fail_timeout=5s;" for name in APIS),
        "SOCKET_SERVERS": " ".join(f"server {name}:8001 max_fails=2 fail_timeout=5s;" for name in SOCKETS),
    }
    haproxy = values | {
        "LISTEN": "*:8443",
        "LISTEN_PLAIN": "*:8080",
        "LISTEN_STATUS": "*:8405",
        "FOLDER": "/run/haproxy",
        "WINDOW": 10,
        "REQUESTS_OF_WINDOW": 10_000,
        "ALLOWED_ORIGINS": " ".join(origins),
        "INNER_NETWORKS": " ".join(inner),
        "API_SERVERS": "\n    ".join(f"server {name} {name}:8000" for name in APIS),
        "SOCKET_SERVERS": "\n    ".join(f"server {name} {name}:8001" for name in SOCKETS),
    }
    for tool, filled in (("nginx", nginx), ("haproxy", haproxy)):
        for file in sorted((FOLDER / tool).iterdir()):
            if file.suffix == ".template":
                yield f"{tool}/{file.stem}", fill(file, filled)
            elif file.suffix in (".conf", ".lst", ".http"):
                yield f"{tool}/{file.name}", file.read_text("utf-8")


def _postgres(given: Mapping[str, str]) -> Iterator[tuple[str, str]]:
    names = ("postgres-1", "postgres-2")
    password = given["POSTGRES_PASSWORD"]
    for name, other in (names, names[::-1]):
        values = {
            "NAME": name,
            "DATA": "/var/lib/postgresql/18/docker",
            "CONFIGURATION": f"/configuration/{name}",
            "SOCKETS": "/run/postgresql",
            "ACCOUNT": "postgres",
            "LISTEN": "*",
            "PORT": 5432,
            "STANDBYS": ", ".join(f'"{each}"' for each in names),
            "MAX_CONNECTIONS": 100,
            "SHARED_BUFFERS": "256MB",
            "SLOT_WAL": "4GB",
            "DATABASE": "scoreboard",
            "SERVICE": "scoreboard",
            "MONITOR": "monitor",
            "REPLICATION": "replicator",
            "ROLE": "replicator",
            "CLIENTS": "samenet",
            "SERVERS": "samenet",
            "PRIMARY_HOST": other,
            "PRIMARY_PORT": 5432,
            "PASSFILE": "/tmp/replication.pass",  # noqa: S108 - a tmpfs of the container; start-postgres.sh writes it
            "SLOT": name.replace("-", "_"),
        }
        files = {"primary": "postgresql", "replica": "replica", "pg_hba": "pg_hba", "pg_ident": "pg_ident"}
        for template, file in files.items():
            yield f"postgres/{name}/{file}.conf", fill(FOLDER / "postgres" / f"{template}.conf.template", values)
        yield f"postgres/{name}/role.sql", _settings_of_the_role()
    pooler = {
        "CONFIGURATION": "/configuration",
        "SOCKETS": "/tmp",  # noqa: S108 - a tmpfs of the container
        "LISTEN": "*",
        "PORT": 6432,
        "ADMIN": "pooler",
        "MONITOR": "monitor",
        "MAX_CLIENTS": 400,
        "DATABASE": "scoreboard",
        "PRIMARY_HOST": "postgres-1",
        "PRIMARY_PORT": 5432,
        "REPLICA_HOST": "postgres-2",
        "REPLICA_PORT": 5432,
        "POOL_SIZE": 50,
        "REPLICA_POOL_SIZE": 20,
    }
    for file in ("pgbouncer.ini", "databases.ini"):
        yield f"pgbouncer/{file}", fill(FOLDER / "pgbouncer" / f"{file}.template", pooler)
    yield "pgbouncer/userlist.txt", "".join(f'"{role}" "{password}"\n' for role in ("scoreboard", "monitor", "pooler"))


def _settings_of_the_role() -> str:
    """The time-outs that the service sets itself where no pooler stands between."""
    return "".join(f"ALTER ROLE scoreboard SET {name} = '{value}';\n" for name, value in SESSION.items())


def _redis(given: Mapping[str, str]) -> Iterator[tuple[str, str]]:
    password = given["VALKEY_PASSWORD"]
    server = {"LISTEN": "*", "PORT": 6379, "DATA": "/data", "MAXMEMORY": "512mb"}
    server |= {"PASSWORD": password, "SERVICE_PASSWORD": password}
    text = fill(FOLDER / "redis" / "server.conf.template", server)
    # By name, as addresses change when containers do.
    named = "replica-announce-ip {}\n"
    yield "redis/redis-1.conf", text + named.format("redis-1")
    yield "redis/redis-2.conf", text + named.format("redis-2") + "replicaof redis-1 6379\n"
    sentinel = {
        "LISTEN": "*",
        "PORT": 26379,
        "DATA": "/data",
        "PASSWORD": password,
        "SERVER_PASSWORD": password,
        "MASTER_NAME": "scoreboard",
        "MASTER_HOST": "redis-1",
        "MASTER_PORT": 6379,
        "DOWN_AFTER_MS": 3000,
    }
    by_name = "sentinel resolve-hostnames yes\nsentinel announce-hostnames yes\n"
    yield "redis/sentinel.conf", by_name + fill(FOLDER / "redis" / "sentinel.conf.template", sentinel)


def _monitoring(given: Mapping[str, str], *, production: bool) -> Iterator[tuple[str, str]]:
    values = {
        "INTERVAL": "15s",
        "TIMEOUT": "10s",
        "RULES": "/rules",
        "TARGETS": "/configuration/targets",
        "DEPLOYMENT": "production" if production else "core",
        "FLOWER_PATH": "/flower/metrics" if production else "/metrics",
    }
    yield "prometheus/prometheus.yml", fill(FOLDER / "prometheus" / "prometheus.yml.template", values)
    found = (_PRODUCTION if production else _CORE | _CORE_FLOWER) | _WATCHING
    for job in {*_PRODUCTION, *_WATCHING}:
        targets = [{"targets": [at], "labels": {"instance": name}} for name, at in found.get(job, {}).items()]
        yield f"prometheus/targets/{job}.json", json.dumps(targets, indent=1) + "\n"
    told = {name: given[name] for name in ("PAGE_URL", "TICKET_URL", "SECURITY_URL", "WATCHDOG_URL")}
    told |= {"GROUP_WAIT": "30s", "GROUP_INTERVAL": "5m"}
    yield "alertmanager/alertmanager.yml", fill(FOLDER / "alertmanager" / "alertmanager.yml.template", told)


def write(folder: Path, given: Mapping[str, str]) -> list[str]:
    """Write all of it, in place of what was there; gives the paths.

    Everybody may read it: a container sees its own part of the folder and no other.
    """
    files = dict(written(given))
    for part in {path.partition("/")[0] for path in files}:
        shutil.rmtree(folder / part, ignore_errors=True)
    for path, text in files.items():
        (folder / path).parent.mkdir(mode=0o755, parents=True, exist_ok=True)
        (folder / path).write_text(text, "utf-8")
    return sorted(files)


def main() -> int:
    """Write the folder; gives the exit code."""
    parser = argparse.ArgumentParser("python -m deploy.compose", description=__doc__)
    parser.add_argument("folder", type=Path)
    try:
        paths = write(parser.parse_args().folder, os.environ)
    except (KeyError, OSError) as error:
        sys.stderr.write(f"{error.args[0] if isinstance(error, KeyError) else error}\n")
        return 1
    sys.stdout.write("".join(f"{path}\n" for path in paths))
    return 0


if __name__ == "__main__":
    sys.exit(main())
