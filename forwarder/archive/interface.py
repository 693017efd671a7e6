"""What every archive can do. Objects are written once, under keys of docs/SEALED_ARCHIVE.md, section 2."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import IO, ClassVar

from forwarder.errors import IntegrityError
from forwarder.seal.manifest import checkpoint_name, manifest_name

POINTER = "checkpoint"
"""The one key that may be written again."""


class UndecryptableError(IntegrityError):
    """An object is there, but the key that it is encrypted with is gone or refused."""


@dataclass(frozen=True, slots=True)
class Version:
    """One version of an object, or a delete marker, in an archive that keeps versions."""

    key: str
    """Relative to the origin."""
    version_id: str
    size: int
    """Bytes; 0 of a delete marker."""
    modified: datetime
    """When the server took it, UTC."""
    is_latest: bool
    is_delete_marker: bool = False


@dataclass(frozen=True, slots=True)
class Lock:
    """What keeps a version from being deleted, as the server says."""

    mode: str = ""
    """COMPLIANCE or GOVERNANCE; empty without a retention."""
    retain_until: datetime | None = None
    """UTC; None without a retention."""
    legal_hold: bool | None = False
    """None when it may not be read."""
    unknown: str = ""
    """Why the retention could not be read, which is not the same as none; empty when it was."""


@dataclass(frozen=True, slots=True)
class Receipt:
    """What an archive says of an object that it keeps locked."""

    bucket: str
    key: str
    """The whole key in the bucket."""
    version_id: str
    mode: str
    retain_until: datetime
    """UTC."""


class Archive(ABC):
    """The objects of one log."""

    ahead: ClassVar[int] = 1
    """How many objects are worth asking for at the same time: more than one where an answer takes a while."""

    @property
    @abstractmethod
    def kind(self) -> str:
        """What documents say they are locked away in."""

    @property
    @abstractmethod
    def place(self) -> str:
        """Where it is, as people are told."""

    @abstractmethod
    def prepare(self) -> None:
        """Make sure that the archive keeps what is put as it should.

        Raises:
            TemporaryError: it cannot be reached.
            UsageError: it does not, or its clock is wrong.
        """

    def beyond(self, size: int) -> str:
        """Return the key of some object that only a log with more than `size` batches has; empty for none.

        Raises:
            IntegrityError: the log's end is hidden, so that this cannot be told.
        """
        names = (manifest_name(size), checkpoint_name(size + 1))
        return next(filter(self.has, names), "")

    @abstractmethod
    def keep(self, key: str) -> Receipt | None:
        """Keep an object that is there as long as what is put now; return what keeps it, None where nothing does.

        Raises:
            FileNotFoundError: there is none.
        """

    @abstractmethod
    def put(self, key: str, source: Path) -> Receipt | None:
        """Store a durable local file under a key; the same bytes a second time are no error.

        Returns:
            What keeps it; None where nothing does.

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
    def keys(self, prefix: str = "", after: str = "") -> Iterator[str]:
        """Yield keys in no particular order.

        Args:
            prefix: what they begin with.
            after: only keys greater than this one, in the order of their bytes.
        """

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
