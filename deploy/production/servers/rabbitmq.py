"""The broker: RabbitMQ, and the port mapper that its command line finds it by."""

from pathlib import Path
from typing import Final

from deploy import templates
from deploy.local.ports import listening
from deploy.production import programs
from deploy.production.part import Part
from deploy.production.places import HOST, Places

USER: Final = "scoreboard"
_TEMPLATE: Final = templates.FOLDER / "rabbitmq" / "rabbitmq.conf.template"


def url(places: Places, password: str) -> str:
    """BROKER_URL."""
    return f"amqp://{USER}:{password}@{places.address('rabbitmq')}//"


def parts(folder: Path, places: Places, password: str) -> list[Part]:
    """The port mapper and the server, which keeps its data in the folder.

    Raises:
        StackError: a program is not installed.
    """
    environment = _environment(folder, places)
    filled = templates.fill(
        _TEMPLATE,
        {
            "LISTEN": HOST,
            "PORT": places.port("rabbitmq"),
            "USER": USER,
            "PASSWORD": password,
            "METRICS_PORT": places.port("rabbitmq-metrics"),
        },
    )
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    (folder / "rabbitmq.conf").write_text(filled, "utf-8")
    (folder / "enabled_plugins").write_text("[rabbitmq_prometheus].\n", "ascii")
    (folder / "environment.conf").touch()  # so that the machine's own is not read
    return [
        Part(
            "epmd",
            [str(programs.require("epmd")), "-address", HOST],
            environment,
            lambda: listening(HOST, places.port("rabbitmq-epmd")),
        ),
        Part(
            "rabbitmq",
            [str(programs.require("rabbitmq-server"))],
            environment,
            lambda: listening(HOST, places.port("rabbitmq")) and listening(HOST, places.port("rabbitmq-metrics")),
        ),
    ]


def _environment(folder: Path, places: Places) -> dict[str, str]:
    return {
        "HOME": str(folder),  # where the cookie lies
        "LANG": "C.UTF-8",
        "ERL_EPMD_ADDRESS": HOST,
        "ERL_EPMD_PORT": str(places.port("rabbitmq-epmd")),
        "RABBITMQ_CONF_ENV_FILE": str(folder / "environment.conf"),
        "RABBITMQ_CONFIG_FILE": str(folder / "rabbitmq.conf"),
        "RABBITMQ_ENABLED_PLUGINS_FILE": str(folder / "enabled_plugins"),
        # By its port: two deployments on one machine are two nodes.
        "RABBITMQ_NODENAME": f"scoreboard-{places.port('rabbitmq')}@localhost",
        "RABBITMQ_DIST_PORT": str(places.port("rabbitmq-distribution")),
        "RABBITMQ_MNESIA_BASE": str(folder / "data"),
        "RABBITMQ_LOG_BASE": str(folder),
        "RABBITMQ_PID_FILE": str(folder / "pid"),
        "RABBITMQ_SERVER_ADDITIONAL_ERL_ARGS": "-kernel inet_dist_use_interface {127,0,0,1}",
    }
