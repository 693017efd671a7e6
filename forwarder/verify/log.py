"""One log: its manifests' chain, its tree, its tiles and checkpoints, and that nothing else is there."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Final

from forwarder.archive.interface import POINTER, Archive
from forwarder.durable import PART
from forwarder.seal import merkle, tiles
from forwarder.seal.manifest import (
    MAX_MANIFEST_BYTES,
    NO_PREVIOUS,
    Manifest,
    ManifestError,
    checkpoint_name,
    digest,
    manifest_name,
)
from forwarder.seal.note import Checkpoint, NoteError, Verifier, open_checkpoint
from forwarder.verify.objects import check_evidence, check_records
from forwarder.verify.verdict import LogVerdict

MAX_CHECKPOINT: Final = 1 << 16


class Tree:
    """The log's tree while its leaves come: all hashes of its newest tiles, and the root at each size."""

    def __init__(self) -> None:
        self.size = 0
        self._levels: list[list[bytes]] = []
        self._entries: list[bytes] = []

    def add(self, entry: bytes) -> Iterator[tuple[str, bytes]]:
        """Add a leaf and yield (path, bytes) of each tile that it brings."""
        if len(self._entries) == tiles.WIDTH:
            self._entries = []
        self._entries.append(entry)
        self.size += 1
        self._add(0, merkle.leaf_hash(entry))
        for level, index, width in tiles.right_edge(self.size):
            yield tiles.path(level, index, width), b"".join(self._levels[level])
            if level == 0:
                yield tiles.path("entries", index, width), tiles.bundle(self._entries)

    def _add(self, level: int, value: bytes) -> None:
        if level == len(self._levels):
            self._levels.append([])
        if len(self._levels[level]) == tiles.WIDTH:
            self._levels[level] = []
        self._levels[level].append(value)
        if len(self._levels[level]) == tiles.WIDTH:
            self._add(level + 1, merkle.root(self._levels[level]))

    def root(self) -> bytes:
        """Return the root over all leaves added."""
        edge = [[] if len(level) == tiles.WIDTH else level for level in self._levels]
        return tiles.root(self.size, edge)


def verify_log(
    archive: Archive, verifier: Verifier, pins: list[Checkpoint], advance: Callable[[int], object]
) -> LogVerdict:
    """Verify one log.

    Args:
        archive: the log's objects.
        verifier: its public key.
        pins: checkpoints known from elsewhere, which the log must contain.
        advance: called with 1 for each batch that was checked.
    """
    verdict = LogVerdict(verifier.name)
    listed = set(archive.keys())  # before the manifests: an object that a running forwarder adds later is not stray
    expected: set[str] = {POINTER}
    tree = Tree()
    roots = {pin.size: pin.root for pin in pins}
    previous, first_record = NO_PREVIOUS, 0
    seen_evidence: set[str] = set()
    while True:
        name = manifest_name(tree.size)
        try:
            data = archive.read(name, MAX_MANIFEST_BYTES)
        except FileNotFoundError:
            break
        sequence = tree.size
        expected.add(name)
        verdict.bytes_read += len(data)
        for path, content in tree.add(tiles.entry(sequence, digest(data))):
            expected.add(path)
            _check_exact(archive, path, content, sequence, verdict)
        _check_checkpoint(archive, tree, verifier, verdict, expected)
        if tree.size in roots and roots[tree.size] != tree.root():
            verdict.add(
                "rewritten",
                f"the log's first {tree.size} batches are not those that were verified or pinned before",
                expected=roots[tree.size].hex(),
                found=tree.root().hex(),
            )
        try:
            manifest = Manifest.decode(data)
        except ManifestError as error:
            verdict.add("manifest-malformed", f"the manifest is {error}", batch=sequence, object=name)
            previous = digest(data)
            advance(1)
            continue
        _check_chain(manifest, verifier.name, sequence, previous, first_record, verdict)
        previous, first_record = digest(data), manifest.first_record + manifest.records.count
        verdict.sealed_until = manifest.created
        verdict.batches += 1
        if manifest.records.count:
            expected |= {manifest.records.name, manifest.records.leaves_name}
        check_records(archive, manifest, verdict)
        for item in manifest.evidence:
            if item.stored_sha256:
                expected.add(item.name)
                if item.stored_sha256 not in seen_evidence:
                    seen_evidence.add(item.stored_sha256)
                    check_evidence(archive, manifest, item, verdict)
        advance(1)
    _check_rest(archive, listed - expected, tree.size, verdict)
    _check_pointer(archive, verdict, tree.size)
    _check_pins(pins, tree.size, verdict)
    _conclude(verdict, verifier, pins)
    return verdict


def _check_exact(archive: Archive, path: str, content: bytes, sequence: int, verdict: LogVerdict) -> None:
    """Check an object whose bytes follow from the manifests."""
    try:
        found = archive.read(path, len(content))
    except FileNotFoundError:
        verdict.add("tile-missing", "the tile is missing", batch=sequence, object=path, expected=digest(content))
        return
    verdict.bytes_read += len(found)
    if found != content:
        verdict.add(
            "tile-changed",
            "the tile does not follow from the manifests",
            batch=sequence,
            object=path,
            expected=digest(content),
            found=digest(found),
        )


def _check_checkpoint(
    archive: Archive, tree: Tree, verifier: Verifier, verdict: LogVerdict, expected: set[str]
) -> None:
    """Check the checkpoint for the tree's present size."""
    name = checkpoint_name(tree.size)
    batch = tree.size - 1
    expected.add(name)
    try:
        note = archive.read(name, MAX_CHECKPOINT)
    except FileNotFoundError:
        verdict.add(
            "checkpoint-missing",
            "no checkpoint seals this batch; if the forwarder was stopped here, it does when it runs again",
            batch=batch,
            object=name,
        )
        return
    verdict.bytes_read += len(note)
    try:
        checkpoint = open_checkpoint(note, verifier)
    except NoteError as error:
        verdict.add("checkpoint-invalid", f"the checkpoint is invalid: {error}", batch=batch, object=name)
        return
    wanted = Checkpoint(verifier.name, tree.size, tree.root())
    if checkpoint != wanted:
        verdict.add(
            "checkpoint-differs",
            "the checkpoint was signed for another log than this: a manifest was changed, or it was exchanged",
            batch=batch,
            object=name,
            expected=f"{checkpoint.origin} {checkpoint.size} {checkpoint.root.hex()}",
            found=f"{wanted.origin} {wanted.size} {wanted.root.hex()}",
        )
        return
    verdict.size, verdict.root, verdict.checkpoint = tree.size, wanted.root.hex(), note


def _check_chain(
    manifest: Manifest, origin: str, sequence: int, previous: str, first_record: int, verdict: LogVerdict
) -> None:
    """Check what a manifest says of its place."""
    for name, wanted, found in (
        ("origin", origin, manifest.origin),
        ("sequence", sequence, manifest.sequence),
        ("previous", previous, manifest.previous),
        ("first_record", first_record, manifest.first_record),
    ):
        if wanted != found:
            verdict.add(
                "chain-broken",
                f"the manifest's {name} is wrong",
                batch=sequence,
                object=manifest_name(sequence),
                expected=str(wanted),
                found=str(found),
            )


def _check_rest(archive: Archive, stray: set[str], size: int, verdict: LogVerdict) -> None:
    """Judge what no manifest leads to."""
    for key in sorted(stray):
        if key.endswith(PART):
            verdict.notes.append(f"{key} was being written when a machine stopped; it is not part of the archive")
        elif key.startswith("batches/"):
            verdict.add("gap", f"the manifest stands behind a gap: batch {size} is missing", object=key)
        elif key.startswith("checkpoints/"):
            verdict.add(
                "batches-missing",
                f"the log once was longer: batch {size} and maybe more are missing",
                object=key,
            )
        elif archive.has(key):
            verdict.add("stray", "nothing in the log leads to this object", object=key)


def _check_pointer(archive: Archive, verdict: LogVerdict, size: int) -> None:
    """Judge the mutable pointer, which nothing rests on."""
    try:
        pointer = archive.read(POINTER, MAX_CHECKPOINT)
    except FileNotFoundError:
        if size:
            verdict.add("pointer-missing", "the newest checkpoint's copy is missing", object=POINTER)
        return
    if pointer == verdict.checkpoint:
        return
    for older in range(size - 1, 0, -1):
        try:
            if archive.read(checkpoint_name(older), MAX_CHECKPOINT) == pointer:
                verdict.notes.append(
                    f"{POINTER} is that of size {older}: the forwarder was stopped, or someone put it back"
                )
                return
        except FileNotFoundError:
            continue
    verdict.add("pointer-changed", "it is none of the log's checkpoints", object=POINTER)


def _check_pins(pins: list[Checkpoint], size: int, verdict: LogVerdict) -> None:
    for pin in pins:
        if pin.size > size:
            verdict.add(
                "cut-off",
                "the newest batches are gone",
                expected=f"at least {pin.size} batches, as verified or pinned before",
                found=f"{size}",
            )


def _conclude(verdict: LogVerdict, verifier: Verifier, pins: list[Checkpoint]) -> None:
    """Say what the verdict rests on."""
    verdict.rests_on.append(f"the public key {verifier}")
    if pins:
        newest = max(pin.size for pin in pins)
        verdict.rests_on.append(f"a checkpoint of size {newest} known from before")
        verdict.cannot_exclude.append(f"that batches from {newest} on were cut off or rewritten by the key's holder")
    else:
        verdict.cannot_exclude.append("that the newest batches were cut off together with their checkpoints")
        verdict.cannot_exclude.append("that the holder of the private key wrote the whole log anew")
    verdict.cannot_exclude.append("that nmap was wrong or the forwarder's clock was: only sealed bytes are proven")
