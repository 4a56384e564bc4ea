"""An identity provider's public keys (RFC 7517), from a file or a URL: kept, renewed, and never fetched in a rush.

A key that is held is used whatever the provider does meanwhile. A `kid` that nobody knows makes us look again, at most
every few seconds and one request at a time: whoever invents them costs the provider nothing.
"""

from __future__ import annotations

import threading
import time
import urllib.request
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Final

import jwt
import structlog

from models.errors import NotReady

#: What is held is asked for anew this often, behind the back of who uses it.
LIFESPAN_SECONDS: Final = 300.0
#: Between two looks for a `kid` that is not held.
LOOKS_APART_SECONDS: Final = 10.0
FETCH_SECONDS: Final = 2.0
DOCUMENT_BYTES_MOST: Final = 1024 * 1024

log = structlog.get_logger(__name__)


def from_file(path: Path) -> Callable[[], bytes]:
    """Reads the document from a file, which may be replaced at any time."""
    return path.read_bytes


def from_url(url: str) -> Callable[[], bytes]:
    """Fetches the document."""

    def fetch() -> bytes:
        request = urllib.request.Request(url, headers={"Accept": "application/json"})  # noqa: S310 - of the settings
        with urllib.request.urlopen(request, timeout=FETCH_SECONDS) as answer:  # noqa: S310
            document: bytes = answer.read(DOCUMENT_BYTES_MOST + 1)
        if len(document) > DOCUMENT_BYTES_MOST:
            raise ValueError("the document is too large")
        return document

    return fetch


class ProviderKeys:
    """Public keys by `kid`."""

    def __init__(self, read: Callable[[], bytes], clock: Callable[[], float] = time.monotonic) -> None:
        self._read = read
        self._clock = clock
        self._keys: Mapping[str, Any] = {}
        self._tried_at = float("-inf")
        self._renewed_at = float("-inf")
        self._looking = threading.Lock()

    def key(self, kid: str) -> Any:
        """The key of that id.

        Raises:
            jwt.InvalidKeyError: the provider has none.
            NotReady: the provider cannot be asked now.
        """
        key = self._keys.get(kid)
        if key is None:
            self._look_for(kid)
            key = self._keys.get(kid)
        elif self._clock() - max(self._renewed_at, self._tried_at) > LIFESPAN_SECONDS:
            threading.Thread(target=self._renew_unless_somebody_does, name="jwks", daemon=True).start()
        if key is not None:
            return key
        if self._renewed_at < self._tried_at:
            raise NotReady("The identity provider's keys cannot be reached now.", retry_after_seconds=2)
        raise jwt.InvalidKeyError("unknown kid")

    def _look_for(self, kid: str) -> None:
        with self._looking:  # who waited for the one before has its answer
            if kid not in self._keys and self._clock() - self._tried_at > LOOKS_APART_SECONDS:
                self._renew()

    def _renew_unless_somebody_does(self) -> None:
        if self._looking.acquire(blocking=False):
            try:
                self._renew()
            finally:
                self._looking.release()

    def _renew(self) -> None:
        self._tried_at = self._clock()
        try:
            keys = jwt.PyJWKSet.from_json(self._read().decode()).keys
        except (OSError, ValueError, LookupError, TypeError, AttributeError, jwt.PyJWTError) as error:
            # PyJWT says of what is no set of keys whatever it stumbles over.
            log.warning("the provider's keys cannot be read", **{"event.action": "jwks"}, error=type(error))
            return
        self._keys = {key.key_id: key.key for key in keys if key.key_id}
        self._renewed_at = self._tried_at
