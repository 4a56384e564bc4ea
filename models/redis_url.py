"""Reads REDIS_URL: one server, the master that Sentinels watch over, or a cluster.

Without redis-py: settings are read before gevent has put itself in the place of `ssl`, and redis-py imports that.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, Final
from urllib.parse import SplitResult, parse_qsl, unquote, urlsplit

ONE_SERVER: Final = ("redis", "rediss", "unix")
SENTINELS: Final = ("sentinel", "sentinels")
CLUSTER: Final = ("redis+cluster", "rediss+cluster")
SCHEMES: Final = (*ONE_SERVER, *SENTINELS, *CLUSTER)
_TLS: Final = ("sentinels", "rediss+cluster")
_SENTINEL_PORT: Final = 26379
_SERVER_PORT: Final = 6379
_SENTINELS_OWN: Final = "sentinel_"
#: Of redis-py's options those that are no text, as its own `parse_url` takes them.
_NUMBERS: Final = {
    "db": int,
    "health_check_interval": int,
    "max_connections": int,
    "protocol": int,
    "socket_timeout": float,
}
_SWITCHES: Final = ("retry_on_timeout", "socket_keepalive", "ssl_check_hostname")
_OFF: Final = ("", "0", "f", "false", "n", "no")

Address = tuple[str, int]


@dataclass(frozen=True, slots=True)
class SeveralServers:
    """What such a URL says when it names more than one server.

    Attributes:
        addresses: the Sentinels, or nodes of the cluster from which the others are learnt.
        master: the name by which Sentinels know the master; None for a cluster.
        options: redis-py's options of a connection to a server that keeps data.
        sentinel_options: those of a connection to a Sentinel.
    """

    addresses: tuple[Address, ...]
    master: str | None
    tls: bool
    options: dict[str, Any] = field(repr=False)
    sentinel_options: dict[str, Any] = field(repr=False)


def scheme_of(url: str) -> str:
    """What stands before `://`."""
    return url.partition("://")[0]


def may_move(url: str) -> bool:
    """Whether another server may take the place of the one that has a key now."""
    return scheme_of(url) in (*SENTINELS, *CLUSTER)


def read(url: str) -> SeveralServers:
    """What a URL of SENTINELS or CLUSTER says.

    Raises:
        ValueError: with what is wrong with it; never with the password.
    """
    parts = urlsplit(url)
    _, _, hosts = parts.netloc.rpartition("@")
    is_cluster = parts.scheme in CLUSTER
    addresses = tuple(_address(host, _SERVER_PORT if is_cluster else _SENTINEL_PORT) for host in hosts.split(","))
    options = {**_credentials(parts), **_options(parts.query)}
    sentinel_options = {
        name.removeprefix(_SENTINELS_OWN): options.pop(name)
        for name in list(options)
        if name.startswith(_SENTINELS_OWN)
    }
    for name, value in options.items():
        if name.startswith("ssl_"):
            sentinel_options.setdefault(name, value)
    master, _, database = parts.path.strip("/").partition("/")
    if is_cluster:
        if master not in ("", "0") or database or options.get("db", 0) != 0:
            raise ValueError("a cluster has database 0 only")
        options.pop("db", None)
        return SeveralServers(addresses, None, parts.scheme in _TLS, options, {})
    if not master:
        raise ValueError("the master's name is missing: sentinel://host:port,host:port/name/0")
    if database:
        options["db"] = _number(database, "the database")
    return SeveralServers(addresses, unquote(master), parts.scheme in _TLS, options, sentinel_options)


def fault_of(url: str) -> str | None:
    """What is wrong with a URL of one of SCHEMES; None when nothing is."""
    if may_move(url):
        try:
            read(url)
        except ValueError as error:
            return str(error)
        return None
    try:
        parts = urlsplit(url)
        _ = parts.port, _options(parts.query)
    except ValueError:  # which may cite what it took for the port, and was a password
        return "it cannot be read: characters such as / and # in a password are written %2F and %23"
    return None


def _options(query: str) -> dict[str, Any]:
    """Options by name. Raises ValueError for a number that is none."""
    options: dict[str, Any] = dict(parse_qsl(query))
    for name, kind in _NUMBERS.items():
        if name in options:
            options[name] = kind(options[name])
    for name in _SWITCHES:
        if name in options:
            options[name] = options[name].lower() not in _OFF
    return options


def _credentials(parts: SplitResult) -> dict[str, Any]:
    user, _, password = parts.netloc.rpartition("@")[0].partition(":")
    return {
        **({"username": unquote(user)} if user else {}),
        **({"password": unquote(password)} if password else {}),
    }


def _address(text: str, default_port: int) -> Address:
    host, colon, port = text.rpartition(":") if not text.endswith("]") else (text, "", "")
    host = (host if colon else text).strip("[]")
    if not host:
        raise ValueError("a host is missing")
    return host, _number(port, f"the port of {host}") if colon else default_port


def _number(text: str, what: str) -> int:
    if not text.isascii() or not text.isdigit():
        raise ValueError(f"{what} is not a number")
    return int(text)
