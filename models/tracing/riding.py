"""How a trace rides along with an update: behind its request id, in the row and the event that carry that anyway.

So it costs no round trip and no statement of its own, is committed with the update, and cannot be mistaken: a request
id has no semicolon. Of updates that are not traced nothing changes.
"""

from __future__ import annotations

from typing import Final, NamedTuple

SEPARATOR: Final = ";"
#: Of tracestate, whole entries in front; W3C Trace Context lets those at the end go.
STATE_CHARACTERS_MOST: Final = 256


class Rider(NamedTuple):
    """A request id and the trace behind it, in the words of W3C Trace Context."""

    request_id: str
    traceparent: str
    tracestate: str

    @property
    def text(self) -> str:
        """As it is carried."""
        parts = (self.request_id, self.traceparent, self.tracestate) if self.tracestate else self[:2]
        return SEPARATOR.join(parts)


def rides(text: str) -> bool:
    """Whether a trace stands behind this request id."""
    return SEPARATOR in text


def request_id_of(text: str) -> str:
    """The request id alone."""
    return text.partition(SEPARATOR)[0]


def rider_of(text: str) -> Rider | None:
    """The request id and the trace behind it; None when there is none."""
    request_id, found, trace = text.partition(SEPARATOR)
    if not found:
        return None
    traceparent, _, tracestate = trace.partition(SEPARATOR)
    return Rider(request_id, traceparent, tracestate)


def shortened(tracestate: str) -> str:
    """As many of its entries, from the front, as may ride along."""
    entries = tracestate.split(",")
    while entries and len(",".join(entries)) > STATE_CHARACTERS_MOST:
        entries.pop()
    return ",".join(entries)
