"""Players' signature keys at rest: AES-256-GCM (NIST SP 800-38D) under a named key of the deployment."""

from __future__ import annotations

import os
from dataclasses import dataclass
from typing import Final

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from models.settings import Key

SECRET_KEY_BYTES: Final = 32
_NONCE_BYTES: Final = 12  # SP 800-38D §5.2.1.1 recommends 96 bits


class KeyUnreadable(Exception):
    """A stored signature key cannot be read with the encryption keys of this deployment."""


@dataclass(frozen=True, slots=True)
class SealedKey:
    """A signature key as it is stored."""

    kid: str
    ciphertext: bytes


class KeyCipher:
    """Seals with the first encryption key, opens with any of them."""

    def __init__(self, encryption_keys: tuple[Key, ...]) -> None:
        self.sealing_kid = encryption_keys[0].kid
        self._ciphers = {key.kid: AESGCM(key.secret) for key in encryption_keys}

    def seal(self, secret_key: bytes, user_id: str) -> SealedKey:
        """Encrypt; bound to the user, so that a row copied to another user opens nothing."""
        nonce = os.urandom(_NONCE_BYTES)
        sealed = self._ciphers[self.sealing_kid].encrypt(nonce, secret_key, user_id.encode())
        return SealedKey(self.sealing_kid, nonce + sealed)

    def open(self, sealed: SealedKey, user_id: str) -> bytes:
        """Decrypt.

        Raises:
            KeyUnreadable: the key it was sealed under is missing, or the row was tampered with.
        """
        cipher = self._ciphers.get(sealed.kid)
        if cipher is None:
            raise KeyUnreadable(f"ENCRYPTION_KEYS has no key {sealed.kid!r}")
        try:
            return cipher.decrypt(sealed.ciphertext[:_NONCE_BYTES], sealed.ciphertext[_NONCE_BYTES:], user_id.encode())
        except (InvalidTag, ValueError) as error:  # the latter: a row cut to less than a nonce
            raise KeyUnreadable(f"the signature key of user {user_id} does not open under {sealed.kid!r}") from error
