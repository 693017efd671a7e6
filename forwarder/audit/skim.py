"""The lines of a log that may matter, without looking at each of the others.

A search for bytes is a hundred times faster than a look at each line. Blocks without any of the marks are passed over
but for their beginnings and ends, where an event that began before, or goes on behind, may lie; a block after one with
marks is given whole. Readers see a gap by the offsets, and drop what they had begun.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import Final

KEPT: Final = 16 << 10
"""Bytes of a block without marks that are given at either end."""


def lines(blocks: Iterable[tuple[int, bytes]], marks: Sequence[bytes]) -> Iterator[tuple[int, bytes]]:
    """Yield (offset, line) of what may matter; lines keep their newlines.

    Args:
        blocks: (offset, whole lines) of the log in order; best of a mebibyte.
        marks: bytes that stand in everything that matters, of the reader's `marks`.
    """
    near = True
    for offset, data in blocks:
        here = any(mark in data for mark in marks)
        if here or near or len(data) <= 4 * KEPT or data[-1:] != b"\n":  # else the rest would look like a line
            yield from split(offset, data)
        else:
            head = data.rfind(b"\n", 0, KEPT) + 1
            tail = data.rfind(b"\n", 0, len(data) - KEPT) + 1
            yield from split(offset, data[:head])
            if tail > head:
                yield from split(offset + tail, data[tail:])
        near = here


def split(offset: int, data: bytes) -> Iterator[tuple[int, bytes]]:
    """Yield (offset, line) of a block's lines, with their newlines; the last one may have none."""
    start = 0
    while (end := data.find(b"\n", start) + 1) > 0:
        yield offset + start, data[start:end]
        start = end
    if start < len(data):
        yield offset + start, data[start:]


def in_array(name: bytes) -> tuple[bytes, bytes]:
    """Return how bytes look in a JSON array of numbers, without and with blanks."""
    codes = [str(byte).encode() for byte in name]
    return b",".join(codes), b", ".join(codes)
