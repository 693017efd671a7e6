"""A directory that everybody may write to and only we read: taking files out of it, and looking at them, safely.

Ordinary users may make files in it (root:root 1733), and nobody but us can list it. Files are moved into `taken`,
which only we may enter: from then on their owners can neither change nor remove them by name, nor turn their paths into
links. In `received`, likewise ours alone, is what the receiver (forwarder/wrap/receive.py) wrote there: it was out of
their reach from the start.
Every access is by a directory's descriptor and a name, and follows no link.
"""

from __future__ import annotations

import fcntl
import os
import stat
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from itertools import islice
from pathlib import Path
from typing import Final

from forwarder import durable
from forwarder.errors import TemporaryError, UsageError

TAKEN: Final = "taken"
"""Directory in it of what was taken from users, until it is sealed."""
RECEIVED: Final = "received"
"""Directory in it that the receiver writes to; `received/NAME` is a file in it."""
REFUSED: Final = "refused"
"""Directory in it of what could not be deleted: directories with something in them."""
OURS: Final = (TAKEN, RECEIVED, REFUSED)
PRIVATE: Final = 0o700
MODE: Final = 0o1733
"""Everybody may make files, nobody but the owner may list them, nobody may touch another's."""
DIRECTORY: Final = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
FILE: Final = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_NOCTTY | os.O_CLOEXEC


class RefusedError(Exception):
    """Why a file is not read, in words of ours alone."""


def make(directory: Path) -> None:
    """Make one, so that nobody else gets between.

    Raises:
        OSError: as `os.mkdir` does.
    """
    directory.mkdir(mode=PRIVATE, exist_ok=True)
    for name in OURS:
        (directory / name).mkdir(mode=PRIVATE, exist_ok=True)
    directory.chmod(MODE)


@contextmanager
def opened(directory: Path, *, lock: bool = True) -> Iterator[DropBox | None]:
    """Open one; None if it is missing or another user's: then it is not for us to read.

    Args:
        directory: where it is.
        lock: nobody else may read it meanwhile.

    Raises:
        UsageError: it is a link, or what should be only ours in it is not.
        TemporaryError: another process reads it.
    """
    try:
        top = os.open(directory, DIRECTORY)
    except (FileNotFoundError, PermissionError):
        yield None
        return
    except OSError as error:
        raise UsageError(f"{directory}: {error.strerror}", "audit.spool must name a directory") from None
    try:
        if os.fstat(top).st_uid != os.geteuid():
            yield None
            return
        with ExitStack() as stack:
            taken, received = (_private(top, name, directory, stack) for name in (TAKEN, RECEIVED))
            if lock:
                _lock(taken, directory)
            yield DropBox(directory, top, taken, received)
    finally:
        os.close(top)


def _private(top: int, name: str, directory: Path, stack: ExitStack) -> int:
    """Return a descriptor of a directory in it that nobody else may enter; it is made if it is missing.

    It is closed with the stack.
    """
    with suppress(FileExistsError):
        os.mkdir(name, PRIVATE, dir_fd=top)
    try:
        descriptor = os.open(name, DIRECTORY, dir_fd=top)
    except OSError as error:
        raise UsageError(f"{directory / name}: {error.strerror}", "remove it, it must be a directory of ours") from None
    stack.callback(os.close, descriptor)
    found = os.fstat(descriptor)
    if found.st_uid != os.geteuid() or stat.S_IMODE(found.st_mode) & 0o077:
        raise UsageError(f"{directory / name}: others may get at it", "remove it, it is made anew")
    return descriptor


def _lock(descriptor: int, directory: Path) -> None:
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        raise TemporaryError(f"{directory}: another process reads this spool", "run it again later") from None


class DropBox:
    """An open one. Names are of files directly in it, or in `taken`; or `received/NAME`."""

    def __init__(self, directory: Path, top: int, taken: int, received: int) -> None:
        self.directory = directory
        self._top = top
        self._taken = taken
        self._received = received

    def names(self, most: int) -> list[str]:
        """Return the names of what was taken and of what is new, each at most as many."""
        found: dict[str, None] = {}
        for descriptor, ours in ((self._taken, ()), (self._top, OURS)):
            with os.scandir(descriptor) as entries:
                found |= dict.fromkeys(entry.name for entry in islice(entries, most) if entry.name not in ours)
        return sorted(found)

    def received(self, most: int, abandoned: float) -> list[str]:
        """Return the names of what was received, at most as many.

        What a killed receiver left half written goes, if it was not changed since a time (in seconds since 1970).
        """
        found = []
        with os.scandir(self._received) as entries:
            for entry in islice(entries, most):
                if not entry.name.endswith(durable.PART):
                    found.append(f"{RECEIVED}/{entry.name}")
                elif entry.stat(follow_symlinks=False).st_ctime < abandoned:
                    os.unlink(entry.name, dir_fd=self._received)
        return sorted(found)

    def _kept(self, name: str) -> tuple[int, str]:
        """Return the directory of ours that a file is in, and its name there."""
        directory, _, below = name.rpartition("/")
        return (self._received, below) if directory == RECEIVED else (self._taken, name)

    def status(self, name: str) -> os.stat_result | None:
        """Return what is known of a file itself, None if it is not there."""
        kept, below = self._kept(name)
        for descriptor in (kept,) if below != name else (kept, self._top):
            with suppress(FileNotFoundError):
                return os.stat(below, dir_fd=descriptor, follow_symlinks=False)
        return None

    def take(self, name: str) -> os.stat_result | None:
        """Move a file where its owner cannot reach it; None if it is gone. What was taken by that name before, stays.

        Returns:
            What is known of the file that is taken now.
        """
        kept, below = self._kept(name)
        with suppress(FileNotFoundError):
            return os.stat(below, dir_fd=kept, follow_symlinks=False)
        try:
            os.rename(name, name, src_dir_fd=self._top, dst_dir_fd=self._taken)
        except FileNotFoundError:
            return None
        return os.stat(name, dir_fd=self._taken, follow_symlinks=False)

    def path(self, name: str) -> Path:
        """Return where a file is that was taken."""
        return self.directory / (name if name.startswith(f"{RECEIVED}/") else f"{TAKEN}/{name}")

    def content(self, name: str, limit: int) -> bytes:
        """Return what is in a file that was taken.

        Raises:
            RefusedError: it is no file that the wrapper could have written, or larger than the limit in bytes.
        """
        kept, below = self._kept(name)
        try:
            check(os.stat(below, dir_fd=kept, follow_symlinks=False))
            descriptor = os.open(below, FILE, dir_fd=kept)
        except OSError as error:
            raise RefusedError(f"it cannot be opened: {error.strerror}") from None
        with open(descriptor, "rb") as file:  # noqa: PTH123 - a descriptor, not a path
            content = file.read(limit + 1)
        if len(content) > limit:
            raise RefusedError(f"larger than {limit} bytes")
        return content

    def remove(self, name: str) -> None:
        """Remove what was taken; if it is gone already, that is no error.

        Raises:
            OSError: the disk does not let us.
        """
        kept, below = self._kept(name)
        try:
            os.unlink(below, dir_fd=kept)
        except FileNotFoundError:
            return
        except (IsADirectoryError, PermissionError):
            try:
                os.rmdir(below, dir_fd=kept)
            except OSError:  # whatever a user has nested in it is not worth walking through
                with ExitStack() as stack:
                    aside = _private(self._top, REFUSED, self.directory, stack)
                    os.rename(below, f"{time.time_ns()}", src_dir_fd=kept, dst_dir_fd=aside)

    def sync(self) -> None:
        """Make removals durable."""
        os.fsync(self._taken)
        os.fsync(self._received)


def check(found: os.stat_result) -> None:
    """Refuse what the wrapper would not have made.

    Raises:
        RefusedError: it is such a thing.
    """
    if not stat.S_ISREG(found.st_mode):
        raise RefusedError("no regular file")
    if found.st_nlink != 1:
        raise RefusedError("it has other names, too")
    if found.st_mode & 0o022:
        raise RefusedError("others than its owner may write to it")
