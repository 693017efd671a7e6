"""What every archive can do. Objects are written once, under keys of docs/SEALED_ARCHIVE.md, section 2."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator
from pathlib import Path
from typing import IO, ClassVar

POINTER = "checkpoint"
"""The one key that may be written again."""


class Archive(ABC):
    """The objects of one log."""

    kind: ClassVar[str]
    """What documents say they are locked away in."""

    @property
    @abstractmethod
    def place(self) -> str:
        """Where it is, as people are told."""

    @abstractmethod
    def put(self, key: str, source: Path) -> None:
        """Store a durable local file under a key; the same bytes a second time are no error.

        Raises:
            IntegrityError: the key holds other bytes.
            TemporaryError: the archive cannot be reached or is full.
        """

    @abstractmethod
    def point(self, data: bytes) -> None:
        """Replace the pointer."""

    @abstractmethod
    def open(self, key: str) -> IO[bytes]:
        """Open an object for reading.

        Raises:
            FileNotFoundError: there is none.
        """

    @abstractmethod
    def keys(self) -> Iterator[str]:
        """Yield all keys, in no particular order."""

    def has(self, key: str) -> bool:
        """Tell whether a key holds an object."""
        try:
            self.open(key).close()
        except FileNotFoundError:
            return False
        return True

    def read(self, key: str, limit: int) -> bytes:
        """Return an object's bytes, of a larger one only the first `limit` + 1.

        Raises:
            FileNotFoundError: there is none.
        """
        with self.open(key) as file:
            return file.read(limit + 1)
