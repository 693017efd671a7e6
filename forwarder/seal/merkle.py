"""Merkle trees of RFC 6962, section 2.1: leaf and node hashes, roots, inclusion proofs.

A hash is 32 bytes of SHA-256. The tree of no leaves has the root SHA-256("").
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from hashlib import sha256

EMPTY = sha256(b"").digest()


def leaf_hash(data: bytes) -> bytes:
    """Return SHA-256(0x00 ‖ data)."""
    return sha256(b"\x00" + data).digest()


def leaf_hashes(lines: Iterable[bytes]) -> list[bytes]:
    """Return the leaf hash of each."""
    return [sha256(b"\x00" + line).digest() for line in lines]


def node_hash(left: bytes, right: bytes) -> bytes:
    """Return SHA-256(0x01 ‖ left ‖ right)."""
    return sha256(b"\x01" + left + right).digest()


def root(leaves: Sequence[bytes]) -> bytes:
    """Return the root over leaf hashes.

    Pairing neighbours level by level and carrying a lone last node up unchanged gives the same tree as
    RFC 6962's recursive split at the largest power of two.
    """
    if not leaves:
        return EMPTY
    level = list(leaves)
    while len(level) > 1:
        lone = level[-1:] if len(level) % 2 else []
        level = [sha256(b"\x01" + a + b).digest() for a, b in zip(level[::2], level[1::2], strict=False)]
        level += lone
    return level[0]


class Frontier:
    """A growing tree, known by the roots of its perfect subtrees: one for each bit that is set in its size.

    Args:
        size: number of leaves.
        nodes: those roots, the largest subtree first.
    """

    def __init__(self, size: int = 0, nodes: Sequence[bytes] = ()) -> None:
        self.size = size
        self.nodes = list(nodes)

    def add(self, leaf: bytes) -> None:
        """Add a leaf hash."""
        rest = self.size
        while rest & 1:
            leaf = node_hash(self.nodes.pop(), leaf)
            rest >>= 1
        self.nodes.append(leaf)
        self.size += 1

    def root(self) -> bytes:
        """Return the root over all leaves added."""
        if not self.nodes:
            return EMPTY
        *left, accumulated = self.nodes
        for node in reversed(left):
            accumulated = node_hash(node, accumulated)
        return accumulated


def split(size: int) -> int:
    """Return the largest power of two below a size of at least 2."""
    return 1 << ((size - 1).bit_length() - 1)


def inclusion_path(leaves: Sequence[bytes], index: int) -> list[bytes]:
    """Return the audit path of a leaf (RFC 6962, section 2.1.1), nearest sibling first.

    Raises:
        IndexError: there is no such leaf.
    """
    return audit_path(index, len(leaves), lambda begin, end: root(leaves[begin:end]))


def audit_path(index: int, size: int, root_of: Callable[[int, int], bytes]) -> list[bytes]:
    """Return the audit path of a leaf of a tree that is given by the roots over its leaves `begin` … `end` - 1.

    Raises:
        IndexError: there is no such leaf.
    """
    if not 0 <= index < size:
        raise IndexError(index)
    begin, end = 0, size
    found: list[bytes] = []
    while end - begin > 1:
        middle = begin + split(end - begin)
        if index < middle:
            found.append(root_of(middle, end))
            end = middle
        else:
            found.append(root_of(begin, middle))
            begin = middle
    return found[::-1]


def root_from_path(leaf: bytes, index: int, size: int, path: Sequence[bytes]) -> bytes | None:
    """Return the root that an audit path leads to, or None when the path has the wrong length."""
    if not 0 <= index < size:
        return None
    if size == 1:
        return leaf if not path else None
    if not path:
        return None
    k = split(size)
    if index < k:
        left = root_from_path(leaf, index, k, path[:-1])
        return left and node_hash(left, path[-1])
    right = root_from_path(leaf, index - k, size - k, path[:-1])
    return right and node_hash(path[-1], right)
