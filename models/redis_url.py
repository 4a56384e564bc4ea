"""Reads REDIS_URL: one server, the master that Sentinels watch over, or a cluster."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, Final
from urllib.parse import SplitResult, unquote, urlsplit

from redis.connection import parse_url

ONE_SERVER: Final = ("redis", "rediss", "unix")
SENTINELS: Final = ("sentinel", "sentinels")
CLUSTER: Final = ("redis+cluster", "rediss+cluster")
SCHEMES: Final = (*ONE_SERVER, *SENTINELS, *CLUSTER)
_TLS: Final = ("sentinels", "rediss+cluster")
_SENTINEL_PORT: Final = 26379
_SERVER_PORT: Final = 6379
_SENTINELS_OWN: Final = "sentinel_"

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
    options = {**_credentials(parts), **parse_url(f"redis://?{parts.query}")}  # type: ignore[no-untyped-call]
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
        parse_url(url)  # type: ignore[no-untyped-call]
    except ValueError:  # which may cite what it took for the port, and was a password
        return "it cannot be read: characters such as / and # in a password are written %2F and %23"
    return None


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
