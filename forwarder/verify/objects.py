"""The contents of a batch: its records, their leaves, its evidence."""

from __future__ import annotations

from collections.abc import Iterator
from hashlib import sha256
from io import BytesIO
from typing import IO, Any, Final

import zstandard

from forwarder.seal import merkle
from forwarder.seal.manifest import MAX_RECORD_BYTES, MAX_RECORDS, TIMESTAMP, Evidence, Manifest, digest
from forwarder.verify.policy import Policy
from forwarder.verify.verdict import LogVerdict

CHUNK: Final = 1 << 18
PIECE: Final = 1 << 11
"""Compressed bytes that are decompressed at a time: four may become 128 KiB, so this bounds memory by 64 MiB."""
CHECKSUM_FLAG: Final = 0x04
CHECKSUM_BYTES: Final = 4
MAX_NAMED: Final = 10
"""Records that are named in one batch; more only make the list longer."""
HASH: Final = 32


class _Hashed:
    """A file that hashes and counts what is read from it.

    A file much larger than it should be is not read to its end; one that is somewhat larger is, so that the record
    that made it larger can be named.
    """

    def __init__(self, file: IO[bytes], expected: int) -> None:
        self._file, self._left = file, read_limit(expected)
        self.sha256, self.size = sha256(), 0

    def read(self, size: int = CHUNK, /) -> bytes:
        data = self._file.read(min(size, self._left))
        self._left -= len(data)
        self.size += len(data)
        self.sha256.update(data)
        return data

    def drain(self) -> None:
        while self.read():
            pass


def _decompressed(file: _Hashed, limit: int, problems: list[str]) -> Iterator[bytes]:
    """Yield the content of exactly one zstd frame; say what is wrong with the rest.

    The frame's own checksum is left aside, because it would hide the content of a damaged frame, in which the
    record leaves can tell what was changed; SHA-256 over all of it has the say anyway.
    """
    decompressor = zstandard.ZstdDecompressor(max_window_size=1 << 27).decompressobj()
    size, first, rest, waiting = 0, True, b"", 0
    ready: list[bytes] = []
    while not decompressor.eof and (data := file.read(CHUNK)):
        if first:  # RFC 8878, 3.1.1.1.1: bit 2 of the byte after the magic number says that a checksum follows
            if len(data) < 6 or not data[4] & CHECKSUM_FLAG:  # noqa: PLR2004
                problems.append("has no content checksum")
            data = data[:4] + bytes([data[4] & ~CHECKSUM_FLAG]) + data[5:] if len(data) > 4 else data  # noqa: PLR2004
            first = False
        for start in range(0, len(data), PIECE):
            if decompressor.eof:
                rest = data[start:]
                break
            try:
                content = decompressor.decompress(data[start : start + PIECE])
            except zstandard.ZstdError as error:
                problems.append(f"does not decompress after {size} bytes: {error}")
                yield b"".join(ready)
                return
            size += len(content)
            if size > limit:
                problems.append("decompresses to more than the manifest says")
                return
            ready.append(content)
            waiting += len(content)
            if waiting >= CHUNK:
                yield b"".join(ready)
                ready, waiting = [], 0
    yield b"".join(ready)
    rest = decompressor.unused_data + rest + file.read(CHECKSUM_BYTES + 1)
    if not decompressor.eof or len(rest) < CHECKSUM_BYTES:
        problems.append("ends inside its compressed frame")
    elif len(rest) > CHECKSUM_BYTES:
        problems.append("has bytes after its compressed frame")


def read_limit(expected: int) -> int:
    """Return how many bytes of an object are read that should have so many."""
    return 2 * expected + (1 << 20)


class _Lines:
    """The record lines of a batch while they come: their leaves, times and hash."""

    def __init__(self, manifest: Manifest, leaves: list[bytes], verdict: LogVerdict) -> None:
        self._manifest, self._leaves, self._verdict = manifest, leaves, verdict
        self.raw = sha256()
        self.found: list[bytes] = []
        self.wrong = 0
        self.earliest, self.latest = b"~", b""
        self.rest = b""

    def add(self, content: bytes) -> None:
        """Take the next bytes of the decompressed object."""
        self.raw.update(content)
        *lines, self.rest = (self.rest + content).split(b"\n")
        if not lines:
            return
        first = len(self.found)
        self.found += [sha256(b"\x00" + line).digest() for line in lines]
        times = {line[TIMESTAMP] for line in lines}
        self.earliest, self.latest = min(self.earliest, *times), max(self.latest, *times)
        if self._leaves and self._leaves[first : len(self.found)] != self.found[first:]:
            self._name(first, lines)

    def _name(self, first: int, lines: list[bytes]) -> None:
        """Name each record that is not the sealed one; the first ten of a batch are enough."""
        for index, line in enumerate(lines, first):
            sealed = self._leaves[index] if index < len(self._leaves) else b""
            if sealed == self.found[index]:
                continue
            self.wrong += 1
            if self.wrong <= MAX_NAMED:
                shown = line[:200].decode(errors="replace")
                self._verdict.add(
                    "record-changed",
                    f"the record is not the one that was sealed; it now reads {shown}…",
                    batch=self._manifest.sequence,
                    record=index,
                    object=self._manifest.records.name,
                    expected=sealed.hex(),
                    found=self.found[index].hex(),
                )

    @property
    def times(self) -> tuple[str, str]:
        """Smallest and largest time."""
        return self.earliest.decode(errors="replace"), self.latest.decode(errors="replace")


def check_records(
    manifest: Manifest, stored: bytes | None, leaf_object: bytes | None, policy: Policy, verdict: LogVerdict
) -> None:
    """Check the records object and the leaf object of a batch, and name each record that is not as it was sealed.

    Args:
        manifest: the batch.
        stored: the records object, of a larger one at least `read_limit` bytes; None when it is missing.
        leaf_object: likewise the leaf object.
        policy: how long they must be there.
        verdict: takes what is found.
    """
    records = manifest.records
    where: dict[str, Any] = {"batch": manifest.sequence, "object": records.name}
    leaves = _check_leaves(manifest, leaf_object, policy, verdict)
    if stored is None:
        if policy.expired(manifest.created):
            verdict.expired += 1
        else:
            verdict.add("records-missing", "the records object is missing", **where, expected=records.stored_sha256)
        return
    problems: list[str] = []
    lines = _Lines(manifest, leaves, verdict)
    file = _Hashed(BytesIO(stored), records.stored_bytes)
    for content in _decompressed(file, records.raw_bytes, problems):
        lines.add(content)
        if len(lines.found) > MAX_RECORDS or len(lines.rest) > MAX_RECORD_BYTES:
            problems.append("has more or longer records than a batch may have")
            break
    file.drain()
    verdict.bytes_read += file.size
    verdict.records += len(lines.found)
    if lines.rest:
        problems.append("its last line has no end")
    found = file.sha256.hexdigest()
    if found != records.stored_sha256 or file.size != records.stored_bytes:
        verdict.add(
            "records-changed",
            "the records object was changed",
            **where,
            expected=records.stored_sha256,
            found=found,
        )
        if len(lines.found) < records.count and leaves and not lines.wrong:
            verdict.add(
                "record-changed",
                f"this and the {records.count - len(lines.found) - 1} records after it cannot be read",
                **where,
                record=len(lines.found),
                expected=leaves[len(lines.found)].hex(),
            )
    for problem in problems:
        verdict.add("records-damaged", f"the records object {problem}", **where)
    _check_described(manifest, lines, verdict)


def _check_described(manifest: Manifest, lines: _Lines, verdict: LogVerdict) -> None:
    """Hold the lines against what the manifest says of them."""
    records = manifest.records
    where: dict[str, Any] = {"batch": manifest.sequence, "object": records.name}
    root = merkle.root(lines.found).hex()
    if root != records.root or len(lines.found) != records.count:
        verdict.add(
            "record-root",
            "the records are not those that were sealed",
            **where,
            expected=f"{records.count} records with root {records.root}",
            found=f"{len(lines.found)} with {root}",
        )
    elif (lines.raw.hexdigest(), *lines.times) != (records.raw_sha256, records.earliest, records.latest):
        verdict.add("records-misdescribed", "the manifest describes other records", **where)


def _check_leaves(manifest: Manifest, data: bytes | None, policy: Policy, verdict: LogVerdict) -> list[bytes]:
    """Return the sealed record leaves; none when the leaf object is not what was sealed."""
    records = manifest.records
    where: dict[str, Any] = {"batch": manifest.sequence, "object": records.leaves_name}
    if data is None:
        if policy.expired(manifest.created):
            verdict.expired += 1
        else:
            verdict.add("leaves-missing", "the leaf object is missing", **where, expected=records.leaves_sha256)
        return []
    verdict.bytes_read += len(data)
    if digest(data) != records.leaves_sha256:
        verdict.add(
            "leaves-changed",
            "the leaf object was changed",
            **where,
            expected=records.leaves_sha256,
            found=digest(data),
        )
        return []
    leaves = [data[i : i + HASH] for i in range(0, len(data), HASH)]
    if merkle.root(leaves).hex() != records.root:
        verdict.add("leaves-misdescribed", "its leaves do not give the record root", **where, expected=records.root)
        return []
    return leaves


def check_evidence(batch: int, item: Evidence, source: IO[bytes], verdict: LogVerdict) -> None:
    """Check one evidence object, which is read to its end and closed.

    Args:
        batch: the first batch that refers to it.
        item: what the manifest says of it.
        source: the object.
        verdict: takes what is found.
    """
    where: dict[str, Any] = {"batch": batch, "object": item.name}
    problems: list[str] = []
    raw, size = sha256(), 0
    with source:
        file = _Hashed(source, item.stored_bytes)
        for content in _decompressed(file, item.raw_bytes, problems):
            raw.update(content)
            size += len(content)
        file.drain()
    verdict.bytes_read += file.size
    verdict.evidence += 1
    stored = file.sha256.hexdigest()
    if stored != item.stored_sha256 or file.size != item.stored_bytes:
        verdict.add("evidence-changed", "the evidence was changed", **where, expected=item.stored_sha256, found=stored)
    for problem in problems:
        verdict.add("evidence-damaged", f"the evidence {problem}", **where)
    if not problems and (raw.hexdigest(), size) != (item.raw_sha256, item.raw_bytes):
        verdict.add(
            "evidence-misdescribed",
            "its content is not the raw input",
            **where,
            expected=item.raw_sha256,
            found=raw.hexdigest(),
        )
