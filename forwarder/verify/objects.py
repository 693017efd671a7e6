"""The contents of a batch: its records, their leaves, its evidence."""

from __future__ import annotations

from collections.abc import Iterator
from hashlib import sha256
from typing import IO, Any, Final

import zstandard

from forwarder.archive.interface import Archive
from forwarder.seal import merkle
from forwarder.seal.manifest import MAX_RECORD_BYTES, MAX_RECORDS, TIMESTAMP, Evidence, Manifest, digest
from forwarder.verify.verdict import LogVerdict

CHUNK: Final = 1 << 18
CHECKSUM_FLAG: Final = 0x04
CHECKSUM_BYTES: Final = 4


class _Hashed:
    """A file that hashes and counts what is read from it.

    A file much larger than it should be is not read to its end; one that is somewhat larger is, so that the record
    that made it larger can be named.
    """

    def __init__(self, file: IO[bytes], expected: int) -> None:
        self._file, self._left = file, 2 * expected + (1 << 20)
        self.sha256, self.size = sha256(), 0

    def read(self, size: int = CHUNK, /) -> bytes:
        data = self._file.read(min(size, self._left))
        self._left -= len(data)
        self.size += len(data)
        self.sha256.update(data)
        return data


def _decompressed(file: _Hashed, limit: int, problems: list[str]) -> Iterator[bytes]:
    """Yield the content of exactly one zstd frame; say what is wrong with the rest.

    The frame's own checksum is left aside, because it would hide the content of a damaged frame, in which the
    record leaves can tell what was changed; SHA-256 over all of it has the say anyway.
    """
    decompressor = zstandard.ZstdDecompressor(max_window_size=1 << 27).decompressobj()
    size, first, rest = 0, True, b""
    while not decompressor.eof and (data := file.read(CHUNK)):
        if first:  # RFC 8878, 3.1.1.1.1: bit 2 of the byte after the magic number says that a checksum follows
            if len(data) < 6 or not data[4] & CHECKSUM_FLAG:  # noqa: PLR2004
                problems.append("has no content checksum")
            data = data[:4] + bytes([data[4] & ~CHECKSUM_FLAG]) + data[5:] if len(data) > 4 else data  # noqa: PLR2004
            first = False
        try:
            content = decompressor.decompress(data)
        except zstandard.ZstdError as error:
            problems.append(f"does not decompress after {size} bytes: {error}")
            return
        size += len(content)
        if size > limit:
            problems.append("decompresses to more than the manifest says")
            return
        yield content
        rest = decompressor.unused_data
    rest += file.read(CHECKSUM_BYTES + 1)
    if not decompressor.eof or len(rest) < CHECKSUM_BYTES:
        problems.append("ends inside its compressed frame")
    elif len(rest) > CHECKSUM_BYTES:
        problems.append("has bytes after its compressed frame")


def check_records(archive: Archive, manifest: Manifest, verdict: LogVerdict) -> None:
    """Check the records object and the leaf object of a batch, and name each record that is not as it was sealed."""
    records = manifest.records
    if not records.count:
        return
    where: dict[str, Any] = {"batch": manifest.sequence, "object": records.name}
    leaves = _leaves(archive, manifest, verdict)
    try:
        source = archive.open(records.name)
    except FileNotFoundError:
        verdict.add("records-missing", "the records object is missing", **where, expected=records.stored_sha256)
        return
    problems: list[str] = []
    found: list[bytes] = []
    raw, rest, wrong = sha256(), b"", 0
    earliest, latest = "~", ""
    with source:
        file = _Hashed(source, records.stored_bytes)
        for content in _decompressed(file, records.raw_bytes, problems):
            raw.update(content)
            *lines, rest = (rest + content).split(b"\n")
            for line in lines:
                leaf = merkle.leaf_hash(line)
                if leaves and (len(found) >= len(leaves) or leaves[len(found)] != leaf):
                    wrong += 1
                    _wrong_record(verdict, manifest, len(found), leaves, leaf, line, wrong)
                found.append(leaf)
                time = line[TIMESTAMP].decode(errors="replace")
                earliest, latest = min(earliest, time), max(latest, time)
            if len(found) > MAX_RECORDS or len(rest) > MAX_RECORD_BYTES:
                problems.append("has more or longer records than a batch may have")
                break
        while file.read(CHUNK):
            pass
    verdict.bytes_read += file.size
    verdict.records += len(found)
    if rest:
        problems.append("its last line has no end")
    stored = file.sha256.hexdigest()
    if stored != records.stored_sha256 or file.size != records.stored_bytes:
        verdict.add(
            "records-changed",
            "the records object was changed",
            **where,
            expected=records.stored_sha256,
            found=stored,
        )
        if len(found) < records.count and leaves and not wrong:
            verdict.add(
                "record-changed",
                f"this and the {records.count - len(found) - 1} records after it cannot be read",
                **where,
                record=len(found),
                expected=leaves[len(found)].hex(),
            )
    for problem in problems:
        verdict.add("records-damaged", f"the records object {problem}", **where)
    root = merkle.root(found).hex()
    if root != records.root or len(found) != records.count:
        verdict.add(
            "record-root",
            "the records are not those that were sealed",
            **where,
            expected=f"{records.count} records with root {records.root}",
            found=f"{len(found)} with {root}",
        )
    elif (raw.hexdigest(), earliest, latest) != (records.raw_sha256, records.earliest, records.latest):
        verdict.add("records-misdescribed", "the manifest describes other records", **where)


def _wrong_record(
    verdict: LogVerdict,
    manifest: Manifest,
    index: int,
    leaves: list[bytes],
    leaf: bytes,
    line: bytes,
    wrong: int,
) -> None:
    """Name one record that is not the sealed one; the first ten of a batch are enough."""
    most = 10
    if wrong <= most:
        verdict.add(
            "record-changed",
            f"the record is not the one that was sealed; it now reads {line[:200].decode(errors='replace')}…",
            batch=manifest.sequence,
            record=index,
            object=manifest.records.name,
            expected=leaves[index].hex() if index < len(leaves) else "",
            found=leaf.hex(),
        )


def _leaves(archive: Archive, manifest: Manifest, verdict: LogVerdict) -> list[bytes]:
    """Return the sealed record leaves; none when the leaf object is not what was sealed."""
    records = manifest.records
    where: dict[str, Any] = {"batch": manifest.sequence, "object": records.leaves_name}
    try:
        data = archive.read(records.leaves_name, 32 * MAX_RECORDS)
    except FileNotFoundError:
        verdict.add("leaves-missing", "the leaf object is missing", **where, expected=records.leaves_sha256)
        return []
    verdict.bytes_read += len(data)
    leaves = [data[i : i + 32] for i in range(0, len(data), 32)]
    if digest(data) != records.leaves_sha256:
        verdict.add(
            "leaves-changed",
            "the leaf object was changed",
            **where,
            expected=records.leaves_sha256,
            found=digest(data),
        )
        return []
    if merkle.root(leaves).hex() != records.root:
        verdict.add("leaves-misdescribed", "its leaves do not give the record root", **where, expected=records.root)
        return []
    return leaves


def check_evidence(archive: Archive, manifest: Manifest, item: Evidence, verdict: LogVerdict) -> None:
    """Check one evidence object."""
    where: dict[str, Any] = {"batch": manifest.sequence, "object": item.name}
    try:
        source = archive.open(item.name)
    except FileNotFoundError:
        verdict.add("evidence-missing", "the evidence is missing", **where, expected=item.stored_sha256)
        return
    problems: list[str] = []
    raw, size = sha256(), 0
    with source:
        file = _Hashed(source, item.stored_bytes)
        for content in _decompressed(file, item.raw_bytes, problems):
            raw.update(content)
            size += len(content)
        while file.read(CHUNK):
            pass
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
