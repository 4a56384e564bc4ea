"""Merkle trees hold to RFC 9162's own recursive definition, and no proof leads from anything else to the root."""

from __future__ import annotations

from hashlib import sha256

import pytest
from hypothesis import given
from hypothesis import strategies as st

from models.guard.merkle import Tree, leaf_hash

LEAVES = st.lists(st.binary(min_size=32, max_size=32), max_size=70)


def defined(leaves: list[bytes]) -> bytes:
    """RFC 9162 §2.1.1, word for word."""
    if not leaves:
        return sha256().digest()
    if len(leaves) == 1:
        return leaves[0]
    split = 1
    while split * 2 < len(leaves):
        split *= 2
    return sha256(b"\x01" + defined(leaves[:split]) + defined(leaves[split:])).digest()


def leads_to(root: bytes, leaf: bytes, at: int, size: int, path: list[bytes]) -> bool:
    """RFC 9162 §2.1.3.2: whether a leaf hash at place `at` of `size` leads by `path` to this root."""
    if at >= size:
        return False
    first, last, found = at, size - 1, leaf
    for each in path:
        if last == 0:
            return False
        if first & 1 or first == last:
            found = sha256(b"\x01" + each + found).digest()
            while not first & 1 and first != 0:
                first, last = first >> 1, last >> 1
        else:
            found = sha256(b"\x01" + found + each).digest()
        first, last = first >> 1, last >> 1
    return last == 0 and found == root


@given(LEAVES)
def test_the_root_is_the_standards(leaves: list[bytes]) -> None:
    assert Tree(leaves).root == defined(leaves)


@given(LEAVES.filter(bool), st.data())
def test_a_proof_leads_from_its_leaf_to_the_root_and_from_no_other(leaves: list[bytes], data: st.DataObject) -> None:
    at = data.draw(st.integers(0, len(leaves) - 1))
    tree = Tree(leaves)
    root, path = tree.root, tree.proof_of(at)
    assert leads_to(root, leaves[at], at, len(leaves), path)
    assert not leads_to(root, leaf_hash(leaves[at]), at, len(leaves), path)
    assert not leads_to(root, leaves[at], at, len(leaves), [*path, bytes(32)])
    assert not leads_to(root, leaves[at], len(leaves), len(leaves), path)
    if path:
        assert not leads_to(root, leaves[at], at, len(leaves), path[:-1])
        broken = data.draw(st.integers(0, len(path) - 1))
        other = [bytes(32) if place == broken else each for place, each in enumerate(path)]
        assert not leads_to(root, leaves[at], at, len(leaves), other) or other == path


def test_a_leaf_that_is_not_there_has_no_proof() -> None:
    for at in (-1, 1):
        with pytest.raises(IndexError):
            Tree([bytes(32)]).proof_of(at)
