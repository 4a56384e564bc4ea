"""The service's code over an update depends on every part of it, and on the key."""

from __future__ import annotations

from typing import Any

import pytest

from models.pipeline.vouching import VOUCH_BYTES, key_of, vouch

KEY = key_of(bytes(range(32)))
PARTS: dict[str, Any] = {
    "user_id": "0197c1de-0000-7000-8000-000000000001",
    "action_id": "a-1",
    "action": "level_complete",
    "value": 3,
    "nonce": "ab" * 16,
    "signature": bytes(32),
    "request_id": "r-1",
}


def test_the_same_update_has_the_same_code() -> None:
    assert vouch(KEY, **PARTS) == vouch(KEY, **PARTS)
    assert len(vouch(KEY, **PARTS)) == VOUCH_BYTES


@pytest.mark.parametrize(
    "change",
    [
        {"user_id": "0197c1de-0000-7000-8000-000000000002"},
        {"action_id": "a-2"},
        {"action": "boss_defeated"},
        {"value": 4},
        {"value": -3},
        {"nonce": "ab" * 15 + "ac"},
        {"nonce": None},
        {"signature": bytes(31) + b"\x01"},
        {"signature": None},
        {"request_id": "r-2"},
    ],
)
def test_another_update_has_another(change: dict[str, Any]) -> None:
    assert vouch(KEY, **{**PARTS, **change}) != vouch(KEY, **PARTS)


def test_without_the_key_there_is_none() -> None:
    assert vouch(key_of(bytes(32)), **PARTS) != vouch(KEY, **PARTS)
    assert key_of(bytes(32)) != bytes(32)
