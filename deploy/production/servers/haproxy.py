"""HAProxy in front of everything, by the template in `deploy/haproxy`."""

import shutil
from pathlib import Path
from typing import Final

from deploy.production.part import Part
from deploy.production.places import Places
from deploy.production.programs import require
from deploy.production.servers.certificate import Certificate, self_signed
from deploy.production.servers.edge import Edge, leads_to_https, tells
from deploy.templates import FOLDER, fill

TEMPLATES: Final = FOLDER / "haproxy"
_NEXT: Final = "\n    "


def write(
    name: str, folder: Path, places: Places, *, certificate: Certificate | None = None, edge: Edge | None = None
) -> Path:
    """Write the configuration into a folder, with a certificate of its own where none is given; returns its path."""
    folder.mkdir(parents=True, exist_ok=True)
    edge, certificate = edge or Edge(), certificate or self_signed(folder)
    both = folder / "chain-and-key.pem"
    both.touch(mode=0o600)
    both.write_text(certificate.chain.read_text("ascii") + certificate.key.read_text("ascii"), "ascii")
    window = max(1, round((edge.requests_a_second + edge.burst) / edge.requests_a_second))
    values = edge.values(name, folder, places) | {
        "CERTIFICATE": both,
        "API_SERVERS": _NEXT.join(f"server {api} {places.address(api)}" for api in edge.apis),
        "SOCKET_SERVERS": _NEXT.join(f"server {sockets} {places.address(sockets)}" for sockets in edge.sockets),
        "ALLOWED_ORIGINS": " ".join(edge.origins_of(name, places)),
        "INNER_NETWORKS": " ".join(edge.inside),
        "WINDOW": window,
        "REQUESTS_OF_WINDOW": window * edge.requests_a_second,
        "CONNECTIONS_AT_ONCE": edge.requests_at_once + edge.sockets_at_once,
    }
    written = folder / "haproxy.cfg"
    written.write_text(fill(TEMPLATES / "haproxy.cfg.template", values), "utf-8")
    shutil.copyfile(TEMPLATES / "fronts.lst", folder / "fronts.lst")
    return written


def part(
    name: str, folder: Path, places: Places, *, certificate: Certificate | None = None, edge: Edge | None = None
) -> Part:
    """HAProxy as the part `name`, whose addresses are those of `name`, `name`-plain and -status.

    Raises:
        StackError: HAProxy or openssl is not installed.
    """
    written = write(name, folder, places, certificate=certificate, edge=edge)
    return Part(
        name=name,
        arguments=[str(require("haproxy")), "-W", "-f", str(written)],
        ready=lambda: tells(places, name, "/metrics") and leads_to_https(places, name),
        stop_signal="USR1",
        stop_seconds=(edge or Edge()).drain_seconds + 3.0,
    )
