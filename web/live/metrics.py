"""What the sockets measure; right across processes through prometheus_client's multiprocess files."""

from __future__ import annotations

from typing import Final

from prometheus_client import Counter, Gauge, Histogram

#: From one send in the kernel to the reconnection of a process.
_LATENCY_BUCKETS: Final = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 10.0)

SOCKETS: Final = Gauge("scoreboard_sockets", "Sockets open now", multiprocess_mode="livesum")
MESSAGES: Final = Counter("scoreboard_socket_messages", "Messages of clients, by type", ["type"])
SENT: Final = Counter("scoreboard_socket_sent", "Board messages sent, by type", ["type"])
SENT_BYTES: Final = Counter("scoreboard_socket_sent_bytes", "Bytes of board messages sent, framing included")
SKIPPED: Final = Counter(
    "scoreboard_socket_skipped", "Times a socket got no delta because its last was still under way"
)
CLOSED: Final = Counter(
    "scoreboard_socket_closed", "Sockets ended, by close code (1006: without a close frame)", ["code"]
)
RESUMED: Final = Counter("scoreboard_socket_resumed", "Resumptions, by what the client got", ["outcome"])
GAPS: Final = Counter(
    "scoreboard_feed_gaps", "Times the events of Redis may have been missed and boards were read anew"
)
TICK_SECONDS: Final = Histogram(
    "scoreboard_tick_seconds", "From the read of a board to its last send", buckets=_LATENCY_BUCKETS
)
PUBLISHED_SENT_SECONDS: Final = Histogram(
    "scoreboard_published_sent_seconds", "From an event's publication to the last send", buckets=_LATENCY_BUCKETS
)
ACCEPTED_SENT_SECONDS: Final = Histogram(
    "scoreboard_accepted_sent_seconds", "From an update's acceptance to the last send", buckets=_LATENCY_BUCKETS
)
