"""The files of a log: the one that is written, and those that it was rotated to, compressed or not."""

from __future__ import annotations

import glob
import os
import re
import stat
from collections.abc import Iterator
from fnmatch import fnmatch
from typing import IO, Final

from forwarder.errors import InputError
from forwarder.intake import BROKEN, opened

CHUNK: Final = 1 << 20
"""Bytes read at a time."""
LARGEST_HISTORY: Final = 64 << 20
"""Bytes of the largest file of an ordinary user that is read."""
ROTATION: Final = re.compile(
    r"(?:[.-](?P<date>\d{8}(?:[-T_.]?\d{2,10})?)|\.(?P<number>\d{1,5}))?(?P<packed>\.(?:gz|xz|zst|bz2))?"
)
"""What logrotate and auditd put behind a log's name: a number, or a date and perhaps a time; then the compression."""
ROTATED: Final = re.compile(rf"(?<=.){ROTATION.pattern}$")
DEEPEST: Final = 8
"""How deep a session may lie in a directory of sudo's I/O logs; by sudo's default it is three."""
SESSION_FILES: Final = ("log.json", "log")
"""Headers in a session's directory among sudo's I/O logs; the older one is only read where there is no newer."""


def logs_of(kind: str, pattern: str) -> list[str]:
    """Return the names, KIND:PATH, of the logs that a source means and that are there."""
    path = os.path.expanduser(pattern)  # noqa: PTH111 - patterns are texts
    if kind == "sudo-io":
        return [f"{kind}:{header}" for header in sorted(_sessions(path))]
    if not glob.has_magic(path):
        bases = {path}
    elif kind == "history":
        bases = set(glob.glob(path))
    else:
        bases = {ROTATED.sub("", match) for match in glob.glob(path)}
    return [log for log in (f"{kind}:{base}" for base in sorted(bases)) if files_of(log)]


def missing(kind: str, pattern: str) -> str:
    """Return why a source means no log at all; empty for a directory of I/O logs in which there is none yet."""
    path = os.path.expanduser(pattern)  # noqa: PTH111 - patterns are texts
    if glob.has_magic(path):
        return "" if kind == "sudo-io" and glob.glob(path) else "nothing matches this pattern"
    try:
        is_directory = stat.S_ISDIR(os.stat(path).st_mode)  # noqa: PTH116
    except FileNotFoundError:
        return "there is no such log"
    except OSError as error:
        return error.strerror or "cannot be read"
    if kind == "sudo-io":
        return "" if is_directory else "is no directory of sudo's I/O logs"
    return f"is a directory; name a log in it, or {os.path.join(pattern, '*')}"  # noqa: PTH118


def files_of(log: str) -> list[str]:
    """Return the files of a log that are there, oldest first."""
    kind, _, base = log.partition(":")
    if kind in {"history", "sudo-io"}:  # no program rotates these
        return [base] if os.path.lexists(base) else []
    return _rotated(base)


def means(source: str, log: str) -> bool:
    """Tell whether a log, perhaps gone, is one of those that a source means."""
    kind, _, pattern = source.partition(":")
    log_kind, _, base = log.partition(":")
    path = os.path.expanduser(pattern)  # noqa: PTH111
    return (
        kind == log_kind
        and kind != "sudo-io"
        and (path == base or fnmatch(base, path) or fnmatch(base, path.rstrip("*")))
    )


def _sessions(directory: str) -> Iterator[str]:
    roots = glob.glob(directory) if glob.has_magic(directory) else [directory]
    for root in roots:
        for below, folders, names in os.walk(root):
            folders.sort()
            if below[len(root) :].rstrip(os.sep).count(os.sep) >= DEEPEST:
                folders.clear()
            header = next((name for name in SESSION_FILES if name in names), None)
            if header:
                yield os.path.join(below, header)  # noqa: PTH118


def _rotated(base: str) -> list[str]:
    """Return a log's files, oldest first: those with a date, those with a number, the one that is written."""
    found: list[tuple[tuple[int, str, int, bool], str]] = []
    for path in glob.glob(glob.escape(base) + "*"):
        match = ROTATION.fullmatch(path, len(base))
        if match and not os.path.isdir(path):  # noqa: PTH112
            date, number = match["date"] or "", int(match["number"] or 0)
            rank = 0 if date else 1 if number else 2
            # where a file is being compressed, the original goes on where the other ends
            found.append(((rank, date, -number, not match["packed"]), path))
    return [path for _, path in sorted(found)]


class Content:
    """A file's content by offset, decompressed if it is compressed.

    Args:
        path: the file.
        of_user: it is an ordinary user's, who could make it a link to what only we may read, or a compressed bomb:
            no link is followed, nothing decompressed, and what is too large for a history is not read.

    Raises:
        InputError: it is no file that can be read; errno ENOENT is left as FileNotFoundError.
    """

    def __init__(self, path: str, *, of_user: bool = False) -> None:
        self.path = path
        self.damaged = False
        """The compressed data ends early: what could be read is all there is."""
        flags = os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC | (os.O_NOFOLLOW if of_user else 0)
        try:
            descriptor = os.open(path, flags)
        except FileNotFoundError:
            raise
        except OSError as error:
            hint = "let the forwarder's user read it" if isinstance(error, PermissionError) else ""
            raise InputError(f"{path}: {error.strerror}", hint) from None
        self.stat = os.fstat(descriptor)
        if not stat.S_ISREG(self.stat.st_mode):
            os.close(descriptor)
            raise InputError(f"{path}: no regular file")
        if of_user and self.stat.st_size > LARGEST_HISTORY:
            os.close(descriptor)
            raise InputError(f"{path}: larger than any history ({self.stat.st_size} bytes)")
        self._plain = of_user
        self._file: IO[bytes] = os.fdopen(descriptor, "rb")
        self._stream: IO[bytes] = self._open()
        self.compressed = self._stream is not self._file
        self._at = 0

    def close(self) -> None:
        """Close the file."""
        self._file.close()

    def seek(self, offset: int) -> bool:
        """Go to an offset; tell whether the content is that long."""
        if not self.compressed:
            self._at = self._file.seek(offset)
            return offset <= os.fstat(self._file.fileno()).st_size
        if offset < self._at:
            self._file.seek(0)
            self._stream, self._at = self._open(), 0
        while self._at < offset and self.read(min(CHUNK, offset - self._at)):
            pass
        return self._at == offset

    def read(self, size: int) -> bytes:
        """Return the next bytes, as many unless the content ends."""
        parts, missing = [], size
        while missing:
            try:
                data = self._stream.read1(missing)  # type: ignore[attr-defined]  # read() would drop what precedes an error
            except BROKEN:
                data, self.damaged = b"", True
            except OSError as error:
                if error.errno or not self.compressed:
                    raise InputError(f"{self.path}: {error.strerror}") from None
                data, self.damaged = b"", True  # bz2 says so that data is damaged
            if not data:
                break
            parts.append(data)
            missing -= len(data)
        found = b"".join(parts) if len(parts) != 1 else parts[0]
        self._at += len(found)
        return found

    def _open(self) -> IO[bytes]:
        return self._file if self._plain else opened(self._file)
