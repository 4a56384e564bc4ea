"""The exporters: each tells Prometheus the figures of a server that does not tell them itself."""

import sys
from collections.abc import Callable
from pathlib import Path
from typing import Final

from deploy import templates
from deploy.production import programs
from deploy.production.answering import answering
from deploy.production.part import Part
from deploy.production.places import SENTINELS, Places
from models.private_file import write_private

QUERIES: Final = templates.FOLDER / "prometheus" / "postgres-queries.yml"


def node(name: str, places: Places) -> Part:
    """The machine's figures."""
    address = places.address("node-exporter")
    arguments = [
        str(programs.require("prometheus-node-exporter")),
        f"--web.listen-address={address}",
        "--log.level=warn",
        # What nobody asks for, and what takes time where there are many containers.
        *(f"--no-collector.{each}" for each in ("arp", "ipvs", "infiniband", "nfs", "nfsd", "zfs", "xfs", "btrfs")),
    ]
    return Part(name, arguments, ready=_ready(address))


def postgres(name: str, places: Places, server: str, dsn: str) -> Part:
    """A PostgreSQL's; `server` is postgres-1 or postgres-2, `dsn` libpq's, of a role with pg_monitor.

    Its collector of the background writer is of before PostgreSQL 17, and its settings are two hundred series.
    """
    address = places.address(f"{server}-exporter")
    arguments = [
        str(programs.require("prometheus-postgres-exporter")),
        f"--web.listen-address={address}",
        "--no-collector.bgwriter",
        "--disable-settings-metrics",
        f"--extend.query-path={QUERIES}",
        "--log.level=error",
    ]
    return Part(name, arguments, environment={"DATA_SOURCE_NAME": dsn}, ready=_ready(address))


def redis(name: str, folder: Path, places: Places, server: str, password: str, sentinel_password: str = "") -> Part:
    """A Redis' or Valkey's, and the Sentinels' when asked for them; `server` is redis-1 or redis-2.

    Writes the passwords into `folder`, by address: the exporter would give the Sentinels its server's.
    """
    address = places.address(f"{server}-exporter")
    passwords = {f"redis://{places.address(server)}": password}
    if sentinel_password:
        passwords |= {
            f"redis://{places.address(f'sentinel-{number}')}": sentinel_password for number in range(1, SENTINELS + 1)
        }
    folder.mkdir(parents=True, exist_ok=True)
    file = folder / "passwords.json"
    write_private(file, passwords)
    arguments = [
        str(programs.require("prometheus-redis-exporter")),
        "-web.listen-address",
        address,
        "-redis.addr",
        f"redis://{places.address(server)}",
        "-redis.password-file",
        str(file),
        "-connection-timeout",
        "2s",
    ]
    return Part(name, arguments, ready=_ready(address))


def nginx(name: str, places: Places, status_path: str = "/stub_status") -> Part:
    """What nginx' stub_status says."""
    address = places.address("nginx-exporter")
    arguments = [
        str(programs.require("prometheus-nginx-exporter")),
        "-web.listen-address",
        address,
        "-nginx.scrape-uri",
        f"http://{places.address('lb-1-status')}{status_path}",
        "-nginx.retries",  # it ends when nginx is not there at its start
        "60",
        "-nginx.retry-interval",
        "1s",
        "-nginx.timeout",
        "2s",
    ]
    return Part(name, arguments, ready=_ready(address))


def pgbouncer(name: str, places: Places, user: str, password: str) -> Part:
    """PgBouncer's, by our own exporter; the user is one of `stats_users`."""
    address = places.address("pgbouncer-exporter")
    arguments = [sys.executable, "-m", "deploy.prometheus.pgbouncer", "--listen", address]
    url = f"postgresql://{user}:{password}@{places.address('pgbouncer')}/pgbouncer"
    return Part(name, arguments, environment={"PGBOUNCER_URL": url}, ready=_ready(address))


def _ready(address: str) -> Callable[[], bool]:
    return answering(f"http://{address}/metrics")
