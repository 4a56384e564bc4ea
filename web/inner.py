"""Keeps what is for operators to inner addresses, where a deployment says which those are."""

from __future__ import annotations

from ipaddress import ip_address
from typing import Final

from flask import Flask, request

from models.errors import NotFound
from models.subjects import Network

#: Figures, how every part is, operators' calls and their console, and the description of all calls.
INNER: Final = ("/metrics", "/readyz", "/docs", "/admin", "/api/v1/admin", "/api/v1/openapi.json")


def install_inner(app: Flask, networks: tuple[Network, ...], paths: tuple[str, ...] = INNER) -> None:
    """Answer others as if nothing were there; without networks everybody is let through."""
    if not networks:
        return

    @app.before_request
    def _keep_inside() -> None:
        if request.path.startswith(paths) and not _is_inner(request.remote_addr, networks):
            raise NotFound


def _is_inner(address: str | None, networks: tuple[Network, ...]) -> bool:
    try:
        found = ip_address((address or "").partition("%")[0])
    except ValueError:
        return False
    return any(found in network for network in networks)
