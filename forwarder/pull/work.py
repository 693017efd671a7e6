"""The work directory of a pull: what was asked, how far it got, objects not yet verified, and the answer in the making.

It lies beside the answer's place, so that the answer gets its final name in one step. A pull that was killed goes on
from here; whatever is under `answer` was verified before it got its name there.
"""

from __future__ import annotations

import fcntl
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import orjson

from forwarder import durable
from forwarder.errors import TemporaryError, UsageError
from forwarder.seal import canonical


class Work:
    """The work directory of one answer.

    Args:
        target: where the answer goes when it is complete; must not exist.
        asked: the whole question as JSON values; a directory that was made for another is refused.

    Raises:
        UsageError: the target exists, or the directory is another question's.
    """

    def __init__(self, target: Path, asked: dict[str, Any]) -> None:
        if target.exists() or target.is_symlink():
            raise UsageError(f"{target} exists", "give another name, or remove it")
        self.target = target
        self.root = target.with_name(target.name + durable.PART)
        self.answer = self.root / "answer"
        self.incoming = self.root / "incoming"
        durable.make_directory(self.answer)
        self._ask(asked)

    def _ask(self, asked: dict[str, Any]) -> None:
        file = self.root / "question.json"
        if not file.exists():
            durable.write(file, canonical.encode(asked))
        elif file.read_bytes() != canonical.encode(asked):
            raise UsageError(
                f"{self.root} holds the beginning of an answer to another question",
                "remove it, or give another name",
            )

    @contextmanager
    def locked(self) -> Iterator[None]:
        """Keep another process away.

        Raises:
            TemporaryError: it is here already.
        """
        descriptor = os.open(self.root / "lock", os.O_RDWR | os.O_CREAT, 0o600)
        try:
            _lock(descriptor, self.root)
            shutil.rmtree(self.incoming, ignore_errors=True)
            yield
        finally:
            os.close(descriptor)

    def finish(self, made: Path) -> None:
        """Give the answer, a file or directory of ours, its final name, and remove the rest."""
        made.replace(self.target)
        durable.sync_directory(self.target.parent)
        shutil.rmtree(self.root)


def _lock(descriptor: int, root: Path) -> None:
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        raise TemporaryError(f"{root} is in use by another pull", "wait for it") from None


class Lines:
    """A file of lines that grows, of which a kill can spoil only the last.

    Args:
        path: the file; made when there is none.
    """

    def __init__(self, path: Path) -> None:
        durable.make_directory(path.parent)
        self.path = path
        with path.open("ab+") as file:
            end = file.seek(0, os.SEEK_END)
            while end and os.pread(file.fileno(), 1, end - 1) != b"\n":
                end -= 1
            file.truncate(end)
        self._out = path.open("ab")

    def __iter__(self) -> Iterator[bytes]:
        self._out.flush()
        with self.path.open("rb") as file:
            for line in file:
                yield line[:-1]

    def add(self, line: bytes) -> None:
        """Add a line, which is in the file for whoever reads it after `flush`."""
        self._out.write(line + b"\n")

    def flush(self, *, durably: bool = False) -> None:
        """Have all lines in the file, with `durably` also after a power cut."""
        self._out.flush()
        if durably:
            os.fsync(self._out.fileno())

    def close(self) -> None:
        """Close the file."""
        self._out.close()


class Journal:
    """Which batches of a log were looked at, in their order, and what was found in them.

    Args:
        path: its file.
    """

    def __init__(self, path: Path) -> None:
        self._lines = Lines(path)
        self.next = 0
        """First batch that was not looked at."""
        for line in self._lines:
            self.next = orjson.loads(line)["batch"] + 1

    def __iter__(self) -> Iterator[dict[str, Any]]:
        return map(orjson.loads, self._lines)

    def add(self, entry: dict[str, Any]) -> None:
        """Note a batch; `entry["batch"]` is its sequence."""
        self._lines.add(orjson.dumps(entry))
        self._lines.flush(durably=bool(entry.get("records")))
        self.next = entry["batch"] + 1

    def close(self) -> None:
        """Close the file."""
        self._lines.close()
