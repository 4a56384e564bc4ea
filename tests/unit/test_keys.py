"""Players' keys at rest: unreadable to whoever has the rows, changes a byte, or moves one to another player."""

from __future__ import annotations

import os

import pytest
from hypothesis import given
from hypothesis import strategies as st

from models.accounts.keys import SECRET_KEY_BYTES, KeyCipher, KeyUnreadable, SealedKey
from models.settings import Key

OLD, NEW = Key("2025", bytes([1]) * 32), Key("2026", bytes([2]) * 32)
SECRET = bytes(range(SECRET_KEY_BYTES))
SEALED = KeyCipher((OLD,)).seal(SECRET, "ada")


def test_what_was_sealed_opens() -> None:
    assert KeyCipher((OLD,)).open(SEALED, "ada") == SECRET


def test_the_key_cannot_be_seen_in_what_is_stored() -> None:
    assert SECRET not in SEALED.ciphertext
    assert SECRET[:8] not in SEALED.ciphertext


def test_the_same_key_is_never_sealed_to_the_same_bytes() -> None:
    cipher = KeyCipher((OLD,))
    assert len({cipher.seal(SECRET, "ada").ciphertext for _ in range(100)}) == 100


@given(st.integers(0, len(SEALED.ciphertext) - 1), st.integers(1, 255))
def test_a_changed_byte_is_noticed_wherever_it_is(place: int, change: int) -> None:
    tampered = bytearray(SEALED.ciphertext)
    tampered[place] ^= change
    with pytest.raises(KeyUnreadable):
        KeyCipher((OLD,)).open(SealedKey(SEALED.kid, bytes(tampered)), "ada")


@pytest.mark.parametrize("length", [0, 1, 11, 12, 13, 27, 28, len(SEALED.ciphertext) - 1])
def test_a_row_cut_short_is_noticed(length: int) -> None:
    with pytest.raises(KeyUnreadable):
        KeyCipher((OLD,)).open(SealedKey(SEALED.kid, SEALED.ciphertext[:length]), "ada")


def test_a_row_copied_to_another_player_opens_nothing() -> None:
    with pytest.raises(KeyUnreadable, match="bob"):
        KeyCipher((OLD,)).open(SEALED, "bob")


def test_after_a_change_of_keys_old_rows_open_and_new_ones_are_under_the_new_key() -> None:
    cipher = KeyCipher((NEW, OLD))
    assert cipher.open(SEALED, "ada") == SECRET
    assert cipher.seal(SECRET, "ada").kid == NEW.kid


def test_a_key_the_deployment_does_not_have_is_named() -> None:
    with pytest.raises(KeyUnreadable, match="2025"):
        KeyCipher((NEW,)).open(SEALED, "ada")


def test_another_key_under_the_same_name_opens_nothing() -> None:
    with pytest.raises(KeyUnreadable):
        KeyCipher((Key(OLD.kid, os.urandom(32)),)).open(SEALED, "ada")
