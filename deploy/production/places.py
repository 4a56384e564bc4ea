"""Who listens where: every address of the picture follows from one number."""

from dataclasses import dataclass
from typing import Final

HOST: Final = "127.0.0.1"
DEFAULT_BASE: Final = 8700
APIS: Final = 3
SOCKET_SERVERS: Final = 2
SENTINELS: Final = 3
#: Offset of each name's port from the base.
OFFSETS: Final = {
    "lb-1": 0,  # nginx, TLS
    "lb-2": 1,  # HAProxy, TLS
    "lb-1-plain": 2,  # HTTP, which leads to HTTPS
    "lb-2-plain": 3,
    "lb-1-status": 4,  # for Prometheus only
    "lb-2-status": 5,
    "lb-1-press": 6,  # where nginx asks itself, to compress what it keeps
    **{f"api-{number}": 9 + number for number in range(1, APIS + 1)},
    **{f"sockets-{number}": 19 + number for number in range(1, SOCKET_SERVERS + 1)},
    "flower": 30,
    "worker-1-metrics": 31,
    "worker-2-metrics": 32,
    "postgres-1": 40,
    "postgres-2": 41,
    "pgbouncer": 42,
    "redis-1": 50,
    "redis-2": 51,
    **{f"sentinel-{number}": 51 + number for number in range(1, SENTINELS + 1)},
    "rabbitmq": 60,
    "rabbitmq-distribution": 61,
    "rabbitmq-epmd": 62,
    "rabbitmq-metrics": 63,
    "prometheus": 70,
    "alertmanager": 71,
    "receiver": 72,
    "node-exporter": 73,
    "postgres-1-exporter": 74,
    "postgres-2-exporter": 75,
    "redis-1-exporter": 76,
    "redis-2-exporter": 77,
    "nginx-exporter": 78,
    "pgbouncer-exporter": 79,
}


@dataclass(frozen=True, slots=True)
class Places:
    """The ports of one deployment on this machine; all of them on the loopback interface."""

    base: int = DEFAULT_BASE

    def port(self, name: str) -> int:
        """The port of a name in OFFSETS."""
        return self.base + OFFSETS[name]

    def address(self, name: str) -> str:
        """`host:port` of a name in OFFSETS."""
        return f"{HOST}:{self.port(name)}"
