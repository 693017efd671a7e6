"""Files that survive a power cut: temporary name, fsync, rename, fsync of the directory."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

PART = ".part"
"""Suffix of a file that is still being written; whoever finds one after a crash may delete it."""


def sync_directory(path: Path) -> None:
    """Make the names in a directory durable (POSIX: a rename is durable once its directory is synced)."""
    descriptor = os.open(path, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def sync_file(path: Path) -> None:
    """Make a file's bytes durable.

    Raises:
        OSError: as `os.fsync` does.
    """
    with path.open("rb") as file:
        os.fsync(file.fileno())


def make_directory(path: Path, mode: int = 0o777) -> None:
    """Create a directory and its parents, each durable in its own parent.

    Raises:
        OSError: as `os.mkdir` does.
    """
    if path.is_dir():
        return
    make_directory(path.parent)
    path.mkdir(mode=mode, exist_ok=True)
    sync_directory(path.parent)


def commit(part: Path, final: Path) -> None:
    """Give an already synced temporary file its final name, durably."""
    part.replace(final)
    sync_directory(final.parent)


def write(path: Path, data: bytes, mode: int = 0o644) -> None:
    """Write a whole file so that after a crash there is either all of it or nothing.

    Raises:
        OSError: the disk is full or the directory cannot be written.
    """
    make_directory(path.parent)
    part = path.with_name(path.name + PART)
    part.unlink(missing_ok=True)
    descriptor = os.open(part, os.O_WRONLY | os.O_CREAT | os.O_EXCL, mode)
    with open(descriptor, "wb") as out:  # noqa: PTH123 - a descriptor, not a path
        out.write(data)
        out.flush()
        os.fsync(out.fileno())
    commit(part, path)


def link(source: Path, target: Path) -> None:
    """Give a durable file a second name, without copying where the file system allows it.

    The target must not exist.

    Raises:
        FileExistsError: the target exists.
        OSError: the disk is full or the directory cannot be written.
    """
    make_directory(target.parent)
    try:
        os.link(source, target)
    except FileExistsError:
        raise
    except OSError:  # another file system, or one without hard links
        if target.exists():
            raise FileExistsError(str(target)) from None
        part = target.with_name(target.name + PART)
        with source.open("rb") as data, part.open("wb") as out:
            shutil.copyfileobj(data, out, 1 << 20)
            out.flush()
            os.fsync(out.fileno())
        part.replace(target)
    sync_directory(target.parent)
