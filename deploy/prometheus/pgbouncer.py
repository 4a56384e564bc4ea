"""PgBouncer's figures for Prometheus: `PGBOUNCER_URL=… python -m deploy.prometheus.pgbouncer --listen 127.0.0.1:9127`.

Debian's exporter (1.7) asks for columns that PgBouncer gave up with 1.8. The names here are those of the exporter of
prometheus-community, so that one can stand in for the other.
"""

from __future__ import annotations

import argparse
import os
import signal
import sys
from collections.abc import Iterator
from typing import Any, Final

import psycopg
from prometheus_client import CollectorRegistry, start_http_server
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from psycopg.rows import dict_row

CONNECT_SECONDS: Final = 2
#: Column of SHOW POOLS → name and meaning.
POOLS: Final = {
    "cl_active": ("client_active_connections", "Clients that have a connection to the server."),
    "cl_waiting": ("client_waiting_connections", "Clients that wait for one."),
    "sv_active": ("server_active_connections", "Connections to the server that a client has."),
    "sv_idle": ("server_idle_connections", "Those that nobody has."),
    "sv_used": ("server_used_connections", "Those that were not looked at for a while."),
    "maxwait": ("client_maxwait_seconds", "How long the client that has waited longest has done so."),
}
#: Column of SHOW STATS → name, meaning, and what a unit of it is.
STATS: Final = {
    "total_xact_count": ("sql_transactions_pooled", "Transactions.", 1.0),
    "total_query_count": ("queries_pooled", "Queries.", 1.0),
    "total_query_time": ("queries_duration_seconds", "Time that queries took.", 1e-6),
    "total_wait_time": ("client_wait_seconds", "Time that clients waited for a connection.", 1e-6),
}


class PgBouncer:
    """Asks the console at each scrape."""

    def __init__(self, url: str) -> None:
        self._url = url

    def describe(self) -> Iterator[Metric]:
        """Nothing before the first scrape: PgBouncer may not be there yet."""
        return iter(())

    def collect(self) -> Iterator[Metric]:
        """Everything, or only that it does not answer."""
        try:
            pools, stats, databases = self._ask("SHOW POOLS", "SHOW STATS", "SHOW DATABASES")
        except psycopg.Error:
            yield GaugeMetricFamily("pgbouncer_up", "Whether the console answered.", value=0)
            return
        yield GaugeMetricFamily("pgbouncer_up", "Whether the console answered.", value=1)
        for column, (name, meaning) in POOLS.items():
            pool = GaugeMetricFamily(f"pgbouncer_pools_{name}", meaning, labels=["database", "user"])
            for row in pools:
                part = row["maxwait_us"] / 1e6 if column == "maxwait" else 0.0
                pool.add_metric([row["database"], row["user"]], row[column] + part)
            yield pool
        for column, (name, meaning, unit) in STATS.items():
            stat = CounterMetricFamily(f"pgbouncer_stats_{name}", meaning, labels=["database"])
            for row in stats:
                stat.add_metric([row["database"]], float(row[column]) * unit)
            yield stat
        sizes = GaugeMetricFamily("pgbouncer_databases_pool_size", "Connections a pool may have.", labels=["database"])
        for row in databases:
            sizes.add_metric([row["name"]], row["pool_size"])
        yield sizes

    def _ask(self, *commands: str) -> list[list[dict[str, Any]]]:
        # The console knows no transactions and only the simple protocol, which is what psycopg speaks without values.
        with psycopg.connect(
            self._url, autocommit=True, connect_timeout=CONNECT_SECONDS, row_factory=dict_row
        ) as connection:
            return [connection.execute(command.encode()).fetchall() for command in commands]


def main() -> int:
    """Answer scrapes until a signal ends it; gives the exit code."""
    parser = argparse.ArgumentParser("python -m deploy.prometheus.pgbouncer", description=__doc__)
    parser.add_argument("--listen", default="127.0.0.1:9127", help="host:port")
    host, _, port = parser.parse_args().listen.rpartition(":")
    url = os.environ.get("PGBOUNCER_URL")
    if not url:
        sys.stderr.write("PGBOUNCER_URL is not set: postgresql://stats:password@host:port/pgbouncer\n")
        return 1
    registry = CollectorRegistry()
    registry.register(PgBouncer(url))
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
    try:
        _, thread = start_http_server(int(port), host, registry)
        thread.join()
    except KeyboardInterrupt:
        return 0
    except OSError as error:
        sys.stderr.write(f"{host}:{port}: {error}\n")
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
