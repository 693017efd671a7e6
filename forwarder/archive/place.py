"""Where an archive is: a directory, or `s3://bucket/prefix`; which logs are there, and opening one."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from forwarder.archive.directory import DirectoryArchive
from forwarder.archive.interface import Archive

SCHEME: Final = "s3://"
BUCKET: Final = re.compile(r"[a-z0-9][a-z0-9.-]{1,61}[a-z0-9]")
"""General rules for names of buckets (Amazon S3 User Guide)."""
PREFIX: Final = re.compile(r"[A-Za-z0-9!_.*'()-]+(/[A-Za-z0-9!_.*'()-]+)*")
"""Characters that need no care in keys (likewise)."""
MARKS: Final = frozenset({"batches", "checkpoints", "tile"})
"""Directories by which a log is known."""


@dataclass(frozen=True, slots=True)
class Bucket:
    """An archive in S3."""

    name: str
    prefix: str = ""
    """Without slashes around it."""

    def __str__(self) -> str:
        return f"{SCHEME}{self.name}/{self.prefix}".rstrip("/")

    def key(self, *parts: str) -> str:
        """Return a key below the prefix."""
        return "/".join(filter(None, (self.prefix, *parts)))


Place = Path | Bucket


def place(text: str | Place) -> Place:
    """Return the place that a text means.

    Raises:
        ValueError: what it should be.
    """
    if not isinstance(text, str):
        return text
    if not text.startswith(SCHEME):
        return Path(text).expanduser()
    name, _, prefix = text.removeprefix(SCHEME).partition("/")
    prefix = prefix.rstrip("/")
    fits = not prefix or (PREFIX.fullmatch(prefix) and not {".", ".."} & set(prefix.split("/")))
    if not BUCKET.fullmatch(name) or not fits:
        raise ValueError("a directory, or s3://bucket/prefix")
    return Bucket(name, prefix)


def open_archive(where: str | Place, origin: str, settings: Mapping[str, Any]) -> Archive:
    """Open one log's archive; nothing is asked or written yet.

    Args:
        where: as `place` takes it.
        origin: the log's origin.
        settings: with the keys `s3.…`, for an archive in S3.

    Raises:
        UsageError: S3 is meant, and boto3 or the credentials are missing.
        ValueError: `where` is neither.
    """
    where = place(where)
    if isinstance(where, Path):
        return DirectoryArchive(where, origin)
    from forwarder.archive import s3, s3_client  # noqa: PLC0415 - boto3 takes its time

    return s3.S3Archive(s3_client.connect(settings, where), where, origin, s3.Locking.of(settings))


def origins(where: str | Place, settings: Mapping[str, Any]) -> Iterator[str]:
    """Yield the origins of the logs below a place, sorted; "." when it is itself the directory of one log.

    In S3, logs count whose objects are hidden by delete markers, too.

    Raises:
        ForwarderError: S3 cannot be asked.
    """
    where = place(where)
    if isinstance(where, Path):
        for below, names, _ in os.walk(where):
            names.sort()
            if MARKS & set(names):
                names.clear()
                yield Path(below).relative_to(where).as_posix()
    else:
        from forwarder.archive import s3_client  # noqa: PLC0415

        yield from _below(s3_client.connect(settings, where), where, "")


def _below(client: Any, where: Bucket, path: str) -> Iterator[str]:
    """Yield the origins below one directory of a bucket."""
    names = sorted(client.directories(where.key(path)))
    if MARKS & set(names):
        yield path or "."
        return
    for name in names:
        yield from _below(client, where, f"{path}/{name}" if path else name)
