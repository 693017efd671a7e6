"""Batches on their way into the archive: written, sealed, and put there, in an order that survives a crash.

docs/SEALED_ARCHIVE.md describes the objects; the order is: all objects durable, intent in the ledger, checkpoint
signed and durable, sealed in the ledger; then into the archive, the manifest as the commit.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterable, Iterator, Sequence
from hashlib import sha256
from pathlib import Path
from typing import Final

import zstandard

from forwarder import durable
from forwarder.archive.directory import DirectoryArchive
from forwarder.archive.interface import Archive, Receipt
from forwarder.errors import IntegrityError
from forwarder.ledger import ANCHORED, Ledger
from forwarder.seal import merkle, tiles
from forwarder.seal.manifest import (
    MAX_RAW_BYTES,
    MAX_RECORDS,
    TIMESTAMP,
    Manifest,
    Records,
    checkpoint_name,
    digest,
    key_name,
    manifest_name,
)
from forwarder.seal.note import Checkpoint, Signer

CHUNK: Final = 1 << 18
"""Bytes of records that are compressed at a time."""
LEVEL: Final = 1
"""zstd level of records: they repeat so much that a higher one costs time and saves nothing."""


class RecordWriter:
    """Writes the records of one batch to disk while they come.

    Args:
        directory: the batch's directory in the outbox; emptied.
    """

    def __init__(self, directory: Path) -> None:
        shutil.rmtree(directory, ignore_errors=True)
        durable.make_directory(directory / "records")
        self._directory = directory
        self._part = directory / "records" / f"new{durable.PART}"
        self._file = self._part.open("wb")
        self._compressor = zstandard.ZstdCompressor(level=LEVEL, write_checksum=True).compressobj()
        self._raw, self._stored = sha256(), sha256()
        self._raw_bytes = self._stored_bytes = 0
        self._leaves: list[bytes] = []
        self._waiting: list[bytes] = []
        self._waiting_bytes = 0
        self._count = self._bytes = 0
        self._earliest, self._latest = b"~", b""

    @property
    def full(self) -> bool:
        """Tell whether the batch has to be cut."""
        return self._count >= MAX_RECORDS or self._bytes >= MAX_RAW_BYTES

    def add(self, line: bytes) -> bool:
        """Write one record, given as canonical JSON; tell whether the batch has to be cut before the next."""
        self._take(line + b"\n", 1)
        return self.full

    def add_all(self, data: bytes, count: int) -> bool:
        """Write records, if the batch has room for all and need not be cut then; tell whether it had.

        Args:
            data: each as canonical JSON with a line feed.
            count: how many they are.
        """
        if self._count + count >= MAX_RECORDS or self._bytes + len(data) >= MAX_RAW_BYTES:
            return False
        self._take(data, count)
        return True

    def _take(self, data: bytes, count: int) -> None:
        self._waiting.append(data)
        self._waiting_bytes += len(data)
        self._count += count
        self._bytes += len(data)
        if self._waiting_bytes >= CHUNK:
            self._compress()

    def _compress(self) -> None:
        """Hash and compress what was gathered; to compress record by record would take twice the time."""
        if self._waiting:
            data = b"".join(self._waiting)
            lines = data.split(b"\n")[:-1]
            self._leaves += merkle.leaf_hashes(lines)
            times = {line[TIMESTAMP] for line in lines}
            self._earliest, self._latest = min(self._earliest, *times), max(self._latest, *times)
            self._raw.update(data)
            self._raw_bytes += len(data)
            self._write(self._compressor.compress(data))
            self._waiting, self._waiting_bytes = [], 0

    def _write(self, data: bytes) -> None:
        if data:
            self._stored.update(data)
            self._stored_bytes += self._file.write(data)

    def close(self) -> Records:
        """Make the records object and the leaf object durable, and return what the manifest says of them."""
        self._compress()
        self._write(self._compressor.flush())
        self._file.flush()
        os.fsync(self._file.fileno())
        self._file.close()
        leaves = b"".join(self._leaves)
        records = Records(
            count=len(self._leaves),
            root=merkle.root(self._leaves).hex(),
            raw_bytes=self._raw_bytes,
            raw_sha256=self._raw.hexdigest(),
            stored_bytes=self._stored_bytes,
            stored_sha256=self._stored.hexdigest(),
            leaves_sha256=digest(leaves),
            earliest=self._earliest.decode(),
            latest=self._latest.decode(),
        )
        durable.write(self._directory / records.leaves_name, leaves)
        durable.commit(self._part, self._directory / records.name)
        return records

    def abandon(self) -> None:
        """Throw the batch away."""
        self._file.close()
        shutil.rmtree(self._directory, ignore_errors=True)


def directory_of(outbox: Path, sequence: int) -> Path:
    """Return a batch's directory."""
    return outbox / f"{sequence:020d}"


def sealed(directory: Path) -> Archive:
    """Return a batch's directory as an archive, to read a batch from that is in no other yet."""
    return DirectoryArchive(directory, "")


def stage(directory: Path, manifest: Manifest, spool: Path) -> str:
    """Put a batch's evidence and manifest beside its records, durably; return the manifest's hash."""
    for item in manifest.evidence:
        if item.stored_sha256:
            target = directory / item.name
            target.unlink(missing_ok=True)
            durable.link(spool / f"{item.raw_sha256}.zst", target)
    if manifest.key:
        durable.write(directory / key_name(manifest.sequence), f"{manifest.key.new}\n".encode())
    data = manifest.encode()
    durable.write(directory / manifest.name, data)
    return digest(data)


def stage_tiles(directory: Path, ledger: Ledger, size: int) -> None:
    """Write the tiles that the log's size-th leaf brings; the ledger knows the leaf."""
    for level, index, width in tiles.right_edge(size):
        first, end = index * tiles.WIDTH, index * tiles.WIDTH + width
        durable.write(directory / tiles.path(level, index, width), b"".join(ledger.nodes(level, first, end)))
        if level == 0:
            hashes = ledger.manifests(first, end)
            entries = [tiles.entry(first + i, value) for i, value in enumerate(hashes)]
            durable.write(directory / tiles.path("entries", index, width), tiles.bundle(entries))


def sign(directory: Path, ledger: Ledger, signers: Sequence[Signer], size: int) -> None:
    """Sign the checkpoint of a size and make it durable; doing it again gives the same bytes."""
    checkpoint = Checkpoint(signers[0].verifier.name, size, ledger.root(size))
    durable.write(directory / checkpoint_name(size), checkpoint.sign(*signers))


def anchor(
    directory: Path, manifest: Manifest, archive: Archive, skip: frozenset[str], changes: Iterable[int] = ()
) -> dict[str, Receipt]:
    """Put a sealed batch into the archive, so that whoever finds its checkpoint finds all of it.

    Args:
        directory: the batch's directory in the outbox.
        manifest: the batch.
        archive: where to.
        skip: raw hashes of evidence that is there already, and only has to be kept as long as the rest.
        changes: earlier batches that changed keys: what proves them is kept as long as what the new keys sign.

    Returns:
        What keeps each object, by key; empty where nothing does.

    Raises:
        IntegrityError: the archive holds something else under one of the keys.
        OSError: the archive cannot be written.
    """
    known = {item.name for item in manifest.evidence if item.raw_sha256 in skip}
    receipts = {}
    for key in _keys(manifest):
        try:
            receipts[key] = archive.keep(key) if key in known else archive.put(key, directory / key)
        except FileNotFoundError:
            receipts[key] = archive.put(key, directory / key)
    lasting = dict.fromkeys(_frontier(manifest.sequence + 1))
    for sequence in changes:
        lasting |= dict.fromkeys(_change(sequence))
    for key in lasting.keys() - receipts.keys():
        receipts[key] = archive.keep(key)
    archive.point((directory / checkpoint_name(manifest.sequence + 1)).read_bytes())
    return {key: receipt for key, receipt in receipts.items() if receipt}


def _keys(manifest: Manifest) -> Iterator[str]:
    """Yield the keys of a batch's objects in the order in which they are put."""
    if manifest.records.count:
        yield manifest.records.name
        yield manifest.records.leaves_name
    for item in manifest.evidence:
        if item.stored_sha256:
            yield item.name
    if manifest.key:
        yield key_name(manifest.sequence)
    yield manifest.name
    yield from tile_keys(manifest.sequence + 1)
    yield checkpoint_name(manifest.sequence + 1)


def tile_keys(size: int) -> Iterator[str]:
    """Yield the keys of the tiles that the log's size-th leaf brings."""
    for level, index, width in tiles.right_edge(size):
        yield tiles.path(level, index, width)
        if level == 0:
            yield tiles.path("entries", index, width)


def _frontier(size: int) -> Iterator[str]:
    """Yield the keys of older tiles that the root of a size is computed from: they live as long as its newest leaf."""
    new = set(tile_keys(size))
    level, count = 0, size
    while count:
        index, width = divmod(count, tiles.WIDTH)
        if width and (key := tiles.path(level, index, width)) not in new:
            yield key
        level, count = level + 1, index


def _change(sequence: int) -> Iterator[str]:
    """Yield the keys of what proves a change of keys: that the batch says so, and that both keys signed its tree."""
    yield from (key_name(sequence), manifest_name(sequence), checkpoint_name(sequence + 1))
    yield from (key for key in tile_keys(sequence + 1) if not key.startswith("tile/entries/"))
    yield from _frontier(sequence + 1)


def check_head(archive: Archive, ledger: Ledger, origin: str) -> None:
    """Refuse to go on when the archive does not end where our ledger says.

    Raises:
        IntegrityError: it has a batch that is not ours, or lacks ours: another writer, a restored state directory, or
            another archive than before.
        TemporaryError: it cannot be reached.
        UsageError: it does not keep objects as it should.
    """
    archive.prepare()
    last = ledger.last_batch()
    anchored = ledger.last_batch(*ANCHORED)
    size = anchored.sequence + 1 if anchored else 0
    if size:
        expected = Checkpoint(origin, size, ledger.root(size)).text
        try:
            found = archive.read(checkpoint_name(size), 1 << 16)
        except FileNotFoundError:
            found = b""
        if not found.startswith(expected):
            raise IntegrityError(
                f"{archive.place} does not hold this log's checkpoint of size {size}",
                "give the archive that was used before; if somebody else wrote to it, run verify",
            )
    beyond = last.sequence + 1 if last else 0
    if archive.beyond(beyond):
        raise _fork(archive, beyond)


def check_free(directory: Path, manifest: Manifest, archive: Archive) -> None:
    """Refuse to put a batch in whose place, or behind it, there is another.

    Raises:
        IntegrityError: there is.
    """
    ours = (directory / manifest.name).read_bytes()
    try:
        there = archive.read(manifest.name, len(ours))
    except FileNotFoundError:
        there = ours
    if there != ours:
        raise _fork(archive, manifest.sequence)
    if archive.beyond(manifest.sequence + 1):
        raise _fork(archive, manifest.sequence + 1)


def _fork(archive: Archive, sequence: int) -> IntegrityError:
    return IntegrityError(
        f"{archive.place} already has a batch {sequence} that this state directory did not seal",
        "an old state directory was restored, or two forwarders share a key; stop the other one and go on from its "
        "end with nmap-forwarder adopt, or begin a log of its own in a new state directory",
    )


def keep_only(outbox: Path, wanted: set[Path]) -> None:
    """Remove the directories of batches that are in the archive, or were never promised."""
    for path in outbox.iterdir():
        if path not in wanted:
            shutil.rmtree(path)
