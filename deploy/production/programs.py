"""Where the programs are that Python's packages do not bring: those of the distribution."""

import os
import shutil
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Final

from deploy.local.errors import StackError

#: What the deployment runs: program → Debian's package of it.
DEPLOYED: Final[Mapping[str, str]] = {
    "nginx": "nginx",
    "haproxy": "haproxy",
    "pgbouncer": "pgbouncer",
    "rabbitmq-server": "rabbitmq-server",
    "epmd": "erlang-base",
    "prometheus": "prometheus",
    "promtool": "prometheus",
    "prometheus-alertmanager": "prometheus-alertmanager",
    "amtool": "prometheus-alertmanager",
    "prometheus-postgres-exporter": "prometheus-postgres-exporter",
    "prometheus-redis-exporter": "prometheus-redis-exporter",
    "prometheus-nginx-exporter": "prometheus-nginx-exporter",
    "prometheus-node-exporter": "prometheus-node-exporter",
    "openssl": "openssl",
}
#: And what the tests need besides.
PACKAGES: Final[Mapping[str, str]] = {
    **DEPLOYED,
    "kubectl": "kubernetes-client",  # it carries kustomize; 1.21 or newer is needed
    "systemd-analyze": "systemd",
}
#: Debian keeps servers in sbin, which is not in everybody's PATH, and RabbitMQ's scripts for any user in a folder apart
#: (those in sbin want to be root or rabbitmq).
_FOLDERS: Final = ("/usr/lib/rabbitmq/bin", "/usr/sbin", "/usr/local/sbin")


def find(name: str) -> Path | None:
    """Where a program is, or None."""
    searched = os.pathsep.join([*_FOLDERS, os.environ.get("PATH", os.defpath)])
    found = shutil.which(name, path=searched)
    return Path(found) if found else None


def require(name: str) -> Path:
    """Where a program is.

    Raises:
        StackError: with the command that installs it.
    """
    found = find(name)
    if found is None:
        raise StackError(f"{name} is not installed: {advice([name])}")
    return found


def missing(names: Iterable[str]) -> list[str]:
    """Those of the programs that are not installed."""
    return sorted(name for name in names if find(name) is None)


def advice(names: Iterable[str]) -> str:
    """What to do about missing programs."""
    packages = " ".join(sorted({PACKAGES[name] for name in names}))
    return f"on Debian or Ubuntu, sudo apt-get install --no-install-recommends {packages}"
