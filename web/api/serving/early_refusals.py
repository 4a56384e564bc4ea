"""`POST /api/v1/scores/update` when no more are let in: answered from the bytes of the request.

When five times too much comes, refusing is most of the work. A request that is there whole, and is an ordinary one, is
not even parsed; what it would take to accept it is left for those who were let in (I8). Nothing else is looked at, so a
refusal changes nothing (I9).
"""

from __future__ import annotations

from collections.abc import Set as AbstractSet
from typing import Final

from web.cors import origin_headers
from web.gate import Gate, refusal
from web.metrics import Requests
from web.requests import request_id_of

RULE: Final = "/api/v1/scores/update"
REQUEST_LINE: Final = f"POST {RULE} HTTP/1.1\r\n".encode()
_STATUS: Final = 503
_LENGTH: Final = b"\r\ncontent-length: "


class EarlyRefusals:
    """One a process; all of it on the event loop."""

    def __init__(self, gate: Gate, requests: Requests, allowed_origins: AbstractSet[str]) -> None:
        self._gate = gate
        self._requests = requests
        self._lane = gate.writes
        self._untold = 0
        self._head = refusal("").head
        self._body = [part.encode() for part in refusal("\0").body.decode().split("\\u0000")]
        self._body_bytes = sum(map(len, self._body))
        self._of_origin = {
            origin.encode(): b"".join(b"%b: %b\r\n" % (name.encode(), value.encode()) for name, value in headers)
            for origin in allowed_origins
            if (headers := origin_headers(origin, allowed_origins))
        }

    @property
    def due(self) -> bool:
        """Whether no more are let in."""
        return self._lane.full

    def to(self, data: bytes, date: bytes) -> bytes | None:
        """The refusal of this request; None when it is none of ours, or must be looked at closer.

        Args:
            data: all that came since the last request on its connection was answered.
            date: header lines that go with every answer.
        """
        if not data.startswith(REQUEST_LINE):
            return None
        end = data.find(b"\r\n\r\n")
        head = data[len(REQUEST_LINE) - 2 : end + 2]
        lower = head.lower()
        if not _is_ordinary(lower, len(data) - end - 4):
            return None
        request_id = request_id_of(_last(b"\r\nx-request-id:", lower, head)).encode()
        origin = _last(b"\r\norigin:", lower, head)
        self.count()
        return b"%bContent-Length: %d\r\nX-Request-ID: %b\r\n%b%b\r\n%b%b%b" % (
            self._head,
            self._body_bytes + len(request_id),
            request_id,
            self._of_origin.get(origin, b"") if origin is not None else b"",
            date,
            self._body[0],
            request_id,
            self._body[1],
        )

    def count(self) -> None:
        """One was refused, for the next `tell`."""
        self._untold += 1

    def tell(self) -> None:
        """Tell metrics and log of those they have not been told of; one at a time costs more than the refusal."""
        if times := self._untold:
            self._untold = 0
            self._gate.refused(self._lane, times)
            self._requests.count_untimed("POST", _STATUS, RULE, times)


def _is_ordinary(lower: bytes, body_bytes: int) -> bool:
    """Whether these header lines say that the body has this length, and that the connection stays.

    A name that shows up in any other place is enough to say no: then the parser is to say what it means.
    """
    at = lower.find(_LENGTH)
    if at < 0 or lower.count(b"content-length") != 1 or b"transfer-encoding" in lower:
        return False
    if b"connection" in lower and b"\r\nconnection: keep-alive\r\n" not in lower:
        return False
    at += len(_LENGTH)
    return lower[at : lower.find(b"\r\n", at)] == b"%d" % body_bytes


def _last(name: bytes, lower: bytes, head: bytes) -> bytes | None:
    """What stands in the last header line that begins so."""
    at = lower.rfind(name)
    if at < 0:
        return None
    at += len(name)
    return head[at : head.find(b"\r\n", at)].strip()
