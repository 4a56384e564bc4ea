"""What the service runs with: the only reader of the environment."""

from __future__ import annotations

import json
import os
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from models.errors import SettingsInvalid

SECRET_BYTES_LEAST: Final = 32  # RFC 7518 §3.2: an HS256 key is at least as long as the hash
DEFAULT_CATALOGUE: Final = Path(__file__).parent / "boards" / "catalogue.toml"
_LIMIT = re.compile(r"^\s*\d+\s*(/|per)\s*(\d+\s*)?(second|minute|hour|day)s?\s*(;.*)?$", re.IGNORECASE)


@dataclass(frozen=True, slots=True)
class Key:
    """A named secret; `kid` travels with what it made, so that keys can be changed."""

    kid: str
    secret: bytes = field(repr=False)


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
    database_url: str = field(repr=False)
    redis_url: str = field(repr=False)
    broker_url: str = field(repr=False)
    limit_user: str
    limit_address: str
    limit_registration: str
    registration_open: bool
    allowed_origins: tuple[str, ...]
    log_level: str
    api_url: str
    sockets_url: str
    shards: int
    trusted_proxies: int
    catalogue_file: Path
    token_keys: tuple[Key, ...]
    encryption_keys: tuple[Key, ...]
    metrics_dir: str | None
    jwks_file: str | None
    jwks_url: str | None
    token_issuer: str
    inbox_depth_limit: int
    inbox_age_limit_seconds: float

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
            database_url=self._url("DATABASE_URL", ("postgresql+psycopg", "postgresql", "postgres")),
            redis_url=self._url("REDIS_URL", ("redis", "rediss", "unix")),
            broker_url=self._url("BROKER_URL", ("redis", "rediss", "redis+socket", "amqp", "amqps", "sentinel")),
            limit_user=self._limit("LIMIT_USER", "100/second"),
            limit_address=self._limit("LIMIT_ADDRESS", "500/second"),
            limit_registration=self._limit("LIMIT_REGISTRATION", "60/minute"),
            registration_open=self._one_of("REGISTRATION", "open" if development else "closed", ("open", "closed"))
            == "open",
            allowed_origins=self._origins(api_url),
            log_level=self._one_of("LOG_LEVEL", "info", ("debug", "info", "warning", "error")),
            api_url=api_url,
            sockets_url=get("SOCKETS_URL", f"ws://{_reachable(host)}:{sockets_port}").rstrip("/"),
            shards=self._integer("SHARDS", 1, 1, 1024),
            trusted_proxies=self._integer("TRUSTED_PROXIES", 0, 0, 10),
            catalogue_file=Path(get("CATALOGUE_FILE", str(DEFAULT_CATALOGUE))),
            token_keys=self._keys("TOKEN_KEYS", exact=None),
            encryption_keys=self._keys("ENCRYPTION_KEYS", exact=32),
            metrics_dir=get("PROMETHEUS_MULTIPROC_DIR"),
            jwks_file=get("JWKS_FILE"),
            jwks_url=get("JWKS_URL"),
            token_issuer=get("TOKEN_ISSUER", "scoreboard"),
            inbox_depth_limit=self._integer("INBOX_DEPTH_LIMIT", 200_000, 1, 1_000_000_000),
            inbox_age_limit_seconds=float(self._integer("INBOX_AGE_LIMIT_SECONDS", 900, 1, 1_000_000)),
        )
        if self.faults:
            raise SettingsInvalid(self.faults)
        return settings

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

    def _one_of(self, name: str, default: str, choices: tuple[str, ...]) -> str:
        value = self.values.get(name, default).lower()
        if value not in choices:
            self.faults.append(f"{name} must be one of {', '.join(choices)}, not {value!r}")
            return default
        return value

    def _limit(self, name: str, default: str) -> str:
        value = self.values.get(name, default)
        if not _LIMIT.match(value):
            self.faults.append(f"{name} must look like 50/second or 600 per minute, not {value!r}")
        return value

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

    def _keys(self, name: str, *, exact: int | None) -> tuple[Key, ...]:
        value = self.values.get(name)
        if value is None:
            self.faults.append(f"{name} is not set: give kid:hex[,kid:hex], the first one in use")
            return ()
        keys = []
        for part in value.split(","):
            kid, _, digits = part.strip().partition(":")
            try:
                secret = bytes.fromhex(digits)
            except ValueError:
                secret = b""
            if not kid or len(secret) < SECRET_BYTES_LEAST or (exact is not None and len(secret) != exact):
                size = f"{exact}" if exact else f"at least {SECRET_BYTES_LEAST}"
                self.faults.append(f"{name}: key {kid or '(unnamed)'!r} must be kid:hex of {size} bytes")
                continue
            keys.append(Key(kid, secret))
        if len({key.kid for key in keys}) != len(keys):
            self.faults.append(f"{name} names the same kid twice")
        return tuple(keys)

    def _origins(self, api_url: str) -> tuple[str, ...]:
        value = self.values.get("ALLOWED_ORIGINS")
        if value is not None:
            return tuple(origin.strip().rstrip("/") for origin in value.split(",") if origin.strip())
        return (api_url, api_url.replace("//127.0.0.1", "//localhost"))


def _reachable(host: str) -> str:
    """The address a client on this machine uses for a server that binds to `host`."""
    return "127.0.0.1" if host in ("0.0.0.0", "::", "") else host  # noqa: S104 - compared, not bound
