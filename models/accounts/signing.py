"""Signatures of actions: HMAC-SHA256 (RFC 2104) over lines that cannot be read in two ways."""

from __future__ import annotations

import hmac
from typing import Final

TIMESTAMP_WINDOW_MS: Final = 300_000
#: How long a nonce is remembered at least: the window many times over, for clocks that were wrong.
NONCE_SECONDS: Final = 24 * 3600
#: Begins the key under which a nonce spent on signing in is kept; the `/` keeps it apart from every caller's action_id.
SIGN_IN_KEY_PREFIX: Final = "token/"


def action_message(user_id: str, action_id: str, action: str, value: int, nonce: str, timestamp: int) -> bytes:
    """What a player signs for one action; none of the parts can hold a line feed."""
    return f"v1\n{user_id}\n{action_id}\n{action}\n{value}\n{nonce}\n{timestamp}".encode()


def token_message(username: str, nonce: str, timestamp: int) -> bytes:
    """What a player signs to get a token."""
    return f"v1\ntoken\n{username}\n{nonce}\n{timestamp}".encode()


def purpose_message(purpose: str, user_id: str, nonce: str, timestamp: int) -> bytes:
    """What a player signs to change or erase the account: a token alone must not be enough for that."""
    return f"v1\n{purpose}\n{user_id}\n{nonce}\n{timestamp}".encode()


def sign(secret_key: bytes, message: bytes) -> str:
    """The signature in lower-case hex."""
    # Not hmac.digest, which gives up the interpreter's lock for these 2 µs: getting it back takes ten times as long.
    return hmac.new(secret_key, message, "sha256").hexdigest()


def matches(secret_key: bytes, message: bytes, signature: str) -> bool:
    """Whether `signature` is that of `message`, compared in constant time."""
    return hmac.compare_digest(sign(secret_key, message), signature)


def within_window(timestamp_ms: int, now_ms: int) -> bool:
    """Whether a caller's clock agrees with ours to 300 s."""
    return abs(timestamp_ms - now_ms) <= TIMESTAMP_WINDOW_MS
