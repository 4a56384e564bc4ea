"""What the service vouches for: a code over each accepted update that nobody can make who only has the database; pure.

The code goes with the update into the history. A row that was put in there or into the inbox by other hands has none
that fits, and `audit verify` names it.
"""

from __future__ import annotations

from hashlib import blake2b
from typing import Final

#: Of 128 bits, as NIST SP 800-224 asks of a message authentication code at least twice over.
VOUCH_BYTES: Final = 16
KEY_BYTES: Final = 32


def key_of(audit_secret: bytes) -> bytes:
    """The key for these codes, made from the audit key so that neither says anything of the other."""
    return blake2b(audit_secret, digest_size=KEY_BYTES, person=b"vouch").digest()


def vouch(
    key: bytes,
    user_id: str,
    action_id: str,
    action: str,
    value: int,
    nonce: str | None,
    signature: bytes | None,
    request_id: str,
) -> bytes:
    """Keyed BLAKE2b (RFC 7693) over lines that cannot be read in two ways; a third of what an HMAC takes."""
    signed = signature.hex() if signature is not None else "-"
    lines = f"v1\n{user_id}\n{action_id}\n{action}\n{value}\n{nonce or '-'}\n{signed}\n{request_id}"
    return blake2b(lines.encode(), digest_size=VOUCH_BYTES, key=key).digest()
