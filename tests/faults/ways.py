"""The addresses under which a service is reached: whoever is refused at one tries the next, as browsers do."""

from __future__ import annotations

import http.client
import json
import ssl
from collections.abc import Sequence
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit


class Ways:
    """One or more base URLs of one service; `certificate` is trusted, and nothing else, where they are https."""

    def __init__(self, addresses: Sequence[str], certificate: Path | None = None) -> None:
        self._addresses = [urlsplit(address) for address in addresses]
        self.context = ssl.create_default_context(cafile=str(certificate)) if certificate else None

    def host(self, turn: int = 0) -> str:
        """`host:port` of one of them; turns beyond the last begin anew."""
        return self._addresses[turn % len(self._addresses)].netloc

    def connect(self, turn: int, seconds: float) -> http.client.HTTPConnection:
        """A connection to one of them, or to the next that takes one.

        Raises:
            OSError: nobody does.
        """
        for further in range(len(self._addresses)):
            connection = self._made(turn + further, seconds)
            try:
                connection.connect()
            except OSError:
                connection.close()
                if further == len(self._addresses) - 1:
                    raise
            else:
                return connection
        raise AssertionError("there is always a last one")

    def ask(self, method: str, path: str, body: Any = None, token: str | None = None) -> tuple[int, Any]:
        """One request on a connection of its own; its status and JSON.

        Raises:
            OSError, HTTPException: no answer came.
        """
        connection = self.connect(0, 15.0)
        headers = {"Content-Type": "application/json"} | ({"Authorization": f"Bearer {token}"} if token else {})
        connection.request(method, path, None if body is None else json.dumps(body).encode(), headers)
        answer = connection.getresponse()
        content = answer.read()
        connection.close()
        return answer.status, json.loads(content) if content else None

    def _made(self, turn: int, seconds: float) -> http.client.HTTPConnection:
        if self.context is None:
            return http.client.HTTPConnection(self.host(turn), timeout=seconds)
        return http.client.HTTPSConnection(self.host(turn), timeout=seconds, context=self.context)
