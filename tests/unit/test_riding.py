"""How a trace rides along behind a request id: what goes in comes out, and a request id alone is left alone."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from models.boards import events
from models.boards.events import Applied, BoardChanged
from models.tracing import riding
from models.tracing.riding import STATE_CHARACTERS_MOST, Rider
from web.requests import request_id_of

REQUEST_IDS = st.text("abcXYZ019._:-", min_size=1, max_size=128)
PARENT = f"00-{'a' * 32}-{'b' * 16}-01"


@given(REQUEST_IDS, st.text(st.characters(min_codepoint=0x20, max_codepoint=0x7E), max_size=64))
def test_what_goes_in_comes_out(request_id: str, state: str) -> None:
    rider = Rider(request_id, PARENT, state)
    assert riding.rides(rider.text)
    assert riding.rider_of(rider.text) == rider
    assert riding.request_id_of(rider.text) == request_id


@given(REQUEST_IDS)
def test_a_request_id_alone_carries_nothing(request_id: str) -> None:
    assert not riding.rides(request_id)
    assert riding.rider_of(request_id) is None
    assert riding.request_id_of(request_id) == request_id


def test_no_client_can_make_a_request_id_that_carries_a_trace() -> None:
    assert request_id_of(f"r-1;{PARENT}") != f"r-1;{PARENT}"
    assert not riding.rides(request_id_of(f"r-1;{PARENT}"))


@given(st.lists(st.text("ab=12", min_size=1, max_size=100)))
def test_of_a_long_state_whole_entries_in_front_are_kept(entries: list[str]) -> None:
    kept = riding.shortened(",".join(entries))
    assert len(kept) <= STATE_CHARACTERS_MOST
    assert ",".join(entries).startswith(kept)
    assert kept == "" or kept.split(",") == entries[: len(kept.split(","))]


def test_an_event_without_traces_is_written_as_before_and_one_with_them_read() -> None:
    event = BoardChanged("global", 1, 7, 0, 0, ("r-1",), (Applied("u", "a", 0, 1, 1),))
    written: list[bytes] = []

    class Client:
        def publish(self, _channel: str, data: bytes) -> int:
            written.append(data)
            return 1

    events.publish(Client(), event)  # type: ignore[arg-type]
    traced = BoardChanged(*(getattr(event, name) for name in BoardChanged.__struct_fields__[:-1]), traces=("x",))
    events.publish(Client(), traced)  # type: ignore[arg-type]
    assert b"traces" not in written[0]
    assert [events.decode(each) for each in written] == [event, traced]
