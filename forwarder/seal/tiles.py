"""C2SP tiled logs (c2sp.org/tlog-tiles): which tiles a tree of a given size has, their paths and bytes.

A tile holds up to 256 hashes of one level; the hashes of level L+1 are the roots of full tiles of level L.
Entry bundles hold the entries behind level 0, each prefixed by its length as a 16-bit big-endian integer.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from forwarder.seal import merkle

WIDTH = 256
"""Hashes in a full tile."""

Nodes = Sequence[Sequence[bytes]]
"""For each tile level the hashes known at that level, from index 0; level 0 are the leaf hashes."""


def path(level: int | str, index: int, width: int = WIDTH) -> str:
    """Return a tile's path: `tile/<level>/<index in groups of three digits>[.p/<width>]`.

    The level of entry bundles is the word `entries`.
    """
    groups = [f"{index % 1000:03d}"]
    while index >= 1000:  # noqa: PLR2004 - three decimal digits a group
        index //= 1000
        groups.insert(0, f"x{index % 1000:03d}")
    partial = "" if width == WIDTH else f".p/{width}"
    return f"tile/{level}/{'/'.join(groups)}{partial}"


def entry(sequence: int, manifest_sha256: str) -> bytes:
    """Return log leaf `sequence`: one ASCII line that names a manifest by its hash, without newline."""
    return f"nmap-forwarder/batch/v1 {sequence} {manifest_sha256}".encode()


def bundle(entries: Sequence[bytes]) -> bytes:
    """Return an entry bundle's bytes."""
    return b"".join(len(data).to_bytes(2, "big") + data for data in entries)


def right_edge(size: int) -> Iterator[tuple[int, int, int]]:
    """Yield (level, index, width) of each tile that a tree gets or changes when its size-th leaf is added."""
    level = 0
    while size:
        index, width = divmod(size, WIDTH)
        if width:
            yield level, index, width
            return
        yield level, index - 1, WIDTH
        level, size = level + 1, index


def root(size: int, nodes: Nodes) -> bytes:
    """Return the root of the tree of a size from its tiles' hashes.

    Args:
        size: number of leaves.
        nodes: for level 0, 1, … the hashes in that level's newest, still partial tile; full tiles are one
            hash of the level above, so the tree of 1,000,000 leaves is known by at most 3 × 255 hashes.
    """
    levels = [list(level) for level in nodes]
    if not size:
        return merkle.EMPTY
    accumulated: bytes | None = None
    for level in levels:
        # Perfect subtrees from the right: a lone right part is joined below its left neighbours.
        pending = [*level, accumulated] if accumulated is not None else level
        accumulated = merkle.root(pending) if pending else None
    if accumulated is None:
        raise ValueError("no hashes for a tree that is not empty")
    return accumulated
