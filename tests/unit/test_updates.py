"""Whatever a body holds, reading it ends in an update, MalformedJson or ValidationFailed; never anything else."""

from __future__ import annotations

import json
import re

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from models.errors import MalformedJson, ScoreboardError, ValidationFailed
from models.pipeline.updates import NESTING_MOST, SignedUpdate, nesting, parse_update
from tests.fixtures.bodies import BODIES, GOOD, good

HEX = "0123456789abcdef"

valid_updates = st.fixed_dictionaries(
    {
        "action_id": st.text("abcXYZ019_.:-", min_size=1, max_size=64),
        "action": st.text("abcxyz019_", min_size=1, max_size=64),
        "nonce": st.text(HEX + "ABCDEF", min_size=16, max_size=64),
        "timestamp": st.integers(0, 2**53),
        "signature": st.text(HEX, min_size=64, max_size=64),
    },
    optional={"value": st.integers(-(2**63), 2**63 - 1)},
)
any_json = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4),
    max_leaves=20,
)


def outcome(body: bytes) -> SignedUpdate | ScoreboardError:
    try:
        return parse_update(body)
    except (MalformedJson, ValidationFailed) as error:
        return error


@given(valid_updates)
def test_a_valid_update_is_read_as_it_is(members: dict[str, object]) -> None:
    update = parse_update(json.dumps(members).encode())
    assert msgspec.to_builtins(update) == {"value": 1, **members}


@given(st.binary(max_size=200))
def test_no_bytes_do_anything_but_refuse(body: bytes) -> None:
    assert isinstance(outcome(body), MalformedJson | ValidationFailed)


@given(any_json)
def test_json_that_is_no_update_is_refused(value: object) -> None:
    body = json.dumps(value, allow_nan=True).encode("utf-8", "surrogatepass")
    assert isinstance(outcome(body), MalformedJson | ValidationFailed)


@given(st.sampled_from(sorted(GOOD)), any_json)
def test_a_member_of_another_kind_is_refused_at_that_member(name: str, value: object) -> None:
    body = json.dumps({**GOOD, name: value}, allow_nan=False, default=str).encode() if _sane(value) else None
    if body is None:
        return
    result = outcome(body)
    if isinstance(result, SignedUpdate):
        assert getattr(result, name) == value
    elif isinstance(result, ValidationFailed):
        assert [fault.pointer for fault in result.errors] in ([f"/{name}"], *_inside(name, result))


@given(st.binary(min_size=1, max_size=4), st.integers(0, len(good()) - 1))
def test_a_good_body_with_some_bytes_changed_is_read_or_refused(noise: bytes, place: int) -> None:
    body = good()
    assert isinstance(
        outcome(body[:place] + noise + body[place + len(noise) :]), SignedUpdate | MalformedJson | ValidationFailed
    )


@pytest.mark.parametrize("name", sorted(BODIES))
def test_the_corpus_of_bodies_gets_the_answer_the_contract_names(name: str) -> None:
    body, expected = BODIES[name]
    result = outcome(body)
    found = "ok" if isinstance(result, SignedUpdate) else result.code
    assert found in expected


@pytest.mark.parametrize(
    ("changes", "pointer"),
    [
        ({"action_id": None}, "/action_id"),
        ({"action_id": ""}, "/action_id"),
        ({"action_id": "x" * 65}, "/action_id"),
        ({"action_id": "a b"}, "/action_id"),
        ({"action_id": "a\n"}, "/action_id"),
        ({"action_id": "é"}, "/action_id"),
        ({"action": "Jump"}, "/action"),
        ({"nonce": "f" * 15}, "/nonce"),
        ({"nonce": "f" * 65}, "/nonce"),
        ({"nonce": "g" * 16}, "/nonce"),
        ({"nonce": "f" * 16 + "\n"}, "/nonce"),
        ({"signature": "A" * 64}, "/signature"),
        ({"signature": "a" * 63}, "/signature"),
        ({"timestamp": -1}, "/timestamp"),
        ({"timestamp": 2**53 + 1}, "/timestamp"),
        ({"timestamp": 1.5}, "/timestamp"),
        ({"timestamp": "1"}, "/timestamp"),
        ({"value": 2**63}, "/value"),
        ({"value": -(2**63) - 1}, "/value"),
        ({"value": True}, "/value"),
        ({"valeu": 1}, "/valeu"),
        ({"a/b~c": 1}, "/a~1b~0c"),
    ],
)
def test_the_refusal_points_at_the_member(changes: dict[str, object], pointer: str) -> None:
    body = {name: value for name, value in {**GOOD, **changes}.items() if value is not None}
    with pytest.raises(ValidationFailed) as refused:
        parse_update(json.dumps(body).encode())
    [fault] = refused.value.errors
    assert fault.pointer == pointer
    assert fault.message
    assert fault.message[0].islower()


def test_a_refusal_does_not_repeat_what_the_caller_sent() -> None:
    with pytest.raises(ValidationFailed) as refused:
        parse_update(json.dumps({**GOOD, "signature": "my-secret-by-mistake"}).encode())
    assert "my-secret" not in repr(refused.value.errors) + str(refused.value)


@pytest.mark.parametrize("value", [2**53 + 1, 2**63 - 1, -(2**63), 9007199254740993])
def test_integers_are_exact_beyond_what_a_double_holds(value: int) -> None:
    assert parse_update(json.dumps({**GOOD, "value": value}).encode()).value == value


@given(any_json)
def test_nesting_counts_what_is_nested(value: object) -> None:
    def depth(node: object) -> int:
        inner = node.values() if isinstance(node, dict) else node if isinstance(node, list) else None
        return 0 if inner is None else 1 + max(map(depth, inner), default=0)

    assert nesting(json.dumps(value).encode()) == depth(value)


def test_nesting_up_to_the_limit_is_json_and_beyond_is_not() -> None:
    def body(levels: int) -> bytes:
        return b"[" * levels + b"]" * levels

    assert isinstance(outcome(body(NESTING_MOST)), ValidationFailed)
    assert isinstance(outcome(body(NESTING_MOST + 1)), MalformedJson)
    assert isinstance(outcome(b'{"extra":' + body(100_000) + b"}"), MalformedJson)


def _sane(value: object) -> bool:
    """Whether RFC 8259 has a spelling for it."""
    return not re.search(r"NaN|Infinity", json.dumps(value)) or isinstance(value, str)


def _inside(name: str, refused: ValidationFailed) -> list[list[str]]:
    return [[fault.pointer] for fault in refused.errors if fault.pointer.startswith(f"/{name}/")]
