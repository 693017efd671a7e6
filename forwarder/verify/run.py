"""Verifying a whole archive: which logs it holds, which keys and checkpoints are at hand, what is remembered after."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from pathlib import Path

from forwarder import durable
from forwarder.archive.directory import DirectoryArchive
from forwarder.errors import NothingError, UsageError
from forwarder.seal.note import Checkpoint, NoteError, Verifier, open_checkpoint
from forwarder.verify.log import verify_log
from forwarder.verify.verdict import LogVerdict

MARKS = ("batches", "checkpoints", "tile")
"""Directories by which a log is known."""


def logs(directory: Path) -> Iterator[str]:
    """Yield the origins of the logs below a directory, sorted."""
    for below, names, _ in os.walk(directory):
        names.sort()
        if any(mark in names for mark in MARKS):
            names.clear()
            yield Path(below).relative_to(directory).as_posix()


def locate(path: Path, keys: list[Verifier]) -> tuple[Path, list[str]]:
    """Return (the archive's directory, the origins in it) for an archive or for the directory of one log.

    Raises:
        NothingError: there is no log.
    """
    if not path.is_dir():
        raise NothingError(f"{path}: no such archive", "nothing was verified")
    found = list(logs(path))
    if found == ["."]:  # the directory of one log was given: its key tells how much of the path is the origin
        whole = path.resolve()
        for key in keys:
            parts = Path(key.name).parts
            if whole.parts[-len(parts) :] == parts:
                return Path(*whole.parts[: -len(parts)]), [key.name]
        return whole.parent, [whole.name]
    if not found:
        raise NothingError(f"{path}: no log in this archive", "nothing was verified")
    return path, found


def verify(
    path: Path,
    keys: list[Verifier],
    pinned: Callable[[Verifier], list[Checkpoint]],
    advance: Callable[[int], object] = lambda _: None,
) -> list[LogVerdict]:
    """Verify every log of an archive.

    Args:
        path: an archive, or the directory of one log.
        keys: public keys, by their names the logs' origins.
        pinned: gives the checkpoints that a log is known to have had.
        advance: called with 1 for each batch that was checked.

    Raises:
        NothingError: there is nothing to verify.
    """
    directory, origins = locate(path, keys)
    by_name = {key.name: key for key in keys}
    verdicts = []
    for origin in origins:
        if origin in by_name:
            key = by_name[origin]
            verdicts.append(verify_log(DirectoryArchive(directory, origin), key, pinned(key), advance))
        else:
            verdict = LogVerdict(origin)
            verdict.add("key-unknown", "no public key for this log was given, so nothing of it was verified")
            verdicts.append(verdict)
    if not any(verdict.batches or verdict.findings for verdict in verdicts):
        raise NothingError(f"{path}: no batch in this archive", "nothing was verified")
    return verdicts


def read_checkpoint(file: Path, verifier: Verifier) -> Checkpoint | None:
    """Return the checkpoint of a log in a file, None when it is another log's.

    Raises:
        UsageError: the file is no checkpoint, or not signed by the log's key.
    """
    try:
        note = file.read_bytes()
    except OSError as error:
        raise UsageError(f"{file}: {error.strerror}") from None
    if not note.startswith(verifier.name.encode() + b"\n"):
        return None
    try:
        return open_checkpoint(note, verifier)
    except NoteError as error:
        raise UsageError(f"{file}: {error}") from None


def remember(file: Path, verdict: LogVerdict) -> None:
    """Keep a log's newest checkpoint after it was verified without a finding."""
    if not verdict.findings and verdict.checkpoint:
        durable.write(file, verdict.checkpoint)
