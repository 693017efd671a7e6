"""How often something was seen, in bounded memory."""

from typing import Final

MOST: Final = 100_000
"""Things counted at once; the one seen first is forgotten first."""


class Counter:
    """Counts equal keys, to name the first, second … of equal events."""

    def __init__(self) -> None:
        self._counts: dict[str, int] = {}

    def count(self, key: str) -> int:
        """Return how often a key was seen, this time included."""
        seen = self._counts.get(key, 0) + 1
        if seen == 1 and len(self._counts) >= MOST:
            del self._counts[next(iter(self._counts))]
        self._counts[key] = seen
        return seen
