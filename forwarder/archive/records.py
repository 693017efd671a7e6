"""The sealed records of a batch, read from an archive for use; `verify` is for judging them."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

import zstandard

from forwarder.archive.interface import Archive
from forwarder.errors import IntegrityError
from forwarder.seal.manifest import (
    MAX_MANIFEST_BYTES,
    NO_PREVIOUS,
    Manifest,
    ManifestError,
    digest,
    manifest_name,
)

CHUNK: Final = 1 << 18


def manifest(archive: Archive, sequence: int, expected: str) -> Manifest:
    """Return the manifest of a batch.

    Args:
        archive: the log's archive.
        sequence: the batch.
        expected: SHA-256 of the manifest's stored bytes, hex.

    Raises:
        IntegrityError: the archive does not have it, or something else in its place.
    """
    name = manifest_name(sequence)
    try:
        data = archive.read(name, MAX_MANIFEST_BYTES)
        if digest(data) != expected:
            raise ManifestError("its hash is wrong")
        return Manifest.decode(data)
    except FileNotFoundError:
        raise IntegrityError(f"{archive.place}: {name} is missing", "run verify") from None
    except ManifestError as error:
        raise IntegrityError(f"{archive.place}: {name} is not what was sealed ({error})", "run verify") from None


def batches(archive: Archive) -> Iterator[Manifest]:
    """Yield the manifests of all batches, for those who have no ledger to say what the log holds.

    Each is held against its hash in the next; that no other log was put in this one's place, and that none of its
    newest batches is gone, only `verify` can tell.

    Raises:
        IntegrityError: a batch is missing between others, or is not what was sealed.
    """
    names = {key for key in archive.keys() if key.endswith("/manifest.json")}  # noqa: SIM118 - no dict
    previous = NO_PREVIOUS
    for sequence in range(len(names)):
        name = manifest_name(sequence)
        if name not in names:
            raise IntegrityError(f"{archive.place}: {name} is missing", "run verify")
        data = archive.read(name, MAX_MANIFEST_BYTES)
        try:
            batch = Manifest.decode(data)
        except ManifestError as error:
            raise IntegrityError(f"{archive.place}: {name} is not what was sealed ({error})", "run verify") from None
        if batch.previous != previous:
            raise IntegrityError(f"{archive.place}: the batch before {name} is not what was sealed", "run verify")
        previous = digest(data)
        yield batch


def lines(archive: Archive, batch: Manifest) -> Iterator[bytes]:
    """Yield the records of a batch, without their newlines.

    The stored bytes are read once and hashed, all of them, before any is used: nothing that was changed is ever passed
    on, also when it is changed meanwhile. A batch is small enough for that.

    Raises:
        IntegrityError: the archive does not have them, or something else in their place.
    """
    if not batch.records.count:
        return
    name = batch.records.name
    try:
        data = archive.read(name, batch.records.stored_bytes)
    except FileNotFoundError:
        raise IntegrityError(f"{archive.place}: {name} is missing", "run verify") from None
    if digest(data) != batch.records.stored_sha256:
        raise IntegrityError(f"{archive.place}: {name} is not what was sealed", "run verify")
    yield from split(data)


def split(stored: bytes) -> Iterator[bytes]:
    """Yield the lines in a records object that was found to be the sealed one, without their newlines."""
    reader = zstandard.ZstdDecompressor().stream_reader(stored)
    rest = b""
    while chunk := reader.read(CHUNK):
        *whole, rest = (rest + chunk).split(b"\n")
        yield from whole
