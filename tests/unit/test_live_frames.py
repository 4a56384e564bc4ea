"""Frames are read the same however they are cut, and a reader is let go only when nothing is half read."""

from __future__ import annotations

import struct

import pytest
from hypothesis import given
from hypothesis import strategies as st
from wsproto.frame_protocol import FrameProtocol

from web.live import closing
from web.live.frames import (
    MESSAGE_BYTES_MOST,
    Closed,
    FrameReader,
    FrameRefused,
    Part,
    Ping,
    Pong,
    Received,
    Text,
    close_frame,
    ping_frame,
    pong_frame,
    text_frame,
    whole_texts,
)


def masked(opcode: int, payload: bytes, *, fin: bool = True, mask: bytes = b"\x01\x02\x03\x04") -> bytes:
    size = len(payload)
    if size < 126:
        head = struct.pack("!BB", 0x80 * fin | opcode, 0x80 | size)
    elif size < 65536:
        head = struct.pack("!BBH", 0x80 * fin | opcode, 0xFE, size)
    else:
        head = struct.pack("!BBQ", 0x80 * fin | opcode, 0xFF, size)
    return head + mask + bytes(byte ^ mask[place % 4] for place, byte in enumerate(payload))


@st.composite
def conversations(draw: st.DrawFn) -> tuple[bytes, list[Received]]:
    """What a client sends, and what is to be read of it; messages may be fragmented in the middle of a character."""
    data, expected = b"", []
    for text in draw(st.lists(st.text(max_size=200), max_size=4)):
        payload = text.encode()
        cuts = sorted(draw(st.lists(st.integers(0, len(payload)), max_size=2)))
        parts = [payload[start:end] for start, end in zip([0, *cuts], [*cuts, len(payload)], strict=True)]
        for place, part in enumerate(parts):
            last = place == len(parts) - 1
            data += masked(0x0 if place else 0x1, part, fin=last)
            expected.append(Text(text) if last else Part())
            if draw(st.booleans()):
                data += masked(0x9, b"?") + masked(0xA, b"")
                expected += [Ping(b"?"), Pong()]
    return data, expected


@given(conversations(), st.data())
def test_frames_may_come_in_any_pieces(conversation: tuple[bytes, list[Received]], data: st.DataObject) -> None:
    stream, expected = conversation
    reader, received = FrameReader(), []
    while stream:
        size = data.draw(st.integers(1, len(stream)))
        received += list(reader.read(stream[:size]))
        stream = stream[size:]
        if reader.clean:  # as a session does
            reader = FrameReader()
    assert received == expected


def test_a_reader_is_not_needed_between_whole_messages() -> None:
    reader = FrameReader()
    assert list(reader.read(masked(0x1, b"x" * 300))) == [Text("x" * 300)]
    assert reader.clean
    assert list(reader.read(b"\x81")) == []
    assert not reader.clean


@pytest.mark.parametrize(
    ("data", "expected"),
    [
        (masked(0x2, b"\0"), closing.NO_TEXT),
        (masked(0x1, b"x" * (MESSAGE_BYTES_MOST + 1)), closing.TOO_LARGE),
        (masked(0x1, b"x" * 10_000, fin=False) + masked(0x0, b"x" * 10_000), closing.TOO_LARGE),
        (masked(0x1, b"\xff"), closing.NOT_UTF8),
        (b"\x81\x01x", closing.PROTOCOL_ERROR),
        (masked(0x0, b"x"), closing.PROTOCOL_ERROR),
        (masked(0x9, b"x", fin=False), closing.PROTOCOL_ERROR),
        (masked(0x8, b"\x03"), closing.PROTOCOL_ERROR),
    ],
)
def test_what_breaks_the_bounds_is_refused(data: bytes, expected: closing.Closing) -> None:
    with pytest.raises(FrameRefused) as refused:
        list(FrameReader().read(data))
    assert refused.value.closing == expected


def test_a_close_frame_ends_what_is_read() -> None:
    assert list(FrameReader().read(masked(0x8, struct.pack("!H", 1001) + b"bye"))) == [Closed(1001)]
    assert list(FrameReader().read(masked(0x8, b""))) == [Closed(1005)]


@pytest.mark.parametrize("size", [0, 125, 126, 65535, 65536])
def test_our_frames_are_those_of_a_strict_library(size: int) -> None:
    client = FrameProtocol(client=True, extensions=[])
    client.receive_bytes(text_frame(b"x" * size) + ping_frame() + pong_frame(b"p") + close_frame(4400, "name: why"))
    frames = list(client.received_frames())
    text = "".join(frame.payload for frame in frames if isinstance(frame.payload, str))
    assert text == "x" * size
    assert [frame.payload for frame in frames[-3:]] == [b"", b"p", (4400, "name: why")]


def test_every_closing_fits_its_frame() -> None:
    for value in vars(closing).values():
        if isinstance(value, closing.Closing):
            assert len(close_frame(value.code, value.reason)) <= 127


@given(conversations())
def test_whole_texts_are_what_a_reader_reads(conversation: tuple[bytes, list[Received]]) -> None:
    data, expected = conversation
    texts = whole_texts(data)
    if all(isinstance(item, Text) for item in expected):
        assert texts == expected
    else:
        assert texts is None


@given(
    st.one_of(
        st.binary(max_size=40),
        st.builds(lambda n, rest: bytes([0x81, 0x80 | n]) + rest, st.integers(0, 127), st.binary(max_size=300)),
        st.builds(
            lambda n, rest: b"\x81\xfe" + n.to_bytes(2, "big") + rest, st.integers(0, 400), st.binary(max_size=500)
        ),
        st.builds(lambda payload, cut: masked(0x1, payload)[:cut], st.binary(max_size=300), st.integers(0, 320)),
    )
)
def test_whatever_comes_is_read_alike_or_left_to_the_reader(data: bytes) -> None:
    texts = whole_texts(data)
    if texts is not None:
        reader = FrameReader()
        assert list(reader.read(data)) == texts
        assert reader.clean


def test_a_message_too_large_is_left_to_the_reader() -> None:
    assert whole_texts(masked(0x1, b"x" * MESSAGE_BYTES_MOST)) == [Text("x" * MESSAGE_BYTES_MOST)]
    assert whole_texts(masked(0x1, b"x" * (MESSAGE_BYTES_MOST + 1))) is None
