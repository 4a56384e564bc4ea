"""What lies in a Redis broker's queue may be anything: a worker reads it and lives."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from worker import messages

json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=10),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=10), inner, max_size=4),
    max_leaves=10,
)
GOOD = {
    "body": "W10=",
    "headers": {"task": "scoreboard.sweep"},
    "properties": {"delivery_tag": "t", "delivery_info": {"routing_key": "apply"}},
}


def test_a_message_is_handed_on_as_it_is() -> None:
    assert messages.message_of(messages.read(json.dumps(GOOD))) == GOOD


@pytest.mark.parametrize("entry", ["", "{not json", "null", "[]", '"text"', "{}", '{"body": 1}', "[[], 1, 2]"])
def test_nonsense_becomes_a_message_without_a_task(entry: str) -> None:
    message = messages.message_of(messages.read(entry))
    assert "task" not in message["headers"]
    assert message["properties"]["delivery_tag"]


@given(json_values)
def test_whatever_json_it_is_has_the_parts_that_kombu_takes_for_granted(value: object) -> None:
    message = messages.message_of(messages.read(json.dumps(value)))
    assert isinstance(message["body"], str)
    assert isinstance(message["headers"], dict)
    assert isinstance(message["properties"]["delivery_tag"], str)
    assert isinstance(message["properties"]["delivery_info"], dict)
