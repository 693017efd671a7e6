"""A log's tree as its tiles hold it: roots, inclusion proofs, and where a verification can go on, in O(log n) reads.

Nothing here is trusted by itself: hashes from tiles are good once the root they give is a checkpoint's.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Final

from forwarder.archive.interface import Archive
from forwarder.seal import merkle, tiles
from forwarder.seal.manifest import MAX_MANIFEST_BYTES, NO_PREVIOUS, Manifest, ManifestError, digest, manifest_name
from forwarder.seal.note import Checkpoint

ENTRY: Final = re.compile(rb"nmap-forwarder/batch/v1 (0|[1-9][0-9]*) ([0-9a-f]{64})")
HASH: Final = 32
HASHES_A_TILE_BITS: Final = 8


class TreeError(ValueError):
    """The tiles are not there, or not those of the checkpoint."""


@dataclass(frozen=True, slots=True)
class Link:
    """What a manifest must say to come next, or says of what came before."""

    previous: str
    first_record: int | None = None
    """None when the batch before cannot be read."""
    created: str = ""
    """When the batch before was sealed; the manifest's own time in what it says itself. Empty when not known."""


@dataclass(frozen=True, slots=True)
class Start:
    """Where a verification begins: all that it needs to know of the batches before."""

    frontier: merkle.Frontier = field(default_factory=merkle.Frontier)
    known: tuple[str, ...] = ()
    """Hashes of the manifests in the tile that is being filled."""
    link: Link = Link(NO_PREVIOUS, 0)
    levels: tuple[tuple[bytes, ...], ...] = ()
    """Hashes of the tiles of level 1, 2, … that are being filled."""


class Tiles:
    """The tree of a checkpoint, read from tiles.

    Args:
        archive: the log's objects.
        checkpoint: what the tiles must give.
    """

    def __init__(self, archive: Archive, checkpoint: Checkpoint) -> None:
        self.archive, self.checkpoint, self.size = archive, checkpoint, checkpoint.size
        self._read: dict[tuple[int, int], list[bytes]] = {}

    def width(self, level: int, index: int) -> int:
        """Return how many hashes a tile has in the tree."""
        return min(tiles.WIDTH, (self.size >> HASHES_A_TILE_BITS * level) - index * tiles.WIDTH)

    def hashes(self, level: int, index: int) -> list[bytes]:
        """Return the hashes of a tile.

        Raises:
            TreeError: it is not there, or of another size.
        """
        if (level, index) not in self._read:
            width = self.width(level, index)
            data = self._object(tiles.path(level, index, width), width * HASH)
            if len(data) != width * HASH:
                raise TreeError(f"{tiles.path(level, index, width)} has not {width} hashes")
            self._read[level, index] = [data[i : i + HASH] for i in range(0, len(data), HASH)]
        return self._read[level, index]

    def _object(self, name: str, limit: int) -> bytes:
        try:
            return self.archive.read(name, limit)
        except FileNotFoundError:
            raise TreeError(f"{name} is missing") from None

    def root(self, begin: int, end: int) -> bytes:
        """Return the root over the leaves `begin` … `end` - 1, a subtree of RFC 6962."""
        count = end - begin
        if count & (count - 1) or begin % count:
            middle = begin + merkle.split(count)
            return merkle.node_hash(self.root(begin, middle), self.root(middle, end))
        level, bits = divmod(count.bit_length() - 1, HASHES_A_TILE_BITS)
        first = begin >> HASHES_A_TILE_BITS * level
        index, offset = divmod(first, tiles.WIDTH)
        return merkle.root(self.hashes(level, index)[offset : offset + (1 << bits)])

    def frontier(self, size: int) -> merkle.Frontier:
        """Return the tree of a smaller or the same size."""
        nodes, begin = [], 0
        for bit in reversed(range(size.bit_length())):
            if size >> bit & 1:
                nodes.append(self.root(begin, begin + (1 << bit)))
                begin += 1 << bit
        return merkle.Frontier(size, nodes)

    def path(self, index: int) -> list[bytes]:
        """Return the audit path of a leaf (RFC 6962, section 2.1.1), nearest sibling first."""
        return merkle.audit_path(index, self.size, self.root)

    def entries(self, index: int) -> list[bytes]:
        """Return the entries of a bundle, by its index.

        Raises:
            TreeError: it is not there, or no bundle of ours.
        """
        width = self.width(0, index)
        name = tiles.path("entries", index, width)
        data = self._object(name, width << 16)
        found = []
        while data:
            length = int.from_bytes(data[:2], "big")
            found.append(data[2 : 2 + length])
            data = data[2 + length :]
        if len(found) != width or any(not ENTRY.fullmatch(entry) for entry in found):
            raise TreeError(f"{name} is not a bundle of {width} entries")
        return found

    def manifest_hash(self, sequence: int) -> str:
        """Return the hash of a batch's manifest, proven to be in the checkpoint's tree.

        Raises:
            TreeError: tiles are missing, or do not prove it.
        """
        entry = self.entries(sequence // tiles.WIDTH)[sequence % tiles.WIDTH]
        proven = merkle.root_from_path(merkle.leaf_hash(entry), sequence, self.size, self.path(sequence))
        if proven != self.checkpoint.root:
            raise TreeError(f"the tiles do not prove batch {sequence}")
        return _hash_in(entry, sequence)

    def start(self, size: int) -> Start:
        """Return what is needed to go on behind the batches of a smaller or the same size.

        The frontier is good if its root is that of a checkpoint of this size; else it is once leaves that are read
        later lead from it to the root of a greater one.

        Raises:
            TreeError: tiles are missing or do not fit together.
        """
        frontier = self.frontier(size)
        index, count = divmod(size, tiles.WIDTH)
        last = self.entries((size - 1) // tiles.WIDTH)
        before = last[:count] if count else last
        leaves = self.hashes(0, (size - 1) // tiles.WIDTH)[: len(before)]
        if [merkle.leaf_hash(entry) for entry in before] != leaves:
            raise TreeError("the newest entries are not those of the tiles")
        if not count and merkle.root(leaves) != self.root(size - tiles.WIDTH, size):
            raise TreeError("tiles do not fit together")
        first = index * tiles.WIDTH if count else size - tiles.WIDTH
        hashes = tuple(_hash_in(entry, first + i) for i, entry in enumerate(before))
        return Start(frontier, hashes if count else (), self._link(size - 1, hashes[-1]), tuple(self._levels(size)))

    def _levels(self, size: int) -> Iterator[tuple[bytes, ...]]:
        level = 1
        while full := size >> HASHES_A_TILE_BITS * level:
            index, width = divmod(full, tiles.WIDTH)
            yield tuple(self.hashes(level, index)[:width]) if width else ()
            level += 1

    def _link(self, sequence: int, expected: str) -> Link:
        """Return what comes behind a batch; what its manifest says is not known if it is gone."""
        try:
            data = self.archive.read(manifest_name(sequence), MAX_MANIFEST_BYTES)
        except FileNotFoundError:
            return Link(expected)
        try:
            if digest(data) != expected:
                raise TreeError(f"{manifest_name(sequence)} is not what was sealed")
            return behind(Manifest.decode(data), expected)
        except ManifestError as error:
            raise TreeError(f"{manifest_name(sequence)} is {error}") from None


def behind(manifest: Manifest, sha256: str) -> Link:
    """Return what the manifest behind one must say."""
    return Link(sha256, manifest.first_record + manifest.records.count, manifest.created)


def _hash_in(entry: bytes, sequence: int) -> str:
    match = ENTRY.fullmatch(entry)
    if not match or int(match[1]) != sequence:
        raise TreeError(f"the entry of batch {sequence} names another")
    return match[2].decode()


def leaves(first: int, hashes: Sequence[str]) -> list[bytes]:
    """Return the log's leaf hashes for the hashes of consecutive manifests."""
    return [merkle.leaf_hash(tiles.entry(first + i, value)) for i, value in enumerate(hashes)]
