"""What nginx and HAProxy are told alike: who stands behind them, who is inside, and how much one address may."""

import http.client
import resource
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from deploy.production.places import APIS, HOST, SOCKET_SERVERS, Places

#: Two descriptors for each connection of a client, one on either side; so many more for files and the server's own.
_OTHER_FILES: Final = 200
#: A part's `ready` must answer within two seconds, and asks two things.
_ASK_SECONDS: Final = 0.9
_ALL_APIS: Final = tuple(f"api-{number}" for number in range(1, APIS + 1))
_ALL_SOCKETS: Final = tuple(f"sockets-{number}" for number in range(1, SOCKET_SERVERS + 1))


@dataclass(frozen=True, slots=True)
class Edge:
    """An edge of the picture; docs/edge.md has the reason for each number.

    Attributes:
        apis, sockets: the names of the servers behind it.
        origins: as the service's ALLOWED_ORIGINS; the edge's own address where nothing is said.
        inside: networks that may see figures, documentation, operators' calls and Flower.
        requests_a_second, burst, requests_at_once, sockets_at_once: of one address.
        slow: how long a client may take to say what it wants, with its unit.
        connections: open at one time, of all clients; fewer where the machine allows no more files.
        drain_seconds: how long open connections may stay once it was told to end.
        log: where access is logged.
    """

    apis: Sequence[str] = _ALL_APIS
    sockets: Sequence[str] = _ALL_SOCKETS
    origins: Sequence[str] = ()
    inside: Sequence[str] = (f"{HOST}/32",)
    requests_a_second: int = 1000
    burst: int = 2000
    requests_at_once: int = 500
    sockets_at_once: int = 10_000
    slow: str = "10s"
    connections: int = 8192
    drain_seconds: int = 5
    log: str = "/dev/stdout"

    def values(self, name: str, folder: Path, places: Places) -> dict[str, object]:
        """The places that the templates of both have in common."""
        url = f"https://{places.address(name)}"
        return {
            "LISTEN": places.address(name),
            "LISTEN_PLAIN": places.address(f"{name}-plain"),
            "LISTEN_STATUS": places.address(f"{name}-status"),
            "PUBLIC_URL": url,
            "FLOWER": places.address("flower"),
            "FOLDER": folder,
            "REQUESTS_A_SECOND": self.requests_a_second,
            "REQUESTS_AT_ONCE": self.requests_at_once,
            "SOCKETS_AT_ONCE": self.sockets_at_once,
            "SLOW": self.slow,
            "CONNECTIONS": min(self.connections, _connections_most()),
            "DRAIN_SECONDS": self.drain_seconds,
        }

    def origins_of(self, name: str, places: Places) -> Sequence[str]:
        """Pages that may read answers."""
        return self.origins or (f"https://{places.address(name)}",)


def _connections_most() -> int:
    hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    return (2**20 if hard == resource.RLIM_INFINITY else hard - _OTHER_FILES) // 2


def leads_to_https(places: Places, name: str) -> bool:
    """Whether the plain port answers as it should."""
    return _status(places.port(f"{name}-plain"), "/") == 308


def tells(places: Places, name: str, path: str) -> bool:
    """Whether the status port answers."""
    return _status(places.port(f"{name}-status"), path) == 200


def _status(port: int, path: str) -> int | None:
    connection = http.client.HTTPConnection(HOST, port, timeout=_ASK_SECONDS)
    try:
        connection.request("GET", path)
        return connection.getresponse().status
    except (OSError, http.client.HTTPException):
        return None
    finally:
        connection.close()
