"""Port lists in nmap's own notation (`1,3-4,6-7`): reading, writing, taking away."""

from __future__ import annotations

import re
from bisect import bisect_right
from collections.abc import Iterable
from functools import lru_cache
from typing import NamedTuple

from forwarder.nmap.values import LARGEST_PORT

LIST = re.compile(r"\d{1,5}(-\d{1,5})?(,\d{1,5}(-\d{1,5})?)*", re.ASCII)


class Ranges(NamedTuple):
    """A port list, taken apart; three tuples of the same length, in ascending order."""

    first: tuple[int, ...]
    last: tuple[int, ...]
    text: tuple[str, ...]


@lru_cache(maxsize=64)
def parse(text: str) -> Ranges | None:
    """Return a port list's ranges, None for text that is none; the same few come with every host of a scan."""
    if not LIST.fullmatch(text):
        return None
    first, last = [], []
    for part in text.split(","):
        low, _, high = part.partition("-")
        first.append(int(low))
        last.append(int(high or low))
    ordered = all(a <= b for a, b in zip(first, last, strict=True))
    ordered = ordered and all(a < b for a, b in zip(last, first[1:], strict=False))
    if not ordered or last[-1] > LARGEST_PORT:
        return None
    return Ranges(tuple(first), tuple(last), tuple(text.split(",")))


def ports(text: str) -> list[int]:
    """Return the ports of a list in ascending order; none for text that is none."""
    found = parse(text)
    if found is None:
        return []
    return [port for low, high in zip(found.first, found.last, strict=True) for port in range(low, high + 1)]


def write(ports: Iterable[int]) -> str:
    """Return ports, in any order, as a port list."""
    parts: list[str] = []
    start = previous = -2
    for port in [*sorted(set(ports)), -2]:
        if port != previous + 1:
            if start >= 0:
                parts.append(_write(start, previous))
            start = port
        previous = port
    return ",".join(parts)


def without(whole: Ranges, ports: Iterable[int]) -> str:
    """Return the port list of a whole without some ports."""
    text = list(whole.text)
    gone: dict[int, list[int]] = {}
    for port in ports:
        place = bisect_right(whole.first, port) - 1
        if place >= 0 and port <= whole.last[place]:
            gone.setdefault(place, []).append(port)
    for place, taken in gone.items():
        parts, start = [], whole.first[place]
        for port in [*sorted(set(taken)), whole.last[place] + 1]:
            if port > start:
                parts.append(_write(start, port - 1))
            start = port + 1
        text[place] = ",".join(parts)
    return ",".join(filter(None, text) if gone else text)


def _write(first: int, last: int) -> str:
    return str(first) if first == last else f"{first}-{last}"


def holds(text: str, port: int) -> bool:
    """Tell whether a port is in a port list; in text that is none there are no ports."""
    found = parse(text)
    if found is None:
        return False
    place = bisect_right(found.first, port) - 1
    return place >= 0 and port <= found.last[place]
