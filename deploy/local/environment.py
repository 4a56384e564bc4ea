"""The environment of a stack's processes: absolute values for everything, whatever was given."""

import json
import os
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Final

from deploy.local.embedded import postgres, valkey
from deploy.local.errors import StackError
from deploy.local.folders import Folders
from deploy.local.ports import reachable
from deploy.local.processes import STACK_MARK
from deploy.local.procfile import ROOT

DEFAULT_PORT: Final = 8000
PORTS_USED: Final = 3  # web, sockets, Flower; the embedded servers listen on sockets
# What another shell needs to speak to the running stack; the rest of a shell's environment is nobody's business.
SHARED_NAMES: Final = (
    "PORT", "HOST", "DATA_DIR", "DATABASE_URL", "REDIS_URL", "BROKER_URL", "SECRETS_FILE", "PROMETHEUS_MULTIPROC_DIR",
    "SOCKETS_PORT", "FLOWER_PORT", "API_URL", "SOCKETS_URL", "ENVIRONMENT", "CATALOGUE_FILE", "SHARDS", "LOG_LEVEL",
    "REGISTRATION", "ALLOWED_ORIGINS", "LIMIT_USER", "LIMIT_ADDRESS", "LIMIT_REGISTRATION", "TRUSTED_PROXIES",
    "JWKS_FILE", "JWKS_URL", "TOKEN_ISSUER", "INBOX_DEPTH_LIMIT", "INBOX_AGE_LIMIT_SECONDS", "SOCKETS_PROCESSES",
    "WEB_PROCESSES", "PIN_CORES", "RULES_FILE", "WEBHOOK_URL", "WEBHOOK_SECRET", "ALERTMANAGER_URL", "ADDRESS_DAYS",
    "LIMIT_ROUTES", "INNER_NETWORKS", "ALLOW_UNSAFE", "WORKER_METRICS_PORT", "TRACES_URL", "TRACES_RATIO",
    "DATABASE_POOLING", "DATABASE_REPLICA_URL", "REPLICA_LAG_LIMIT_SECONDS",
)  # fmt: skip
# These would send libpq, or the embedded server, elsewhere than the URL says.
_NOT_INHERITED: Final = ("PGHOST", "PGHOSTADDR", "PGPORT", "PGUSER", "PGDATABASE", "PGOPTIONS", "PGSERVICE", "PGDATA")


def embedded_names(given: Mapping[str, str]) -> list[str]:
    """The embedded servers this stack needs: those for which no URL was given."""
    needed = {"DATABASE_URL": "postgres", "REDIS_URL": "cache", "BROKER_URL": "broker"}
    return [server for name, server in needed.items() if not given.get(name)]


def build(given: Mapping[str, str], folders: Folders) -> dict[str, str]:
    """The whole environment of every process.

    Raises:
        StackError: when PORT is no port that leaves room for the others.
    """
    host = given.get("HOST") or "127.0.0.1"
    port = _port(given.get("PORT") or str(DEFAULT_PORT))
    values = {
        "HOST": host,
        "PORT": str(port),
        "SOCKETS_PORT": str(port + 1),
        "FLOWER_PORT": str(port + 2),
        "FLOWER_ADDRESS": "127.0.0.1",  # task arguments are visible there: this machine only
        "DATABASE_URL": postgres.url(folders.sockets),
        "REDIS_URL": valkey.url(folders.sockets, "cache"),
        "BROKER_URL": valkey.broker_url(folders.sockets, "broker"),
        "SECRETS_FILE": str(folders.secrets_file),
        "ENVIRONMENT": "development",
        "PIN_CORES": "on",  # the machine is ours
    }
    return {
        **{name: value for name, value in given.items() if name not in _NOT_INHERITED},
        **{name: given.get(name) or value for name, value in values.items()},
        "DATA_DIR": str(folders.data),
        "PROMETHEUS_MULTIPROC_DIR": str(folders.run / "metrics"),
        "PATH": os.pathsep.join([str(Path(sys.executable).parent), given.get("PATH", os.defpath)]),
        "PYTHONPATH": str(ROOT),
        "PYTHONUNBUFFERED": "1",
        STACK_MARK: str(folders.data),
    }


def shared(environ: Mapping[str, str]) -> dict[str, str]:
    """What goes into the file that commands in another shell read."""
    return {name: environ[name] for name in SHARED_NAMES if environ.get(name)}


def addresses(environ: Mapping[str, str]) -> dict[str, tuple[str, int]]:
    """What listens → the host and port where it does."""
    return {
        "API": (environ["HOST"], int(environ["PORT"])),
        "sockets": (environ["HOST"], int(environ["SOCKETS_PORT"])),
        "Flower": (environ["FLOWER_ADDRESS"], int(environ["FLOWER_PORT"])),
    }


def web_url(environ: Mapping[str, str]) -> str:
    """Where a browser on this machine finds the service."""
    return f"http://{reachable(environ['HOST'])}:{environ['PORT']}"


def require_embedded_postgres(given: Mapping[str, str], folders: Folders) -> None:
    """Check that the database is the embedded one.

    Raises:
        StackError: it is the person's own.
    """
    own = given.get("DATABASE_URL")
    if not own and folders.environment_file.exists():  # what the running stack was given
        own = json.loads(folders.environment_file.read_text("utf-8")).get("DATABASE_URL")
    if own and own != postgres.url(folders.sockets):
        raise StackError(
            "DATABASE_URL names a server of your own: back it up and restore it with its provider's tools."
        )


def _port(text: str) -> int:
    most = 65535 - PORTS_USED + 1
    if not text.isascii() or not text.isdigit() or not 1 <= int(text) <= most:
        raise StackError(f"PORT must be a whole number from 1 to {most}, not {text!r}.")
    return int(text)
