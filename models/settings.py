"""What the service runs with: the only reader of the environment."""

from __future__ import annotations

import base64
import json
import os
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from hashlib import blake2b
from pathlib import Path
from typing import Final, Literal, cast, get_args

from models import redis_url
from models.errors import SettingsInvalid
from models.subjects import Network, network_of

#: Different bytes in a key: of 32 random ones fewer than this are as likely as one in 10^17.
DISTINCT_BYTES_LEAST: Final = 16
SECRET_BYTES_LEAST: Final = 32  # RFC 7518 §3.2: an HS256 key is at least as long as the hash
#: Standard Webhooks, "Signature scheme".
WEBHOOK_BYTES_LEAST: Final = 24
WEBHOOK_BYTES_MOST: Final = 64
DEFAULT_CATALOGUE: Final = Path(__file__).parent / "boards" / "catalogue.toml"
DEFAULT_RULES: Final = Path(__file__).parent / "guard" / "rules.toml"
#: What stands between us and PostgreSQL: nothing, or a pooler that lends a connection for a transaction at a time.
Pooling = Literal["none", "transaction"]
#: What production refuses to start with unless ALLOW_UNSAFE names it, and why.
UNSAFE: Final = {
    "open-registration": "REGISTRATION is open: anybody may make as many players as they like",
    "debug-logs": "LOG_LEVEL is debug: logs grow with every message of every socket",
    "simple-secrets": "a key looks as if somebody had typed it: make one with `openssl rand -hex 32`",
}
_POSTGRES: Final = ("postgresql+psycopg", "postgresql", "postgres")
_LIMIT = re.compile(r"^\s*\d+\s*(/|per)\s*(\d+\s*)?(second|minute|hour|day)s?\s*(;.*)?$", re.IGNORECASE)


@dataclass(frozen=True, slots=True)
class Key:
    """A named secret; `kid` travels with what it made, so that keys can be changed."""

    kid: str
    secret: bytes = field(repr=False)
    until: float | None = None  # Unix seconds after which nothing made with it holds any more


@dataclass(frozen=True, slots=True)
class Settings:
    """Frozen settings of one process; see docs/deployment.md for each name."""

    environment: str
    host: str
    port: int
    sockets_port: int
    web_processes: int
    sockets_processes: int
    pin_cores: bool
    flower_port: int
    data_dir: Path
    secrets_file: Path | None
    database_url: str = field(repr=False)
    database_pooling: Pooling
    database_replica_url: str | None = field(repr=False)
    replica_lag_limit_seconds: float
    redis_url: str = field(repr=False)
    broker_url: str = field(repr=False)
    limit_user: str
    limit_address: str
    limit_registration: str
    limit_routes: Mapping[str, str]
    registration_open: bool
    allowed_origins: tuple[str, ...]
    log_level: str
    api_url: str
    sockets_url: str
    shards: int
    trusted_proxies: int
    inner_networks: tuple[Network, ...]
    catalogue_file: Path
    token_keys: tuple[Key, ...]
    encryption_keys: tuple[Key, ...]
    audit_keys: tuple[Key, ...]
    rules_file: Path
    webhook_url: str | None = field(repr=False)
    webhook_secret: bytes | None = field(repr=False)
    alertmanager_url: str | None = field(repr=False)
    address_days: int
    metrics_dir: str | None
    worker_metrics_port: int | None
    jwks_file: str | None
    jwks_url: str | None
    token_issuer: str
    inbox_depth_limit: int
    inbox_age_limit_seconds: float
    traces_url: str | None = field(repr=False)
    traces_ratio: float

    @property
    def development(self) -> bool:
        """Whether this is a developer's machine: open registration and the play part are on."""
        return self.environment == "development"

    @classmethod
    def from_env(cls, environ: Mapping[str, str] | None = None) -> Settings:
        """Read the environment, beneath it the running stack's file, beneath that the secrets file.

        Raises:
            SettingsInvalid: with one line for every fault found.
        """
        return _Reader(dict(os.environ if environ is None else environ)).settings()


def default_data_dir(environ: Mapping[str, str]) -> Path:
    """Where a player's machine keeps data of applications (XDG Base Directory specification)."""
    base = environ.get("XDG_DATA_HOME") or str(Path.home() / ".local" / "share")
    return Path(base) / "scoreboard"


class _Reader:
    """Collects values and faults, so that all faults are told at once."""

    def __init__(self, environ: dict[str, str]) -> None:
        self.faults: list[str] = []
        self.data_dir = Path(environ.get("DATA_DIR") or default_data_dir(environ)).expanduser().absolute()
        stack = self._file(self.data_dir / "environment.json")
        values = {**stack, **{name: value for name, value in environ.items() if value != ""}}
        secrets = self._file(Path(values["SECRETS_FILE"]), needed=True) if "SECRETS_FILE" in values else {}
        self.values = {**secrets, **values}

    def settings(self) -> Settings:
        get = self.values.get
        environment = self._one_of("ENVIRONMENT", "development", ("development", "production"))
        development = environment == "development"
        host = get("HOST", "127.0.0.1")
        port = self._integer("PORT", 8000, 1, 65533)
        sockets_port = self._integer("SOCKETS_PORT", port + 1, 1, 65535)
        api_url = get("API_URL", f"http://{_reachable(host)}:{port}").rstrip("/")
        settings = Settings(
            environment=environment,
            host=host,
            port=port,
            sockets_port=sockets_port,
            web_processes=self._integer("WEB_PROCESSES", 2, 1, 64),
            pin_cores=self._one_of("PIN_CORES", "off", ("on", "off")) == "on",
            sockets_processes=self._integer("SOCKETS_PROCESSES", 1, 1, 64),
            flower_port=self._integer("FLOWER_PORT", port + 2, 1, 65535),
            data_dir=self.data_dir,
            secrets_file=Path(get("SECRETS_FILE", "")) if get("SECRETS_FILE") else None,
            database_url=self._url("DATABASE_URL", _POSTGRES),
            database_pooling=self._pooling(),
            database_replica_url=self._url("DATABASE_REPLICA_URL", _POSTGRES) if get("DATABASE_REPLICA_URL") else None,
            replica_lag_limit_seconds=float(self._integer("REPLICA_LAG_LIMIT_SECONDS", 5, 1, 3_600)),
            redis_url=self._redis_url("REDIS_URL"),
            broker_url=self._url("BROKER_URL", ("redis", "rediss", "redis+socket", "amqp", "amqps", "sentinel")),
            limit_user=self._limit("LIMIT_USER", "100/second"),
            limit_address=self._limit("LIMIT_ADDRESS", "500/second"),
            limit_registration=self._limit("LIMIT_REGISTRATION", "60/minute"),
            limit_routes=self._limits_of_routes(),
            registration_open=self._one_of("REGISTRATION", "open" if development else "closed", ("open", "closed"))
            == "open",
            allowed_origins=self._origins(api_url),
            log_level=self._one_of("LOG_LEVEL", "info", ("debug", "info", "warning", "error")),
            api_url=api_url,
            sockets_url=get("SOCKETS_URL", f"ws://{_reachable(host)}:{sockets_port}").rstrip("/"),
            shards=self._integer("SHARDS", 1, 1, 1024),
            trusted_proxies=self._integer("TRUSTED_PROXIES", 0, 0, 10),
            inner_networks=self._networks("INNER_NETWORKS"),
            catalogue_file=Path(get("CATALOGUE_FILE", str(DEFAULT_CATALOGUE))),
            token_keys=self._keys("TOKEN_KEYS", exact=None),
            encryption_keys=(encryption_keys := self._keys("ENCRYPTION_KEYS", exact=32)),
            audit_keys=self._keys("AUDIT_KEYS", exact=32) if "AUDIT_KEYS" in self.values else _derived(encryption_keys),
            rules_file=Path(get("RULES_FILE", str(DEFAULT_RULES))),
            webhook_url=self._web_url("WEBHOOK_URL"),
            webhook_secret=self._webhook_secret(),
            alertmanager_url=self._web_url("ALERTMANAGER_URL"),
            address_days=self._integer("ADDRESS_DAYS", 90, 1, 36_500),
            metrics_dir=get("PROMETHEUS_MULTIPROC_DIR"),
            worker_metrics_port=self._worker_metrics_port(),
            jwks_file=get("JWKS_FILE"),
            jwks_url=get("JWKS_URL"),
            token_issuer=get("TOKEN_ISSUER", "scoreboard"),
            inbox_depth_limit=self._integer("INBOX_DEPTH_LIMIT", 200_000, 1, 1_000_000_000),
            inbox_age_limit_seconds=float(self._integer("INBOX_AGE_LIMIT_SECONDS", 900, 1, 1_000_000)),
            traces_url=self._web_url("TRACES_URL"),
            traces_ratio=self._ratio("TRACES_RATIO", 0.01),
        )
        self._refuse_unsafe(settings)
        if self.faults:
            raise SettingsInvalid(self.faults)
        return settings

    def _refuse_unsafe(self, settings: Settings) -> None:
        """In production, what is only fit for a developer's machine is a fault unless it is meant."""
        allowed = {name.strip() for name in self.values.get("ALLOW_UNSAFE", "").split(",") if name.strip()}
        for name in sorted(allowed - set(UNSAFE)):
            self.faults.append(f"ALLOW_UNSAFE names {name!r}; it knows {', '.join(UNSAFE)}")
        if settings.development:
            return
        keys = (*settings.token_keys, *settings.encryption_keys, *settings.audit_keys)
        found = {
            "open-registration": settings.registration_open,
            "debug-logs": settings.log_level == "debug",
            "simple-secrets": any(len(set(key.secret)) < DISTINCT_BYTES_LEAST for key in keys),
        }
        for name, is_so in found.items():
            if is_so and name not in allowed:
                self.faults.append(f"{UNSAFE[name]} (ALLOW_UNSAFE={name} if that is meant)")

    def _file(self, path: Path, *, needed: bool = False) -> dict[str, str]:
        try:
            content = json.loads(path.read_text("utf-8"))
        except FileNotFoundError:
            if needed:
                self.faults.append(f"SECRETS_FILE names {path}, which is not there")
            return {}
        except (OSError, ValueError) as error:
            self.faults.append(f"{path} cannot be read: {error}")
            return {}
        if not isinstance(content, dict) or not all(isinstance(value, str) for value in content.values()):
            self.faults.append(f"{path} must be a JSON object of strings")
            return {}
        return content

    def _integer(self, name: str, default: int, least: int, most: int) -> int:
        text = self.values.get(name)
        if text is None:
            return default
        try:
            number = int(text)
        except ValueError:
            number = least - 1
        if not least <= number <= most:
            self.faults.append(f"{name} must be a whole number from {least} to {most}, not {text!r}")
            return default
        return number

    def _ratio(self, name: str, default: float) -> float:
        text = self.values.get(name)
        try:
            ratio = default if text is None else float(text)
        except ValueError:
            ratio = -1.0
        if not 0.0 <= ratio <= 1.0:
            self.faults.append(f"{name} must be a number from 0 to 1, not {text!r}")
            return default
        return ratio

    def _one_of(self, name: str, default: str, choices: tuple[str, ...]) -> str:
        value = self.values.get(name, default).lower()
        if value not in choices:
            self.faults.append(f"{name} must be one of {', '.join(choices)}, not {value!r}")
            return default
        return value

    def _pooling(self) -> Pooling:
        return cast(Pooling, self._one_of("DATABASE_POOLING", "none", get_args(Pooling)))

    def _worker_metrics_port(self) -> int | None:
        port = self._integer("WORKER_METRICS_PORT", 0, 1, 65535) or None
        if port and "PROMETHEUS_MULTIPROC_DIR" not in self.values:  # its children's figures would not be among them
            self.faults.append("WORKER_METRICS_PORT needs PROMETHEUS_MULTIPROC_DIR: a folder for the worker's figures")
        return port

    def _limit(self, name: str, default: str) -> str:
        value = self.values.get(name, default)
        if not _LIMIT.match(value):
            self.faults.append(f"{name} must look like 50/second or 600 per minute, not {value!r}")
        return value

    def _limits_of_routes(self) -> dict[str, str]:
        """`LIMIT_ROUTES`: `/api/v1/auth/token=100/minute, …`, each for an address."""
        limits = {}
        for part in filter(None, (part.strip() for part in self.values.get("LIMIT_ROUTES", "").split(","))):
            route, _, limit = part.partition("=")
            if not route.startswith("/api/") or not _LIMIT.match(limit):
                self.faults.append(f"LIMIT_ROUTES must look like /api/v1/auth/token=100/minute, not {part!r}")
            limits[route.strip()] = limit
        return limits

    def _url(self, name: str, schemes: tuple[str, ...]) -> str:
        value = self.values.get(name)
        if value is None:
            self.faults.append(f"{name} is not set: start the embedded stack with `make run`, or give a URL")
            return ""
        scheme = value.split("://", 1)[0]
        if "://" not in value or scheme not in schemes:
            self.faults.append(f"{name} must be a URL beginning with {' or '.join(s + '://' for s in schemes)}")
        if scheme in ("postgresql", "postgres"):  # SQLAlchemy's name for psycopg 3, whatever its default is
            return "postgresql+psycopg://" + value.split("://", 1)[1]
        return value

    def _redis_url(self, name: str) -> str:
        faults = len(self.faults)
        value = self._url(name, redis_url.SCHEMES)
        if len(self.faults) == faults and (fault := redis_url.fault_of(value)) is not None:
            self.faults.append(f"{name}: {fault}")
        return value

    def _keys(self, name: str, *, exact: int | None) -> tuple[Key, ...]:
        value = self.values.get(name)
        if value is None:
            self.faults.append(f"{name} is not set: give kid:hex[,kid:hex], the first one in use")
            return ()
        keys = []
        for part in value.split(","):
            kid, _, digits = part.strip().partition(":")
            digits, _, instant = digits.partition("@")
            try:
                secret = bytes.fromhex(digits)
                until = datetime.fromisoformat(instant).timestamp() if instant else None
            except ValueError:
                secret, until = b"", None
            if not kid or len(secret) < SECRET_BYTES_LEAST or (exact is not None and len(secret) != exact):
                size = f"{exact}" if exact else f"at least {SECRET_BYTES_LEAST}"
                self.faults.append(f"{name}: key {kid or '(unnamed)'!r} must be kid:hex of {size} bytes")
                continue
            keys.append(Key(kid, secret, until))
        if len({key.kid for key in keys}) != len(keys):
            self.faults.append(f"{name} names the same kid twice")
        return tuple(keys)

    def _networks(self, name: str) -> tuple[Network, ...]:
        networks = []
        for part in filter(None, (part.strip() for part in self.values.get(name, "").split(","))):
            try:
                networks.append(network_of(part))
            except ValueError:
                self.faults.append(f"{name} must look like 10.0.0.0/8,127.0.0.1, not {part!r}")
        return tuple(networks)

    def _web_url(self, name: str) -> str | None:
        value = self.values.get(name)
        if value is not None and not value.startswith(("http://", "https://")):
            self.faults.append(f"{name} must begin with https:// or http://")
        return value

    def _webhook_secret(self) -> bytes | None:
        """As Standard Webhooks spells it: `whsec_` and base64 of 24 to 64 bytes."""
        value = self.values.get("WEBHOOK_SECRET")
        if value is None:
            if "WEBHOOK_URL" in self.values:
                self.faults.append("WEBHOOK_SECRET is not set: give whsec_ and 32 random bytes in base64")
            return None
        try:
            secret = base64.b64decode(value.removeprefix("whsec_"), validate=True)
        except ValueError:
            secret = b""
        if not value.startswith("whsec_") or not WEBHOOK_BYTES_LEAST <= len(secret) <= WEBHOOK_BYTES_MOST:
            self.faults.append("WEBHOOK_SECRET must be whsec_ and 24 to 64 random bytes in base64")
        return secret

    def _origins(self, api_url: str) -> tuple[str, ...]:
        value = self.values.get("ALLOWED_ORIGINS")
        if value is not None:
            return tuple(origin.strip().rstrip("/") for origin in value.split(",") if origin.strip())
        return (api_url, api_url.replace("//127.0.0.1", "//localhost"))


def _derived(encryption_keys: tuple[Key, ...]) -> tuple[Key, ...]:
    """Audit keys for who gives none: from each encryption key one that says nothing of it."""
    return tuple(
        Key(key.kid, blake2b(key.secret, digest_size=SECRET_BYTES_LEAST, person=b"audit").digest())
        for key in encryption_keys
    )


def _reachable(host: str) -> str:
    """The address a client on this machine uses for a server that binds to `host`."""
    return "127.0.0.1" if host in ("0.0.0.0", "::", "") else host  # noqa: S104 - compared, not bound
