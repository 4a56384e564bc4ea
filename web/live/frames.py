"""WebSocket frames: ours made once and sent to many, theirs read within bounds."""

from __future__ import annotations

import struct
from collections.abc import Iterator
from typing import Final, NamedTuple

from wsproto.frame_protocol import CloseReason, FrameProtocol, Opcode, ParseFailed

from web.live.closing import NO_TEXT, NOT_UTF8, PROTOCOL_ERROR, TOO_LARGE, Closing

MESSAGE_BYTES_MOST: Final = 16 * 1024
CONTROL_BYTES_MOST: Final = 125  # RFC 6455 §5.5
MASK_BYTES: Final = 4

_FIN_TEXT, _FIN_CLOSE, _FIN_PING, _FIN_PONG = (0x80 | opcode for opcode in (0x1, 0x8, 0x9, 0xA))


class FrameRefused(Exception):
    """What came cannot be read on; `closing` says how the socket ends."""

    def __init__(self, closing: Closing) -> None:
        super().__init__(closing.reason)
        self.closing = closing


class Text(NamedTuple):
    """A whole text message."""

    text: str


class Ping(NamedTuple):
    """A ping, to be answered with the same payload."""

    payload: bytes


class Pong(NamedTuple):
    """A pong, asked for or not."""


class Closed(NamedTuple):
    """The other side's close frame; 1005 when it gave no code."""

    code: int


class Part(NamedTuple):
    """A frame that ended without ending its message."""


Received = Text | Ping | Pong | Closed | Part


def text_frame(payload: bytes) -> bytes:
    """A server's frame around JSON; the same bytes can go to any number of sockets."""
    return _header(_FIN_TEXT, len(payload)) + payload


def ping_frame() -> bytes:
    """A ping without payload."""
    return _header(_FIN_PING, 0)


def pong_frame(payload: bytes) -> bytes:
    """The answer to a ping."""
    return _header(_FIN_PONG, len(payload)) + payload


def close_frame(code: int, reason: str = "") -> bytes:
    """A close frame; code 1005 ("none given") becomes a frame without a code."""
    if code == CloseReason.NO_STATUS_RCVD:
        return _header(_FIN_CLOSE, 0)
    payload = struct.pack("!H", code) + reason.encode()
    if len(payload) > CONTROL_BYTES_MOST:
        raise ValueError("the reason does not fit a control frame")
    return _header(_FIN_CLOSE, len(payload)) + payload


def _header(first: int, length: int) -> bytes:
    if length < 126:
        return struct.pack("!BB", first, length)
    if length < 1 << 16:
        return struct.pack("!BBH", first, 126, length)
    return struct.pack("!BBQ", first, 127, length)


def whole_texts(data: bytes) -> list[Text] | None:
    """The messages in what came, if it is nothing but whole text frames of one message each, as it nearly always is;
    None leaves it to a FrameReader, which takes ten times as long and says what is wrong.
    """
    texts: list[Text] = []
    at, end = 0, len(data)
    while at < end:
        if end - at < 6 or data[at] != _FIN_TEXT or not data[at + 1] & 0x80:
            return None
        length, start = data[at + 1] & 0x7F, at + 6
        if length >= 126:
            if length == 127 or end - at < 8:
                return None
            length, start = data[at + 2] << 8 | data[at + 3], at + 8
            if not 126 <= length <= MESSAGE_BYTES_MOST:
                return None
        at = start + length
        if at > end:
            return None
        mask = data[start - MASK_BYTES : start] * (length // MASK_BYTES + 1)
        payload = int.from_bytes(data[start:at], "big") ^ int.from_bytes(mask[:length], "big")
        try:
            texts.append(Text(payload.to_bytes(length, "big").decode()))
        except UnicodeDecodeError:
            return None
    return texts


class FrameReader:
    """Reads one socket's frames; kept only while a frame or message is unfinished (see `clean`)."""

    __slots__ = (
        "_at_rest",
        "_fragmented",
        "_message",
        "_message_bytes",
        "_payload_bytes",
        "_protocol",
        "_unread_bytes",
    )

    def __init__(self) -> None:
        self._protocol = FrameProtocol(client=False, extensions=[])
        self._message: list[str] = []
        self._message_bytes = 0
        self._payload_bytes = 0
        self._unread_bytes = 0
        self._at_rest = True
        self._fragmented = False

    @property
    def clean(self) -> bool:
        """Whether nothing is half read, so that this reader may be thrown away and another begin afresh.

        An idle socket needs no reader, which is most of what an idle socket would otherwise weigh. Once a message
        came in fragments the reader stays: a character cut by a fragment is counted with the next one, so the
        lengths of the headers can no longer be told.
        """
        return self._at_rest and not self._unread_bytes and not self._fragmented

    def read(self, data: bytes) -> Iterator[Received]:
        """What these bytes complete, in order.

        Raises:
            FrameRefused: they break RFC 6455 or our bounds.
        """
        self._unread_bytes += len(data)
        self._protocol.receive_bytes(data)
        try:
            for frame in self._protocol.received_frames():
                received = self._received(frame.opcode, frame.payload, frame.frame_finished, frame.message_finished)
                if received is not None:
                    yield received
        except ParseFailed as fault:
            invalid = fault.code == CloseReason.INVALID_FRAME_PAYLOAD_DATA
            raise FrameRefused(NOT_UTF8 if invalid else PROTOCOL_ERROR) from None

    def _received(
        self, opcode: Opcode, payload: bytes | str | tuple[int, str], frame_finished: bool, message_finished: bool
    ) -> Received | None:
        if isinstance(payload, tuple):
            return Closed(int(payload[0]))
        if isinstance(payload, bytes) and opcode in (Opcode.PING, Opcode.PONG):
            self._end_frame(len(payload), control=True)
            return Ping(payload) if opcode is Opcode.PING else Pong()
        if not isinstance(payload, str):
            raise FrameRefused(NO_TEXT)
        return self._text(payload, frame_finished, message_finished)

    def _text(self, payload: str, frame_finished: bool, message_finished: bool) -> Received | None:
        size = len(payload) if payload.isascii() else len(payload.encode())
        self._at_rest = False
        self._message_bytes += size
        self._payload_bytes += size
        if self._message_bytes > MESSAGE_BYTES_MOST:
            raise FrameRefused(TOO_LARGE)
        self._message.append(payload)
        if not frame_finished:
            return None
        self._end_frame(self._payload_bytes)
        self._payload_bytes = 0
        if not message_finished:
            self._fragmented = True
            return Part()
        text = "".join(self._message)
        self._message.clear()
        self._message_bytes = 0
        self._at_rest = True
        return Text(text)

    def _end_frame(self, payload_bytes: int, *, control: bool = False) -> None:
        """Take a finished frame off what is unread; its header's size follows from its length (RFC 6455 §5.2)."""
        extended = 0 if control or payload_bytes < 126 else 2
        self._unread_bytes -= 2 + extended + MASK_BYTES + payload_bytes
