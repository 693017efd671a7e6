"""Finding input files, and copying each to the spool before anything is read from it.

The copy (zstd, hashed in the same pass, fsynced) settles what was read: names, standard input and files that change
meanwhile are behind us. It is also the evidence that is sealed.
"""

from __future__ import annotations

import bz2
import codecs
import glob
import gzip
import lzma
import os
import pwd
import re
import sys
import time
import zlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path
from typing import IO, Any, Final

import zstandard

from forwarder import durable
from forwarder.errors import InputError, TemporaryError

CHUNK: Final = 1 << 20
LEVEL: Final = 1
"""zstd level of evidence: a third of the time of the usual 3, for a tenth more space."""
SNIFF: Final = 4096
"""Bytes looked at to tell XML from other files."""
TAIL: Final = 1024
"""Bytes at the end of a file among which a finished scan has its end tag."""
STDIN: Final = "-"

OPENERS: Final[dict[bytes, Callable[[Any], Any]]] = {
    b"\x1f\x8b": lambda file: gzip.GzipFile(fileobj=file),
    b"BZh": bz2.BZ2File,
    b"\xfd7zXZ\x00": lzma.LZMAFile,
    b"\x28\xb5\x2f\xfd": lambda file: zstandard.ZstdDecompressor().stream_reader(file, read_across_frames=True),
}
"""Magic bytes → how to read what follows."""
BROKEN = (EOFError, zlib.error, lzma.LZMAError, zstandard.ZstdError, gzip.BadGzipFile)
DECODED = re.compile(r"iso8859-\d+|cp125\d|cp9(?:32|49|50)|koi8-[ru]|gb(?:k|2312|18030)|big5|shift_jis|euc_(?:jp|kr)")
"""Encodings, by Python's names, that editors and databases save XML in and that are plain text; of what others would
make of a file (UTF-7 hides markup) we want to know nothing."""
SCAN_BEGINS = re.compile(rb"^\s*<(\?xml|!DOCTYPE nmaprun|nmaprun)\b", re.MULTILINE)
DECLARATION = re.compile(rb"""^\s*<\?xml[^>]*?\bencoding\s*=\s*["']([A-Za-z0-9._-]+)["']""")


@dataclass(frozen=True, slots=True)
class Found:
    """One file to read."""

    path: str
    """As to be shown; STDIN for standard input."""
    named: bool
    """The user named it, so that passing it over needs a word."""
    stat: os.stat_result | None = None
    ended: bool = False
    """Its writer is known to be done: it is whole, or cut for good."""


def owner(found: Found) -> tuple[str, str]:
    """Return the uid of a file's owner, and the name that it has here; empty texts for what is not known."""
    if found.stat is None:
        return "", ""
    try:
        return str(found.stat.st_uid), pwd.getpwuid(found.stat.st_uid).pw_name
    except KeyError:
        return str(found.stat.st_uid), ""


@dataclass(frozen=True, slots=True)
class Copy:
    """An input in the spool."""

    raw_sha256: str
    raw_bytes: int
    stored_sha256: str
    stored_bytes: int
    note: str = ""
    """What was wrong with the input's compression; empty when nothing was."""


class Finder:
    """Iterates over the files below some paths, in sorted order, each once.

    Args:
        paths: files, directories (searched recursively, links to directories not followed), glob patterns, or `-`.
        problem: called with an error for each path that cannot be read; the others go on.
    """

    def __init__(self, paths: list[str], problem: Callable[[InputError], object]) -> None:
        self._paths = paths
        self._problem = problem
        self.empty = 0
        """Empty files passed over in directories."""
        self.other = 0
        """Files in directories that are no XML."""

    def __iter__(self) -> Iterator[Found]:
        seen: set[str] = set()
        for path in sorted(dict.fromkeys(self._paths)):
            matches = (
                sorted(glob.glob(path, recursive=True))
                if glob.has_magic(path) and not os.path.lexists(path)
                else [path]
            )
            if not matches:
                self._problem(InputError(f"{path}: nothing matches this pattern"))
            for match in matches:
                for found in self._below(match):
                    key = os.path.realpath(found.path) if found.path != STDIN else STDIN
                    if key not in seen:
                        seen.add(key)
                        yield found

    def _below(self, path: str) -> Iterator[Found]:
        if path == STDIN:
            yield Found(path, named=True)
        elif os.path.isdir(path):  # noqa: PTH112
            yield from self._directory(path)
        else:
            try:
                yield Found(path, named=True, stat=os.stat(path))  # noqa: PTH116
            except OSError as error:
                self._problem(InputError(f"{path}: {error.strerror}", _advice(error)))

    def _directory(self, path: str) -> Iterator[Found]:
        """Yield what a directory holds; empty files are only counted, so that a million of them cost no memory."""
        names = []
        try:
            with os.scandir(path) as entries:
                for entry in entries:
                    if entry.is_dir(follow_symlinks=False) or self._wanted(entry):
                        names.append(entry.name)
        except OSError as error:
            self._problem(InputError(f"{path}: {error.strerror}", _advice(error)))
        for name in sorted(names):
            below = os.path.join(path, name)  # noqa: PTH118
            if os.path.isdir(below):  # noqa: PTH112
                yield from self._directory(below)
            else:
                yield from (Found(found.path, named=False, stat=found.stat) for found in self._below(below))

    def _wanted(self, entry: os.DirEntry[str]) -> bool:
        """Tell whether a directory's entry is a file with something in it (or cannot be told)."""
        try:
            if not entry.is_file():
                return entry.is_symlink() and not entry.is_dir()
            if entry.stat().st_size == 0:
                self.empty += 1
                return False
        except OSError:
            return True  # opening it will say why
        return True


def _advice(error: OSError) -> str:
    if isinstance(error, PermissionError):
        return "let the forwarder's user read it"
    return "a link that leads nowhere, or in a circle" if error.errno == 40 else ""  # noqa: PLR2004 - ELOOP


def is_xml(source: IO[bytes], *, named: bool) -> bool:
    """Tell whether a file, compressed or not, begins as XML does, in any encoding that nmap's files have.

    In one that the user named, a scan may also begin on a later line: behind warnings, where those went to the same
    file. The file is at its beginning before and after; standard input is not looked at.
    """
    if not source.seekable():
        return True
    try:
        head = opened(source).read(SNIFF)
    except (*BROKEN, OSError):
        head = b""
    source.seek(0)
    for mark in (codecs.BOM_UTF8, codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE):
        head = head.removeprefix(mark)
    head = head.replace(b"\0", b"").lstrip()
    return head.startswith(b"<") or (named and SCAN_BEGINS.search(head) is not None)


def opened(file: IO[bytes]) -> IO[bytes]:
    """Return a stream of a file's content, decompressed if it is compressed (told by its first bytes)."""
    head = file.peek(8)  # type: ignore[attr-defined]
    for magic, opener in OPENERS.items():
        if head.startswith(magic):
            stream: IO[bytes] = opener(file)
            return stream
    return file


def copy(source: IO[bytes], spool: Path, limit: int) -> Copy:
    """Copy an input to `<spool>/<raw hash>.zst`.

    Args:
        source: a buffered binary stream at its beginning; may be compressed.
        spool: an existing directory.
        limit: largest content in bytes.

    Raises:
        InputError: the content is larger than the limit.
        TemporaryError: reading failed on the way.
        OSError: the spool cannot be written, for instance because the disk is full.
    """
    part = spool / f"input{durable.PART}"
    raw, stored = sha256(), sha256()
    size = written = 0
    note = ""
    try:
        with part.open("wb") as out:
            compressor = zstandard.ZstdCompressor(level=LEVEL, write_checksum=True).compressobj()
            stream = opened(source)
            while True:
                try:
                    chunk = stream.read1(CHUNK)  # type: ignore[attr-defined]  # read() would drop what precedes an error
                except (*BROKEN, OSError) as error:
                    if (
                        isinstance(error, OSError) and error.errno
                    ):  # bz2 says by one without a number that data is damaged
                        raise TemporaryError(f"reading stopped after {size} bytes: {error.strerror}") from error
                    chunk, note = b"", f"compressed data ends early or is damaged ({error})"
                raw.update(chunk)
                size += len(chunk)
                if size > limit:
                    raise too_large(limit)
                data = compressor.compress(chunk) if chunk else compressor.flush()
                stored.update(data)
                written += out.write(data)
                if not chunk:
                    break
            out.flush()
            os.fsync(out.fileno())
        durable.commit(part, spooled(spool, raw.hexdigest()))
    except BaseException:
        part.unlink(missing_ok=True)
        raise
    return Copy(raw.hexdigest(), size, stored.hexdigest(), written, note)


def too_large(limit: int) -> InputError:
    """Return what to say of an input above the limit in bytes."""
    return InputError(f"larger than {limit} bytes", "raise intake.max_bytes if this is a real scan")


def spooled(spool: Path, raw_sha256: str) -> Path:
    """Return where an input's copy is."""
    return spool / f"{raw_sha256}.zst"


def keep_only(spool: Path, wanted: set[Path]) -> None:
    """Remove the copies that nobody needs any more, and what a crash left half written."""
    for path in spool.iterdir():
        if path not in wanted:
            path.unlink()


class Utf8:
    """A compressed input as a stream of UTF-8, whatever its encoding.

    Args:
        source: the copy's path, or the evidence object opened for reading.
    """

    def __init__(self, source: Path | IO[bytes]) -> None:
        self._file = source.open("rb") if isinstance(source, Path) else source
        self._stream: Any = zstandard.ZstdDecompressor().stream_reader(self._file)
        head = self._stream.read(SNIFF)
        self._rest = head
        self._decode: Callable[[bytes, bool], str] | None = None
        if encoding := encoding_of(head):
            self._decode = codecs.getincrementaldecoder(encoding)(errors="replace").decode

    def close(self) -> None:
        """Close the file."""
        self._stream.close()
        self._file.close()

    def read(self, size: int, /) -> bytes:
        """Return about `size` bytes, none at the end."""
        if self._rest:
            data, self._rest = self._rest, b""
        else:
            data = self._stream.read(size)
        if self._decode is None:
            return data
        text = self._decode(data, not data)
        while data and not text:  # half a character
            data = self._stream.read(size)
            text = self._decode(data, not data)
        return text.encode(errors="replace")


def encoding_of(head: bytes) -> str:
    """Return the encoding to convert from, empty for UTF-8 and what we do not know."""
    if head.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)):
        return "utf-16"
    if head.startswith(b"<\0"):
        return "utf-16-le"
    if head.startswith(b"\0<"):
        return "utf-16-be"
    declared = DECLARATION.match(head)
    try:
        name = codecs.lookup(declared[1].decode()).name if declared else "utf-8"
    except LookupError:
        return ""
    return name if DECODED.fullmatch(name) else ""


def still_written(found: Found, settle: float, writers: Callable[[os.stat_result], bool]) -> str:
    """Tell why a file is better left for the next run; empty when it is not.

    nmap writes its end tag last. A file without it counts as being written while it is younger than `settle`
    seconds, or while a process that we may look at has it open for writing.
    """
    if found.ended or found.stat is None or not os.path.isfile(found.path):  # noqa: PTH113
        return ""
    age = time.time() - found.stat.st_mtime
    held = writers(found.stat)
    if age > settle and not held:
        return ""
    with open(found.path, "rb") as file:  # noqa: PTH123
        head = file.read(8)
        if head.startswith(tuple(OPENERS)):
            return ""
        file.seek(max(0, found.stat.st_size - TAIL))
        if b"</nmaprun" in file.read().replace(b"\0", b""):
            return ""
    return "a process is still writing it" if held else f"it has no end yet and was written {age:.0f} s ago"


class Writers:
    """Which files are open for writing, from /proc; looked up once, at the first question."""

    def __init__(self) -> None:
        self._held: set[tuple[int, int]] | None = None

    def __call__(self, stat: os.stat_result) -> bool:
        """Tell whether a process that we may look at has this file open for writing."""
        if self._held is None:
            self._held = set(self._look())
        return (stat.st_dev, stat.st_ino) in self._held

    @staticmethod
    def _look() -> Iterator[tuple[int, int]]:
        own = f"/proc/{os.getpid()}/"
        for descriptor in glob.iglob("/proc/[0-9]*/fd/*"):
            if descriptor.startswith(own):
                continue
            try:
                stat = os.stat(descriptor)  # noqa: PTH116
                writable = os.lstat(descriptor).st_mode & 0o200  # the kernel's sign for a descriptor open for writing
            except OSError:
                continue
            if writable:
                yield stat.st_dev, stat.st_ino


def open_input(path: str) -> IO[bytes]:
    """Open an input for `copy`.

    Raises:
        InputError: it cannot be opened.
    """
    if path == STDIN:
        return sys.stdin.buffer
    try:
        return open(path, "rb")  # noqa: PTH123 - the caller closes it
    except OSError as error:
        raise InputError(error.strerror or str(error), _advice(error)) from error
