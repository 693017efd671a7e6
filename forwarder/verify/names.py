"""Which keys a log may have: those that follow from its size, and those that its manifests name."""

from __future__ import annotations

import re
import sqlite3
from collections.abc import Iterable, Iterator
from typing import Final

from forwarder.seal import tiles

SEQUENCE: Final = re.compile(r"batches/(\d{20})/manifest\.json")
CHECKPOINT: Final = re.compile(r"checkpoints/(\d{20})")
BESIDE: Final = re.compile(r"(?:timestamps/(\d{20})/[0-9a-f]{64}\.tsr|cosignatures/(\d{20})/[0-9a-f]{64})")
TILE: Final = re.compile(r"tile/(entries|\d{1,2})/((?:x\d{3}/)*\d{3})(?:\.p/(\d{1,3}))?")


def size_of(key: str) -> int | None:
    """Return the size at which a log gets a key that follows from its size; None if a log never has such a key."""
    if match := SEQUENCE.fullmatch(key):
        return int(match[1]) + 1
    if match := CHECKPOINT.fullmatch(key):
        return int(match[1]) or None
    if match := BESIDE.fullmatch(key):
        return int(match[1] or match[2]) or None
    if match := TILE.fullmatch(key):
        level = match[1] if match[1] == "entries" else int(match[1])
        index = int(match[2].replace("x", "").replace("/", ""))
        width = int(match[3] or tiles.WIDTH)
        if tiles.path(level, index, width) == key and 0 < width <= tiles.WIDTH:
            leaves_each: int = 1 << 8 * (0 if level == "entries" else int(level))
            return (index * tiles.WIDTH + width) * leaves_each
    return None


class Names:
    """The keys that manifests name, with the newest seal that does. Kept on disk when they become many."""

    def __init__(self) -> None:
        self._database = sqlite3.connect("")  # a temporary database, in memory as long as it is small
        self._database.execute("CREATE TABLE names (key TEXT PRIMARY KEY, created TEXT) WITHOUT ROWID")

    def add(self, names: Iterable[tuple[str, str]]) -> None:
        """Add keys, each with the time of a seal."""
        self._database.executemany(
            "INSERT INTO names VALUES (?, ?) ON CONFLICT DO UPDATE SET created = max(created, excluded.created)", names
        )

    def sealed(self, key: str) -> str | None:
        """Return the time of the newest seal that names a key, None if none does."""
        row = self._database.execute("SELECT created FROM names WHERE key = ?", (key,)).fetchone()
        return str(row[0]) if row else None

    def all(self) -> Iterator[str]:
        """Yield all keys."""
        for (key,) in self._database.execute("SELECT key FROM names"):
            yield key

    def close(self) -> None:
        """Forget them."""
        self._database.close()
