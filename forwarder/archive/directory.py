"""An archive in a directory: `<directory>/<origin>/<key>`."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from typing import IO

from forwarder import durable
from forwarder.archive.interface import POINTER, Archive
from forwarder.errors import IntegrityError

CHUNK = 1 << 20


class DirectoryArchive(Archive):
    """One log below a directory.

    Args:
        directory: the archive.
        origin: the log's origin.
    """

    def __init__(self, directory: Path, origin: str) -> None:
        self.root = directory / origin

    @property
    def kind(self) -> str:
        """A word."""
        return "directory"

    @property
    def place(self) -> str:
        """The log's directory."""
        return str(self.root)

    def prepare(self) -> None:
        """Nothing: a directory keeps what it is given until somebody deletes it."""

    def keep(self, key: str) -> None:
        """Nothing, likewise."""

    def put(self, key: str, source: Path) -> None:
        """Link or copy a file; see `Archive.put`."""
        target = self.root / key
        try:
            durable.link(source, target)
        except FileExistsError:
            if not _same(source, target):
                raise IntegrityError(
                    f"{target} exists and holds other bytes",
                    "something else writes to this archive; verify it, and give this forwarder its own",
                ) from None

    def point(self, data: bytes) -> None:
        """Replace the pointer."""
        durable.write(self.root / POINTER, data)

    def open(self, key: str) -> IO[bytes]:
        """Open an object; see `Archive.open`."""
        return open(f"{self.root}/{key}", "rb")  # noqa: PTH123 - many small files: Path takes as long as the rest

    def read(self, key: str, limit: int) -> bytes:
        """Return an object's bytes; see `Archive.read`."""
        with open(f"{self.root}/{key}", "rb", buffering=0) as file:  # noqa: PTH123
            parts = []
            while limit >= 0 and (data := file.read(limit + 1)):
                parts.append(data)
                limit -= len(data)
            return b"".join(parts)

    def keys(self, prefix: str = "", after: str = "") -> Iterator[str]:
        """Yield keys; see `Archive.keys`."""
        waiting = [prefix.rpartition("/")[0]]
        while waiting:
            below = waiting.pop()
            if not (self.root / below).is_dir():
                continue
            with os.scandir(self.root / below) as entries:
                for entry in entries:
                    key = f"{below}/{entry.name}" if below else entry.name
                    if entry.is_dir(follow_symlinks=False):
                        if f"{key}0" > after:  # "0" follows "/": all that is below comes before
                            waiting.append(key)
                    elif key > after and key.startswith(prefix):
                        yield key


def _same(one: Path, other: Path) -> bool:
    """Tell whether two files hold the same bytes."""
    if one.samefile(other):
        return True
    if one.stat().st_size != other.stat().st_size:
        return False
    with one.open("rb") as a, other.open("rb") as b:
        while chunk := a.read(CHUNK):
            if chunk != b.read(CHUNK):
                return False
    return True
