"""nmap's target expressions (libnetutil/NetBlock.cc): addresses, octet ranges and lists, netmasks, names."""

from __future__ import annotations

import os
import re
import stat
from collections.abc import Iterator
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv6Address
from itertools import islice, product
from math import prod
from pathlib import Path
from typing import Final

Address = IPv4Address | IPv6Address
Range = tuple[Address, Address]

NUMBER: Final = re.compile(r"(\d{0,4})(?:(-)(\d{0,4}))?", re.ASCII)
MASK: Final = re.compile(r"\d{1,9}", re.ASCII)
OCTETS: Final = 4
FULL: Final = 256
BITS: Final = {4: 32, 6: 128}
MOST_COUNTED: Final = 300_000
"""Expressions that are counted; of more there is no count."""
LIST_BYTES: Final = 4 << 20
"""Largest list of targets (-iL) that is read."""


@dataclass(frozen=True, slots=True)
class Block:
    """The addresses of one expression."""

    count: int
    """How many; one for a name without a netmask."""
    name: str = ""
    """Instead of addresses."""
    octets: tuple[tuple[int, ...], ...] = ()
    """The values of each octet of IPv4, in order."""
    pair: Range | None = None
    """The range of IPv6."""

    def ranges(self) -> Iterator[Range]:
        """Yield the ranges of addresses, in order; there may be 16 million of one expression."""
        if self.pair:
            yield self.pair
        if not self.octets:
            return
        last = OCTETS - 1
        while last and len(self.octets[last]) == FULL:
            last -= 1
        size = FULL ** (OCTETS - 1 - last)
        runs = list(_runs(self.octets[last]))
        for head in product(*self.octets[:last]):
            base = 0
            for octet in head:
                base = base << 8 | octet
            for low, high in runs:
                yield (
                    IPv4Address((base << 8 | low) * size),
                    IPv4Address((base << 8 | high) * size + size - 1),
                )


def block(expression: str, *, v6: bool = False) -> Block | None:
    """Return what an expression stands for; None where nmap passes it over.

    Args:
        expression: as typed.
        v6: whether -6 was given; IPv4 and IPv6 cannot be mixed.
    """
    text, slash, mask = expression.rpartition("/")
    if not slash:
        text, bits = expression, -1
    elif MASK.fullmatch(mask):
        bits = int(mask)
    else:
        return None
    most = BITS[6 if v6 else 4]
    bits = bits if 0 <= bits <= most else most
    if not v6 and (octets := _octets(text)):
        octets = tuple(_widened(values, bits - 8 * place) for place, values in enumerate(octets))
        return Block(prod(map(len, octets)), octets=octets)
    try:
        address = int(IPv6Address(text))
    except ValueError:
        return Block(1 << (most - bits), name=text)
    if not v6 or "%" in text:
        return None
    first = address >> (most - bits) << (most - bits)
    count = 1 << (most - bits)
    return Block(count, pair=(IPv6Address(first), IPv6Address(first + count - 1)))


def _octets(text: str) -> tuple[tuple[int, ...], ...]:
    """Return the values of each octet of `10.0.0-3,7.*`, nothing if it is no such expression."""
    parts = text.split(".")
    found = []
    for part in parts:
        values: set[int] = set()
        for item in ("-" if part == "*" else part).split(","):
            match = NUMBER.fullmatch(item)
            if not item or not match:
                return ()
            low, dash, high = match.groups()
            first = int(low or 0)
            last = (int(high) if high else FULL - 1) if dash else first
            if not first <= last < FULL:
                return ()
            values.update(range(first, last + 1))
        found.append(tuple(sorted(values)))
    return tuple(found) if len(found) == OCTETS else ()


def _widened(values: tuple[int, ...], bits: int) -> tuple[int, ...]:
    """Return the values of an octet and all that a netmask of so many of its bits does not tell from them."""
    size = 1 << (8 - min(max(bits, 0), 8))
    starts = sorted({value // size * size for value in values})
    return tuple(value for start in starts for value in range(start, start + size))


def _runs(values: tuple[int, ...]) -> Iterator[tuple[int, int]]:
    first = last = values[0]
    for value in values[1:]:
        if value != last + 1:
            yield first, last
            first = value
        last = value
    yield first, last


def listed(path: str, cwd: Path, at: float | None = None, uid: int | None = None) -> tuple[str, ...] | None:
    """Return the targets in a list (-iL): words, without what follows a #. None where it cannot be told what it held.

    Args:
        path: as typed; "-" is standard input, which is gone.
        cwd: that it is relative to.
        at: seconds since 1970 when nmap was started: a list that changed since is not what nmap read. None: just now.
        uid: user who started nmap, when we may read more than that user: only a file that this user owns or that all
            may read is read, so that nobody has us tell what they may not read.
    """
    if path == "-" or "\0" in path:
        return None
    try:
        descriptor = os.open(cwd / path, os.O_RDONLY | os.O_NONBLOCK | os.O_NOCTTY | os.O_CLOEXEC)
    except (OSError, ValueError):
        return None
    with os.fdopen(descriptor, "rb") as file:
        state = os.fstat(descriptor)
        readable = uid is None or state.st_uid == uid or state.st_mode & stat.S_IROTH
        changed = at is not None and max(state.st_mtime, state.st_ctime) > at
        if not stat.S_ISREG(state.st_mode) or not readable or changed or state.st_size > LIST_BYTES:
            return None
        try:
            data = file.read(LIST_BYTES)
        except OSError:
            return None
    lines = (line.partition(b"#")[0] for line in re.split(rb"[\r\n]", data))
    return tuple(word.decode("utf-8", "surrogateescape") for line in lines for word in line.split())


def addresses(expressions: tuple[str, ...], *, v6: bool, most: int) -> list[Range]:
    """Return the ranges of the first expressions, so many at most; names have none."""
    blocks = (found for text in expressions if (found := block(text, v6=v6)))
    return list(islice((pair for found in blocks for pair in found.ranges()), most))


def count(expressions: tuple[str, ...], *, v6: bool) -> int | None:
    """Return how many addresses nmap would list for the expressions; a name counts as one. None of too many."""
    if len(expressions) > MOST_COUNTED:
        return None
    return sum(found.count for text in expressions if (found := block(text, v6=v6)))
