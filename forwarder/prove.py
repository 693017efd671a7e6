"""Taking one record out of an archive, with all that is needed to prove that it was sealed there."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Final

import orjson

from forwarder.archive import records
from forwarder.archive.interface import POINTER, Archive
from forwarder.errors import IntegrityError, NothingError
from forwarder.seal import merkle, tiles
from forwarder.seal.manifest import MAX_MANIFEST_BYTES, Manifest, ManifestError, checkpoint_name, digest, manifest_name
from forwarder.seal.note import Checkpoint, NoteError
from forwarder.seal.proof import LogProof, RecordProof

MAX_CHECKPOINT: Final = 1 << 16


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
        leaves = _leaves(archive, size)
        proof = LogProof(
            sequence,
            tuple(merkle.inclusion_path(leaves, sequence)),
            archive.read(checkpoint_name(size), MAX_CHECKPOINT),
            extra,
        )
    except FileNotFoundError as error:
        raise IntegrityError(f"{archive.place}: {error.filename or error} is missing", "run verify") from None
    leaf = merkle.leaf_hash(tiles.entry(sequence, digest(manifest.encode())))
    if leaves[sequence] != leaf:
        raise IntegrityError(f"{archive.place}: {manifest.name} is not the batch that was sealed", "run verify")
    return proof.encode()


def _newest(archive: Archive) -> int:
    """Return the size that the pointer speaks of. It is a hint; the checkpoint of that size decides."""
    try:
        text, _, _ = archive.read(POINTER, MAX_CHECKPOINT).partition(b"\n\n")
        return Checkpoint.parse(text + b"\n").size
    except (FileNotFoundError, NoteError):
        return 0


def _leaves(archive: Archive, size: int) -> list[bytes]:
    """Return the log's leaf hashes, from its tiles."""
    found: list[bytes] = []
    for index in range(-(-size // tiles.WIDTH)):
        width = min(tiles.WIDTH, size - index * tiles.WIDTH)
        name = tiles.path(0, index, width)
        data = archive.read(name, width * len(merkle.EMPTY))
        if len(data) != width * len(merkle.EMPTY):
            raise IntegrityError(f"{archive.place}: {name} is not the tile that was written", "run verify")
        found += [data[i : i + 32] for i in range(0, len(data), 32)]
    return found
