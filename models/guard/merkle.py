"""Merkle trees as in Certificate Transparency (RFC 9162 §2.1), with SHA-256; pure.

A root of 32 bytes stands for a list of leaves in order; a proof shows in log2(n) hashes that a leaf is there.
"""

from __future__ import annotations

from collections.abc import Sequence
from hashlib import sha256
from typing import Final

#: §2.1.1: leaves and nodes begin with different bytes, so that neither can be taken for the other.
LEAF: Final = b"\x00"
NODE: Final = b"\x01"
EMPTY_ROOT: Final = sha256().digest()


def leaf_hash(content: bytes) -> bytes:
    """The hash of one leaf."""
    return sha256(LEAF + content).digest()


class Tree:
    """The tree over leaf hashes in order."""

    def __init__(self, leaves: Sequence[bytes]) -> None:
        self._levels = [list(leaves)]
        while len(self._levels[-1]) > 1:
            self._levels.append(_above(self._levels[-1]))

    @property
    def root(self) -> bytes:
        """Of no leaves it is the hash of nothing."""
        return self._levels[-1][0] if self._levels[-1] else EMPTY_ROOT

    def proof_of(self, at: int) -> list[bytes]:
        """The hashes that lead from the leaf at `at` to the root, the nearest first (§2.1.3.1).

        Raises:
            IndexError: there is no such leaf.
        """
        if not 0 <= at < len(self._levels[0]):
            raise IndexError(at)
        path = []
        for level in self._levels[:-1]:
            beside = at ^ 1
            if beside < len(level):  # a last one without a neighbour goes up as it is
                path.append(level[beside])
            at //= 2
        return path


def _above(level: list[bytes]) -> list[bytes]:
    above = [_node(level[at], level[at + 1]) for at in range(0, len(level) - 1, 2)]
    if len(level) % 2:
        above.append(level[-1])
    return above


def _node(left: bytes, right: bytes) -> bytes:
    return sha256(NODE + left + right).digest()
