"""What is new in a log that grows, is rotated, compressed, cut or replaced; told by content, not by name or inode."""

from __future__ import annotations

import json
import os
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import asdict, dataclass, replace
from datetime import UTC, datetime
from hashlib import sha256
from typing import Final

from forwarder.audit.files import CHUNK, Content
from forwarder.audit.interface import Finding
from forwarder.errors import InputError
from forwarder.positions import Position, Progress

PRINT: Final = 4096
"""Bytes of a fingerprint, at the beginning and before what is new."""
MAX_LINE: Final = 8 << 20
"""Longest line in bytes; what is longer is handed over in pieces, which no reader takes for a line of its own."""
SETTLE: Final = 60.0
"""Seconds after which nothing more is expected to complete what a log ends with."""
COMPRESSING: Final = 3600.0
"""Seconds for which a compressed file that ends early counts as being written."""


@dataclass(frozen=True, slots=True)
class Block:
    """Whole lines of a log."""

    place: int
    """Which of the log's files."""
    path: str
    offset: int
    """Of its first byte in the file's content."""
    data: bytes
    stat: os.stat_result
    """Of the file when it was opened."""


@dataclass(slots=True)
class _File:
    """One file of a log in this run."""

    content: Content
    stat: str
    before: Position | None = None
    """Where an earlier run stopped in it."""
    head: bytes = b""
    start: int = 0
    read: int = 0
    tail: bytes = b""
    begun: bool = False
    finished: bool = False
    """All that it holds was handed over."""
    age: float = 0.0


class Follower:
    """The new lines of one log, file after file, oldest first.

    Args:
        log: its name, KIND:PATH.
        list_files: returns the paths of its files now, oldest first.
        positions: where earlier runs stopped in it.
        said: takes a line about a file that cannot be read.
        now: the clock.
    """

    def __init__(
        self,
        log: str,
        list_files: Callable[[], list[str]],
        positions: tuple[Position, ...],
        said: Callable[[str], object],
        now: Callable[[], float] = time.time,
    ) -> None:
        self.log = log
        self._old, self._said, self._now = positions, said, now
        self._rows: dict[int, Position | _File] = {}
        self._unreadable = False
        self._list = list_files
        self.done = frozenset(identity for position in positions for identity in position.done)
        """Identities that earlier runs handed over and that are read again."""
        self.findings: list[Finding] = []
        """What happened to the log since, once `open` was called."""

    def open(self) -> None:
        """Look at the files, and at what became of those that were read."""
        for _ in range(5):  # a rotation between listing and opening would hide a file
            self._close()
            names = self._open_all()
            if names == self._names():
                break
        matched = {row for row in self._rows.values() if isinstance(row, Position)}
        for place, file in [(place, row) for place, row in self._rows.items() if isinstance(row, _File)]:
            try:
                file.before = self._match(file, self._old)
            except InputError as error:
                self._pass_over(place, error)
                continue
            if file.before:
                matched.add(file.before)
        self._judge({_content(position) for position in matched})

    def _names(self) -> list[tuple[str, int]]:
        found = []
        for path in self._list():
            try:
                found.append((path, os.stat(path).st_ino))  # noqa: PTH116
            except OSError:
                found.append((path, 0))
        return found

    def _open_all(self) -> list[tuple[str, int]]:
        names, unchanged = self._names(), {(old.path, old.stat): old for old in self._old if old.stat}
        own = self.log.startswith(("history:", "sudo-io:"))  # who sudo lets choose the directory may put links in it
        for place, (path, _) in enumerate(names):
            try:
                if known := unchanged.get((path, status(os.stat(path)))):  # noqa: PTH116
                    self._rows[place] = known
                    continue
                content = Content(path, of_user=own)
            except InputError as error:
                self._pass_over(place, error)
                continue
            except OSError:
                continue  # gone again
            file = _File(content, status(content.stat), age=abs(self._now() - content.stat.st_mtime))
            self._rows[place] = file
        return names

    def _pass_over(self, place: int, error: InputError) -> None:
        """Leave a file that cannot be read for a later run."""
        self._said(str(error))
        self._unreadable = True
        if isinstance(row := self._rows.pop(place, None), _File):
            row.content.close()

    def _close(self) -> None:
        for file in self._files():
            file.content.close()
        self._rows.clear()

    def _files(self) -> list[_File]:
        return [row for row in self._rows.values() if isinstance(row, _File)]

    def _match(self, file: _File, positions: tuple[Position, ...]) -> Position | None:
        """Return the position that was reached in this content, if there is one."""
        content = file.content
        content.seek(0)
        file.head = content.read(PRINT)
        for old in sorted(positions, key=lambda position: -position.read):
            if len(file.head) < old.head_length or _hash(file.head[: old.head_length]) != old.head_sha256:
                continue
            if content.seek(old.read - old.tail_length):
                tail = content.read(old.tail_length)
                if len(tail) == old.tail_length and _hash(tail) == old.tail_sha256:
                    return old
        return None

    def _judge(self, matched: set[tuple[int, str]]) -> None:
        """Find what was read and is no longer there: the newest file's content, or one whose older ones are."""
        writing = any(file.content.damaged and file.age < COMPRESSING for file in self._files())
        if self._unreadable or writing or self.log.startswith("sudo-io:"):
            return
        seen_older = False
        for old in self._old:
            there = _content(old) in matched
            if not there and (seen_older or old is self._old[-1]):
                self._found(old)
            seen_older = seen_older or there

    def _found(self, old: Position) -> None:
        now = next((file for file in self._files() if file.content.path == old.path), None)
        size = now.content.stat.st_size if now else -1
        if self.log.startswith("history:") and now and size * 2 >= old.read:
            return  # shells write these anew when they have reached their size
        moment = now.content.stat.st_mtime if now else self._now()
        if now is None:
            what = "is gone"
        elif size < old.read and not now.content.compressed:
            what = f"shrank to {size} bytes"
        else:
            what = "holds something else now"
        self.findings.append(
            Finding(
                "audit-log-truncated",
                f"{old.path}: of it {old.read} bytes were read, and it {what}",
                datetime.fromtimestamp(moment, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z"),
                old.path,
                max(size, -1),
                f"truncated:{self.log}:{old.head_sha256[:16]}:{old.read}:{size}",
                json.dumps({"log": self.log, "read": asdict(old), "size": size}, sort_keys=True).encode(),
            )
        )

    def blocks(self) -> Iterator[Block]:
        """Yield what is new, in whole lines; a line without its end only once nothing is added to it for a minute."""
        read: tuple[Position, ...] = ()
        for place, file in [(place, row) for place, row in self._rows.items() if isinstance(row, _File)]:
            before = file.before
            if (copy := self._match(file, read)) and (not before or copy.read > before.read):
                before = copy  # of what an earlier file held: it is being compressed, or was copied to be cut
            elif not before and file.content.damaged and file.age < COMPRESSING:
                continue  # not yet as long as what it is made from
            file.start = file.read = before.offset if before else 0
            seed = min(file.start, PRINT)
            file.begun = file.content.seek(file.start - seed)
            file.tail = file.content.read(seed)
            try:
                yield from self._lines(place, file)
            except InputError as error:
                self._said(str(error))
            if row := self._row(place, file, file.read):
                read = (*read, row)
            file.content.close()

    def _lines(self, place: int, file: _File) -> Iterator[Block]:
        carry: list[bytes] = []
        carried = 0
        while data := file.content.read(CHUNK):
            end = data.rfind(b"\n") + 1
            if not end and carried + len(data) < MAX_LINE:
                carry.append(data)
                carried += len(data)
                continue
            end = end or len(data)
            yield self._block(
                place, file, b"".join((*carry, data[:end])) if carry else data[:end] if end < len(data) else data
            )
            carry = [data[end:]] if end < len(data) else []
            carried = len(data) - end
        if carried and file.age > SETTLE:
            yield self._block(place, file, b"".join(carry))
            carried = 0
        file.finished = not carried
        if file.content.damaged:
            self._said(f"{file.content.path}: the compressed data ends early or is damaged; read as far as it goes")
            file.finished = file.age > COMPRESSING

    @staticmethod
    def _block(place: int, file: _File, data: bytes) -> Block:
        offset = file.read
        file.read += len(data)
        file.tail = data[-PRINT:] if len(data) >= PRINT else (file.tail + data)[-PRINT:]
        return Block(place, file.content.path, offset, data, file.content.stat)

    @property
    def settled(self) -> bool:
        """Nothing more is expected to complete what the log ends with."""
        files = self._files()
        return not files or files[-1].age > SETTLE

    def progress(self, held: Mapping[int, int], done: tuple[str, ...], *, ended: bool) -> Progress:
        """Return how far the log is read.

        Args:
            held: where lines begin, by file, that are not yet part of what was handed over.
            done: identities of what was handed over and begins behind that.
            ended: all blocks were taken, so that an unchanged file need not be looked at again.
        """
        rows = []
        for place, file in self._rows.items():
            if not isinstance(file, _File):
                rows.append(replace(file, number=place))
            elif not file.begun:
                if file.before:
                    rows.append(replace(file.before, number=place, path=file.content.path))
            elif row := self._row(place, file, held.get(place, file.read)):
                whole = ended and file.finished and not held and not done
                rows.append(replace(row, stat=file.stat if whole else ""))
        if self._unreadable:
            kept = {_content(row) for row in rows}
            rows = [old for old in self._old if _content(old) not in kept] + rows
            rows = [replace(row, number=number) for number, row in enumerate(rows)]
        rows = [replace(row, done=()) for row in rows]
        if rows and done:
            rows[-1] = replace(rows[-1], done=done)
        return Progress(self.log, tuple(rows))

    def _row(self, place: int, file: _File, offset: int) -> Position | None:
        if not file.read:
            return None
        tail = file.tail
        if self.log.startswith("sudo:") and file.head[:1] == b"{":
            tail = tail.rstrip(b"}\n")  # sudo writes its next event over the end of its JSON
        read = file.read - len(file.tail) + len(tail)
        head = file.head[:read]
        return Position(
            self.log,
            place,
            file.content.path,
            "",
            len(head),
            _hash(head),
            min(offset, read),
            read,
            len(tail),
            _hash(tail),
        )


def status(stat: os.stat_result) -> str:
    """Return what tells a file's state without reading it; a program cannot set ctime."""
    return f"{stat.st_dev}:{stat.st_ino}:{stat.st_size}:{stat.st_mtime_ns}:{stat.st_ctime_ns}"


def _hash(data: bytes) -> str:
    return sha256(data).hexdigest()


def _content(position: Position) -> tuple[int, str]:
    """Return what two positions have in common that were reached in copies of one file."""
    return position.read, position.tail_sha256
