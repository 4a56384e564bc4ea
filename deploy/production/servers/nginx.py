"""nginx in front of everything, by the templates in `deploy/nginx`."""

import os
import shutil
from pathlib import Path
from typing import Final

from deploy.production.part import Part
from deploy.production.places import Places
from deploy.production.programs import require
from deploy.production.servers.certificate import Certificate, self_signed
from deploy.production.servers.edge import Edge, leads_to_https, tells
from deploy.templates import FOLDER, fill

TEMPLATES: Final = FOLDER / "nginx"
_SERVER: Final = "server {} max_fails=2 fail_timeout=5s;"


def write(
    name: str, folder: Path, places: Places, *, certificate: Certificate | None = None, edge: Edge | None = None
) -> Path:
    """Write the configuration into a folder, with a certificate of its own where none is given; returns its path."""
    edge, certificate = edge or Edge(), certificate or self_signed(folder)
    common = edge.values(name, folder, places)
    values = common | {
        "CONNECTIONS": 2 * int(str(common["CONNECTIONS"])),  # nginx counts both sides
        "LISTEN_PRESS": places.address(f"{name}-press"),
        "CERTIFICATE": certificate.chain,
        "KEY": certificate.key,
        "API_SERVERS": " ".join(_SERVER.format(places.address(api)) for api in edge.apis),
        "SOCKET_SERVERS": " ".join(_SERVER.format(places.address(sockets)) for sockets in edge.sockets),
        "ALLOWED_ORIGINS": ",".join(edge.origins_of(name, places)),
        "INNER_NETWORKS": " ".join(f"{network} 1;" for network in edge.inside),
        "REQUESTS_BURST": edge.burst,
        "LOG": edge.log,
        "WORKERS": "auto",
    }
    folder.mkdir(parents=True, exist_ok=True)
    for file in TEMPLATES.iterdir():
        if file.suffix == ".template":
            (folder / file.stem).write_text(fill(file, values), "utf-8")
        elif file.suffix == ".conf":
            shutil.copyfile(file, folder / file.name)
    return folder / "nginx.conf"


def part(
    name: str, folder: Path, places: Places, *, certificate: Certificate | None = None, edge: Edge | None = None
) -> Part:
    """nginx as the part `name`, whose addresses are those of `name`, `name`-plain, -status and -press.

    Raises:
        StackError: nginx or openssl is not installed.
    """
    written = write(name, folder, places, certificate=certificate, edge=edge)
    arguments = [str(require("nginx")), "-p", str(folder), "-c", str(written)]
    if os.geteuid() == 0:  # else its workers could not enter a folder that is ours alone
        arguments += ["-g", "user root;"]
    return Part(
        name=name,
        arguments=arguments,
        ready=lambda: tells(places, name, "/stub_status") and leads_to_https(places, name),
        stop_signal="QUIT",
        stop_seconds=(edge or Edge()).drain_seconds + 3.0,
    )
