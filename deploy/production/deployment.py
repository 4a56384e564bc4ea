"""The deployment from its start to its end: servers, migration, the service's processes, balancers, and who watches."""

import sys
from collections.abc import Callable, Mapping, Sequence
from math import ceil
from typing import Final

from deploy.local import environment, secret_keys, supervision
from deploy.local.errors import StackError
from deploy.local.folders import Folders
from deploy.local.ports import require_free
from deploy.local.runner import Runner
from deploy.postgres.roles import MONITOR
from deploy.postgres.server import Server
from deploy.production import programs
from deploy.production.part import Part
from deploy.production.passwords import load_or_make
from deploy.production.places import HOST, OFFSETS, Places
from deploy.production.servers import (
    alertmanager,
    certificate,
    exporters,
    haproxy,
    nginx,
    pgbouncer,
    postgres,
    prometheus,
    rabbitmq,
    redis,
    scoreboard,
)
from models.errors import SettingsInvalid
from models.private_file import write_private
from models.settings import Settings

#: In the order in which they come up; they end in the reverse.
GROUPS: Final = ("stores", "pooling", "work", "edge", "balancers", "watching")
START_SECONDS_MOST: Final = 90.0
#: All groups one after the other, each with its own bound.
STOP_SECONDS_MOST: Final = 60.0
SCRAPE_SECONDS: Final = 5


class Deployment:
    """The production picture on one machine, on loopback ports that follow from one number."""

    def __init__(self, given: Mapping[str, str], folders: Folders, say: Callable[[str], None]) -> None:
        self.folders = folders
        self.places = Places.of(given)
        self.alert_pace = _pace(given.get("ALERT_PACE") or "1")
        self.say = say
        self._given = given
        self.runner = Runner(folders, {}, say)

    @property
    def url(self) -> str:
        """Where a browser finds the service."""
        return f"https://{self.places.address('lb-1')}"

    def start(self) -> None:
        """Bring everything up and return when all of it is ready.

        Raises:
            StackError: when it cannot be; call `stop` all the same.
        """
        absent = programs.missing(programs.DEPLOYED)
        if absent:
            raise StackError(f"{', '.join(absent)}: not installed; {programs.advice(absent)}")
        self.runner.clear_leftovers()
        self.folders.environment_file.unlink(missing_ok=True)  # of a deployment that was killed
        require_free({name: (HOST, self.places.port(name)) for name in OFFSETS})
        self.folders.make()
        keys = secret_keys.load_or_make(self.folders.secrets_file)
        self.say("preparing the servers (the first time, a database and its replica are made)")
        pair = postgres.prepare(self.folders.data, self.places, self.folders.sockets)
        self.runner.environ = self._environment()
        self._check_settings()
        groups = self._groups(pair, keys)
        self._supervise(groups)
        for group in ("stores", "pooling"):
            self._bring_up(group, groups[group])
        self.say("bringing the database's tables up to date")
        directly = postgres.migration_environment(self.folders.data, postgres.primary_of(pair))
        self.runner.run("migrate", [sys.executable, "-m", "migrations", "upgrade"], directly)
        for group in ("work", "edge", "balancers", "watching"):
            self._bring_up(group, groups[group])
        write_private(self.folders.environment_file, environment.shared(self.runner.environ))

    def watch(self) -> None:
        """Return only by an exception: StackError when the supervisor has ended, or a signal's."""
        self.runner.watch()

    def stop(self) -> None:
        """End everything in order, and by force what does not end; afterwards no process is left."""
        self.runner.stop(STOP_SECONDS_MOST)

    def logins(self) -> dict[str, str]:
        """Who asks → `user:password`."""
        return {"Flower": secret_keys.load_or_make(self.folders.secrets_file)["FLOWER_BASIC_AUTH"]}

    def _groups(self, pair: tuple[Server, Server], keys: Mapping[str, str]) -> dict[str, list[Part]]:
        """Every part of the picture, with its configuration written."""
        data, places = self.folders.data, self.places
        service, metrics = self.runner.environ, self.folders.run / "metrics"
        told, redis_passwords = self._passwords()
        pooler = pgbouncer.prepare(
            data,
            places,
            primary=postgres.primary_of(pair),
            replica=next(server for server in pair if server is not postgres.primary_of(pair)),
            sockets=self.folders.sockets,
        )
        own = certificate.self_signed(data / "certificate")
        return {
            "stores": [
                *(postgres.part(server) for server in pair),
                *(redis.server(name, data / name, places, redis_passwords) for name in redis.SERVERS),
                *(redis.sentinel(name, data / name, places, redis_passwords) for name in redis.SENTINEL_NAMES),
                *rabbitmq.parts(data / "rabbitmq", places, told["BROKER_PASSWORD"]),
            ],
            "pooling": [pgbouncer.part(pooler)],
            "work": [
                *scoreboard.workers(service, metrics, places),
                *scoreboard.beats(service, metrics),
                scoreboard.flower(service, keys["FLOWER_BASIC_AUTH"], places),
            ],
            "edge": [
                *scoreboard.apis(service, metrics, places),
                *scoreboard.sockets(service, metrics, places),
            ],
            "balancers": [
                nginx.part("lb-1", data / "lb-1", places, certificate=own),
                haproxy.part("lb-2", data / "lb-2", places, certificate=own),
            ],
            "watching": self._watchers(pair, redis_passwords),
        }

    def _watchers(self, pair: tuple[Server, Server], redis_passwords: redis.Passwords) -> list[Part]:
        """The exporters, then who reads them, then who tells people."""
        data, places = self.folders.data, self.places
        monitor = postgres.passwords(data)[MONITOR]
        return [
            exporters.node("node-exporter", places),
            *(
                exporters.postgres(
                    f"{server.name}-exporter", places, server.name, postgres.exporter_url(data, server)
                )
                for server in pair
            ),
            *(
                exporters.redis(
                    f"{name}-exporter", data / f"{name}-exporter", places, name,
                    redis_passwords.server, redis_passwords.sentinel,
                )
                for name in redis.SERVERS
            ),
            exporters.nginx("nginx-exporter", places),
            exporters.pgbouncer("pgbouncer-exporter", places, MONITOR, monitor),
            alertmanager.receiver("receiver", data / "receiver", places),
            alertmanager.part("alertmanager", data / "alertmanager", places, group_wait="1s", group_interval="5s"),
            prometheus.part(
                "prometheus", data / "prometheus", places,
                interval_seconds=SCRAPE_SECONDS, pace=self.alert_pace, flower_path="/flower/metrics",
            ),
        ]  # fmt: skip

    def _passwords(self) -> tuple[dict[str, str], redis.Passwords]:
        told = load_or_make(self.folders.data / "server-passwords.json")
        return told, redis.Passwords(told["REDIS_PASSWORD"], told["SERVICE_PASSWORD"], told["SENTINEL_PASSWORD"])

    def _environment(self) -> dict[str, str]:
        """What every process of the service is given: the way by the servers of the picture, and no other."""
        told, redis_passwords = self._passwords()
        address = self.places.address("lb-1")
        ours = {
            **postgres.environment(self.folders.data, self.places),
            "REDIS_URL": redis.url(self.places, redis_passwords),
            "BROKER_URL": rabbitmq.url(self.places, told["BROKER_PASSWORD"]),
            "HOST": HOST,
            "PORT": str(self.places.port("api-1")),
            "SOCKETS_PORT": str(self.places.port("sockets-1")),
            "FLOWER_PORT": str(self.places.port("flower")),
            "API_URL": f"https://{address}",
            "SOCKETS_URL": f"wss://{address}",
            "ALLOWED_ORIGINS": ",".join(f"https://{self.places.address(name)}" for name in ("lb-1", "lb-2")),
            "ALERTMANAGER_URL": f"http://{self.places.address('alertmanager')}",
        }
        usual = {
            "ENVIRONMENT": "production",
            "TRUSTED_PROXIES": "1",
            "SHARDS": str(scoreboard.SHARDS),
            "WEB_PROCESSES": "1",  # three servers on one machine
            "PIN_CORES": "off",
        }
        return environment.build({**usual, **self._given, **ours}, self.folders)

    def _check_settings(self) -> None:
        try:
            Settings.from_env(self.runner.environ)
        except SettingsInvalid as error:
            raise StackError(f"the settings cannot be used: {'; '.join(error.faults)}.") from error

    def _supervise(self, groups: Mapping[str, Sequence[Part]]) -> None:
        commands = {
            part.name: {"arguments": part.arguments, "environment": dict(part.environment)}
            for parts in groups.values()
            for part in parts
        }
        programs_ = [
            supervision.Program(part.name, group, part.stop_signal, ceil(part.stop_seconds))
            for group, parts in groups.items()
            for part in parts
        ]
        self.runner.supervise(commands, programs_, GROUPS)

    def _bring_up(self, group: str, parts: Sequence[Part]) -> None:
        """Start the parts of a group side by side, and wait for each."""
        self.say(f"starting {', '.join(part.name for part in parts)}")
        supervision.start_group(self.folders, group)
        for part in parts:
            self.runner.wait(part.name, part.ready, START_SECONDS_MOST)


def _pace(text: str) -> float:
    """How much of its time each alert waits before it fires.

    Raises:
        StackError: it is no number above 0, and up to 1.
    """
    try:
        pace = float(text)
    except ValueError:
        pace = 0.0
    if not 0.0 < pace <= 1.0:
        raise StackError(f"ALERT_PACE must be above 0, and 1 at most, not {text!r}.")
    return pace
