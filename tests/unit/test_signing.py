"""Signatures, against vectors made by other means than ours."""

from __future__ import annotations

import hashlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from models.accounts import signing

KEY = bytes(range(32))
USER = "0189f7e0-1111-7000-8000-000000000001"
MESSAGE = b"v1\n0189f7e0-1111-7000-8000-000000000001\na:1\nlevel_complete\n7\n00ff00ff00ff00ff\n1795421846123"
#: openssl dgst -sha256 -mac HMAC -macopt hexkey:000102…1f over MESSAGE
SIGNATURE = "204b3d70afe9012d1565b58684187cd448d142926f8e4e7c03c2426a4e166b3c"
TOKEN_MESSAGE = b"v1\ntoken\nAda.L\n00ff00ff00ff00ff\n1795421846123"
TOKEN_SIGNATURE = "d76e203c42e5d8cf1503314b4f03f3ccb16aedd1a433c6510ab18472324136a4"


def hmac_sha256(key: bytes, message: bytes) -> str:
    """RFC 2104 spelled out."""
    key = key.ljust(64, b"\0") if len(key) <= 64 else hashlib.sha256(key).digest().ljust(64, b"\0")
    inner = hashlib.sha256(bytes(b ^ 0x36 for b in key) + message).digest()
    return hashlib.sha256(bytes(b ^ 0x5C for b in key) + inner).hexdigest()


def test_an_action_is_signed_as_the_contract_says() -> None:
    message = signing.action_message(USER, "a:1", "level_complete", 7, "00ff00ff00ff00ff", 1795421846123)
    assert message == MESSAGE
    assert signing.sign(KEY, message) == SIGNATURE
    assert signing.matches(KEY, message, SIGNATURE)


def test_a_sign_in_is_signed_as_the_contract_says() -> None:
    message = signing.token_message("Ada.L", "00ff00ff00ff00ff", 1795421846123)
    assert message == TOKEN_MESSAGE
    assert signing.sign(KEY, message) == TOKEN_SIGNATURE


def test_rfc_4231_case_1() -> None:
    expected = "b0344c61d8db38535ca8afceaf0bf12b881dc200c9833da726e9376c2e32cff7"
    assert signing.sign(b"\x0b" * 20, b"Hi There") == expected


@given(st.binary(min_size=1, max_size=80), st.binary(max_size=200))
def test_it_is_hmac_for_any_key_and_message(key: bytes, message: bytes) -> None:
    assert signing.sign(key, message) == hmac_sha256(key, message)


@given(st.integers(0, 63), st.sampled_from("0123456789abcdef"))
def test_no_signature_with_another_digit_matches(place: int, digit: str) -> None:
    other = SIGNATURE[:place] + digit + SIGNATURE[place + 1 :]
    assert signing.matches(KEY, MESSAGE, other) == (other == SIGNATURE)


@pytest.mark.parametrize("other", ["", SIGNATURE.upper(), SIGNATURE[:-1], SIGNATURE + "0", " " + SIGNATURE])
def test_another_spelling_does_not_match(other: str) -> None:
    assert not signing.matches(KEY, MESSAGE, other)


PARTS = ("user", "id", "action", 1, "abcdef0123456789", 5)


@pytest.mark.parametrize("place", range(len(PARTS)))
def test_every_part_is_signed(place: int) -> None:
    changed = list(PARTS)
    changed[place] = 2 if isinstance(PARTS[place], int) else f"{PARTS[place]}x"
    assert signing.action_message(*changed) != signing.action_message(*PARTS)  # type: ignore[arg-type]


@pytest.mark.parametrize(("distance_ms", "within"), [(0, True), (300_000, True), (300_001, False), (2**53, False)])
def test_the_window_is_300_seconds_both_ways(distance_ms: int, within: bool) -> None:
    now = 1795421846123
    assert signing.within_window(now + distance_ms, now) is within
    assert signing.within_window(now - distance_ms, now) is within
