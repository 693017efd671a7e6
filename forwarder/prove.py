"""Taking one record out of an archive, with all that is needed to prove that it was sealed there."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import islice
from typing import Final

import orjson

from forwarder.archive import records
from forwarder.archive.interface import POINTER, Archive
from forwarder.errors import IntegrityError, NothingError
from forwarder.seal import merkle
from forwarder.seal.manifest import MAX_MANIFEST_BYTES, Manifest, ManifestError, checkpoint_name, manifest_name
from forwarder.seal.note import Checkpoint, NoteError, signatures, split_note
from forwarder.seal.proof import LogProof, RecordProof
from forwarder.verify.tree import Tiles, TreeError

MAX_CHECKPOINT: Final = 1 << 16
MAX_COSIGNATURES: Final = 16
"""Objects with cosignatures that a proof takes in."""


def prove(archive: Archive, record_id: str, sequence: int | None = None) -> bytes:
    """Return the proof of a record: a tlog proof of its batch in the newest tree, which carries the record.

    Nothing is judged here that `verify` would not find in the proof; who gives one away checks it first.

    Args:
        archive: the log's archive.
        record_id: the record's event.id.
        sequence: the record's batch, if it is known; else all are searched.

    Raises:
        NothingError: there is no such record.
        IntegrityError: something that leads to it is missing, or not what was sealed.
    """
    batches = records.batches(archive) if sequence is None else _one(archive, sequence)
    for manifest in batches:
        lines = _holds(archive, manifest, record_id)
        if lines:
            index = _index(lines, record_id)
            leaves = [merkle.leaf_hash(line) for line in lines]
            path = tuple(merkle.inclusion_path(leaves, index))
            inner = RecordProof(lines[index], index, len(lines), path, manifest.encode())
            return _log_proof(archive, manifest, inner.encode())
    where = archive.place if sequence is None else f"batch {sequence} of {archive.place}"
    raise NothingError(f"{where} holds no record with event.id {record_id}", "see event.id of its document")


def _one(archive: Archive, sequence: int) -> Iterator[Manifest]:
    """Yield a batch, if it is there."""
    name = manifest_name(sequence)
    try:
        yield Manifest.decode(archive.read(name, MAX_MANIFEST_BYTES))
    except FileNotFoundError:
        return
    except ManifestError as error:
        raise IntegrityError(f"{archive.place}: {name} is not what was sealed ({error})", "run verify") from None


def _holds(archive: Archive, manifest: Manifest, record_id: str) -> list[bytes]:
    """Return the records of a batch that has the record, else none."""
    lines = list(records.lines(archive, manifest))
    return lines if _index(lines, record_id) >= 0 else []


def _index(lines: Sequence[bytes], record_id: str) -> int:
    """Return a record's place, or -1; its id may stand in others, too, which are about it."""
    quoted = orjson.dumps(record_id)
    for index, line in enumerate(lines):
        if quoted in line and orjson.loads(line).get("event", {}).get("id") == record_id:
            return index
    return -1


def _log_proof(archive: Archive, manifest: Manifest, extra: bytes) -> bytes:
    """Return the tlog proof of a batch in the newest tree."""
    sequence = manifest.sequence
    try:
        size = max(_newest(archive), sequence + 1)
        note = archive.read(checkpoint_name(size), MAX_CHECKPOINT)
        tree = Tiles(archive, Checkpoint.parse(split_note(note)[0]))
        return LogProof(sequence, tuple(tree.path(sequence)), note + _cosignatures(archive, size), extra).encode()
    except (FileNotFoundError, NoteError, TreeError) as error:
        raise IntegrityError(f"{archive.place}: batch {sequence} cannot be proven ({error})", "run verify") from None


def _newest(archive: Archive) -> int:
    """Return the size that the pointer speaks of. It is a hint; the checkpoint of that size decides."""
    try:
        return Checkpoint.parse(split_note(archive.read(POINTER, MAX_CHECKPOINT))[0]).size
    except (FileNotFoundError, NoteError):
        return 0


def _cosignatures(archive: Archive, size: int) -> bytes:
    """Return the witnesses' signature lines over a checkpoint, which a note may have behind the log's own."""
    found = b""
    for key in islice(archive.keys(f"cosignatures/{size:020d}/"), MAX_COSIGNATURES):
        lines = archive.read(key, MAX_CHECKPOINT)
        try:
            signatures(lines)
        except NoteError:
            continue  # verify tells of it
        found += lines
    return found
