"""Alertmanager and, in place of pagers and ticket systems, a receiver that prints."""

import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Final

from deploy import templates
from deploy.production import programs
from deploy.production.answering import answering
from deploy.production.part import Part
from deploy.production.places import Places

SOURCE: Final = templates.FOLDER / "alertmanager" / "alertmanager.yml.template"
RECEIVERS: Final = ("page", "ticket", "security", "watchdog")
#: What the receiver keeps, in its folder.
ALERTS: Final = "alerts.jsonl"


def configuration(urls: Mapping[str, str], *, group_wait: str = "30s", group_interval: str = "5m") -> str:
    """The configuration's text; `urls` are those of RECEIVERS."""
    values = {f"{name.upper()}_URL": urls[name] for name in RECEIVERS}
    return templates.fill(SOURCE, {**values, "GROUP_WAIT": group_wait, "GROUP_INTERVAL": group_interval})


def part(
    name: str,
    folder: Path,
    places: Places,
    *,
    urls: Mapping[str, str] | None = None,
    group_wait: str = "30s",
    group_interval: str = "5m",
) -> Part:
    """Alertmanager; without `urls` everything is told to the receiver that prints."""
    folder.mkdir(parents=True, exist_ok=True)
    receiver = f"http://{places.address('receiver')}"
    found = urls or {kind: f"{receiver}/{kind}" for kind in RECEIVERS}
    path = folder / "alertmanager.yml"
    path.write_text(configuration(found, group_wait=group_wait, group_interval=group_interval), "utf-8")
    address = places.address("alertmanager")
    return Part(name, command(path, folder / "data", address), ready=answering(f"http://{address}/-/ready"))


def command(path: Path, data: Path, address: str) -> list[str]:
    """The command line; SIGTERM ends it in good order."""
    return [
        str(programs.require("prometheus-alertmanager")),
        f"--config.file={path}",
        f"--storage.path={data}",
        f"--web.listen-address={address}",
        f"--web.external-url=http://{address}",
        "--cluster.listen-address=",  # one alone: no gossip
        "--log.level=warn",
    ]


def receiver(name: str, folder: Path, places: Places) -> Part:
    """What prints each alert, and keeps it in ALERTS."""
    folder.mkdir(parents=True, exist_ok=True)
    address = places.address("receiver")
    program = [sys.executable, "-m", "deploy.production.receiver", "--listen", address, "--keep", str(folder / ALERTS)]
    return Part(name, program, ready=answering(f"http://{address}/"))
