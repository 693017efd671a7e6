"""A log's tree, from which proofs of its batches are made."""

from __future__ import annotations

from forwarder.seal import merkle
from forwarder.seal.note import HASH_BYTES


class Tree:
    """A log's tree, all of its perfect subtrees: 64 bytes for each batch.

    Args:
        frontier: the tree to go on from, if batches before are gone. Only batches behind them can be proven.
    """

    def __init__(self, frontier: merkle.Frontier | None = None) -> None:
        self.size = frontier.size if frontier else 0
        self._levels = [bytearray((self.size >> level) * HASH_BYTES) for level in range(self.size.bit_length())]
        bits = [level for level in reversed(range(self.size.bit_length())) if self.size >> level & 1]
        for level, node in zip(bits, frontier.nodes if frontier else (), strict=True):
            self._levels[level][-HASH_BYTES:] = node

    def add(self, leaf: bytes) -> None:
        """Add a leaf hash."""
        self.size += 1
        level, index = 0, self.size
        while True:
            if level == len(self._levels):
                self._levels.append(bytearray())
            self._levels[level] += leaf
            if index & 1:
                return
            index >>= 1
            left = self._levels[level][-2 * HASH_BYTES : -HASH_BYTES]
            leaf = merkle.node_hash(bytes(left), leaf)
            level += 1

    def root(self, begin: int, end: int) -> bytes:
        """Return the root over the leaves `begin` … `end` - 1, one of the subtrees of RFC 6962."""
        count = end - begin
        if not count:
            return merkle.EMPTY
        if count & (count - 1):
            middle = begin + merkle.split(count)
            return merkle.node_hash(self.root(begin, middle), self.root(middle, end))
        at = begin // count * HASH_BYTES
        return bytes(self._levels[count.bit_length() - 1][at : at + HASH_BYTES])

    def path(self, index: int, size: int) -> tuple[bytes, ...]:
        """Return the audit path of a leaf in the tree of a size (RFC 6962, section 2.1.1), nearest sibling first."""
        return tuple(merkle.audit_path(index, size, self.root))
