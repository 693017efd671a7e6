"""One span of a log: the batches that share a tile of level 0, up to 256 of them.

A span is checked without anything of the spans before it, so several are at a time: the tiles and bundles of level 0
follow from its own manifests. What joins it to the rest is handed back: leaves, signed roots, first and last link.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any, Final

from forwarder.archive.interface import Archive
from forwarder.seal import merkle, tiles
from forwarder.seal.manifest import (
    MAX_MANIFEST_BYTES,
    Evidence,
    Manifest,
    ManifestError,
    checkpoint_name,
    digest,
    key_name,
    manifest_name,
)
from forwarder.seal.note import Checkpoint, NoteError
from forwarder.verify.content import SMALL, Named, Reference, check_contents, check_evidences, fetch
from forwarder.verify.keys import Keys, change_in, vkey_problem
from forwarder.verify.policy import Policy
from forwarder.verify.policy import time as moment
from forwarder.verify.tree import Link, behind, leaves
from forwarder.verify.verdict import LogVerdict

MAX_CHECKPOINT: Final = 1 << 16
"""Longest note that is read."""
BUDGET: Final = 32 << 20
"""Bytes of records, before compression, that are checked as one piece of work."""


@dataclass(frozen=True, slots=True)
class Job:
    """Which batches to check, and against what."""

    keys: Keys
    policy: Policy
    first: int
    """First batch; the rest of its tile follows."""
    known: tuple[str, ...] = ()
    """Hashes of the manifests before it in that tile."""


@dataclass(slots=True)
class Span:
    """What was found."""

    first: int
    verdict: LogVerdict
    hashes: list[str] = field(default_factory=list)
    """Hashes of the manifests, in order."""
    claims: list[Checkpoint | bytes | None] = field(default_factory=list)
    """For each batch its checkpoint: opened; the note, if the keys do not open it; None if it is missing."""
    begins: Link | None = None
    """What the first manifest says; None if it is malformed."""
    ends: Link | None = None
    """What the manifest behind the last must say."""
    names: list[tuple[str, str]] = field(default_factory=list)
    """Keys that the manifests name, and when the batch was sealed."""
    later: list[list[bytes]] = field(default_factory=list)
    """Manifests whose contents are still to be checked, in pieces of work."""
    evidence: list[Reference] = field(default_factory=list)
    """Evidence that is still to be checked."""

    @property
    def complete(self) -> bool:
        """Tell whether the span reaches the end of its tile, so that another may follow."""
        return (self.first + len(self.hashes)) % tiles.WIDTH == 0 and bool(self.hashes)


def check_span(archive: Archive, job: Job) -> Span:
    """Check the batches from one on, to the end of its tile or until a manifest is missing."""
    span = Span(job.first, LogVerdict(job.keys.origin))
    work = _Work(archive, job, span)
    manifests = list(work.manifests())
    _contents(archive, job.policy, span, manifests)
    return span


class _Work:
    """The walk over one span."""

    def __init__(self, archive: Archive, job: Job, span: Span) -> None:
        self.archive, self.job, self.span, self.verdict = archive, job, span, span.verdict
        base = job.first - len(job.known)
        self.leaves = b"".join(leaves(base, job.known))
        self.bundle = tiles.bundle([tiles.entry(base + i, value) for i, value in enumerate(job.known)])
        self.width = len(job.known)

    def manifests(self) -> Iterator[Manifest]:
        """Check manifests, tiles, checkpoints; yield the manifests that are well-formed."""
        base = self.job.first - self.width
        wanted = [self._names(sequence) for sequence in range(self.job.first, base + tiles.WIDTH)]
        found = fetch(self.archive, (name for names in wanted for name in names), self.verdict)
        for names in wanted:
            data, *rest = [next(found) for _ in names]
            if data is None:
                return
            if None in rest:
                rest = self._patiently(names[1:], rest)
            if manifest := self._batch(data, rest):
                yield manifest

    @staticmethod
    def _names(sequence: int) -> list[Named]:
        """Return the keys of what is read for a batch, the manifest first, the checkpoint last."""
        width = sequence % tiles.WIDTH + 1
        index = sequence // tiles.WIDTH
        return [
            (manifest_name(sequence), MAX_MANIFEST_BYTES),
            (tiles.path(0, index, width), width * len(merkle.EMPTY)),
            (tiles.path("entries", index, width), width * 256),
            (checkpoint_name(sequence + 1), MAX_CHECKPOINT),
        ]

    def _patiently(self, names: list[Named], found: list[bytes | None]) -> list[bytes | None]:
        """Read again what is missing: if the batch is the newest, a running forwarder may be putting it just now."""
        sequence = self.job.first + len(self.span.hashes)
        patience = self.job.policy.patience
        pause = 0.05
        while None in found and patience > 0 and not self.archive.has(manifest_name(sequence + 1)):
            time.sleep(min(pause, patience))
            patience -= pause
            pause *= 2
            found = list(fetch(self.archive, names, self.verdict))
        return found if None not in found else list(fetch(self.archive, names, self.verdict))

    def _batch(self, data: bytes, rest: list[bytes | None]) -> Manifest | None:
        """Check one batch's manifest, tile, bundle and checkpoint."""
        span, verdict = self.span, self.verdict
        sequence = self.job.first + len(span.hashes)
        sha256 = digest(data)
        entry = tiles.entry(sequence, sha256)
        self.leaves += merkle.leaf_hash(entry)
        self.bundle += tiles.bundle([entry])
        span.hashes.append(sha256)
        verdict.bytes_read += len(data) + sum(len(found) for found in rest if found)
        manifest = self._manifest(data, sequence, sha256)
        tile, bundle, note = rest
        names = self._names(sequence)
        gone = manifest is not None and self.job.policy.expired(manifest.created)
        for (name, _), expected, found in zip(names[1:3], (self.leaves, self.bundle), (tile, bundle), strict=True):
            check_exact(name, expected, found, sequence, verdict, expired=gone)
        span.claims.append(self._checkpoint(note, sequence, expired=gone))
        return manifest

    def _manifest(self, data: bytes, sequence: int, sha256: str) -> Manifest | None:
        span, verdict = self.span, self.verdict
        name = manifest_name(sequence)
        try:
            manifest = Manifest.decode(data)
            moment(manifest.created)
        except (ManifestError, ValueError) as error:
            verdict.add("manifest-malformed", f"the manifest is {error}", batch=sequence, object=name)
            span.ends = Link(sha256)
            return None
        for what, wanted, found in (
            ("origin", self.job.keys.origin, manifest.origin),
            ("sequence", sequence, manifest.sequence),
        ):
            if wanted != found:
                chain_broken(verdict, sequence, what, wanted, found)
        says = Link(manifest.previous, manifest.first_record, manifest.created)
        if span.ends is not None:
            check_link(span.ends, says, sequence, verdict)
        if len(span.hashes) == 1:
            span.begins = says
        span.ends = behind(manifest, sha256)
        verdict.batches += 1
        verdict.sealed_until = manifest.created
        self._names_of(manifest)
        self._lag(manifest)
        if manifest.key:
            self._key(manifest)
        return manifest

    def _names_of(self, manifest: Manifest) -> None:
        """Note which objects belong to a batch."""
        names = [item.name for item in manifest.evidence if item.stored_sha256]
        if manifest.records.count:
            names += [manifest.records.name, manifest.records.leaves_name]
        if manifest.key:
            names.append(key_name(manifest.sequence))
        self.span.names += [(name, manifest.created) for name in names]

    def _key(self, manifest: Manifest) -> None:
        """Hold a change of keys against what was known of it before the walk, and its copy against it."""
        where: dict[str, Any] = {"batch": manifest.sequence, "object": key_name(manifest.sequence)}
        (copy,) = fetch(self.archive, [(key_name(manifest.sequence), MAX_CHECKPOINT)], self.verdict)
        if problem := vkey_problem(manifest, copy):
            self.verdict.add("key-changed", f"the copy of the new key is wrong: {problem}", **where)
        if self.job.keys.change_at(manifest.sequence + 1) != change_in(manifest):
            self.verdict.add("key-unknown", "its change of keys does not join the keys that are known", **where)

    def _lag(self, manifest: Manifest) -> None:
        """Find batches that were sealed long after what they record."""
        limit = self.job.policy.max_lag
        if limit is None or not manifest.records.count:
            return
        try:
            late = moment(manifest.created) - moment(manifest.records.earliest) > limit
        except (ValueError, TypeError):
            return  # a record's time is held against the record itself
        if late:
            self.verdict.add(
                "sealed-late",
                "it was sealed later after what it records than is allowed",
                batch=manifest.sequence,
                object=manifest.name,
                expected=f"at most {limit} after {manifest.records.earliest}",
                found=manifest.created,
            )

    def _checkpoint(self, note: bytes | None, sequence: int, *, expired: bool) -> Checkpoint | bytes | None:
        if note is None:
            if expired:
                self.verdict.expired += 1
            else:
                self.verdict.add(
                    "checkpoint-missing",
                    "no checkpoint seals this batch; if the forwarder was stopped here, it does when it runs again",
                    batch=sequence,
                    object=checkpoint_name(sequence + 1),
                )
            return None
        try:
            return self.job.keys.open(note, sequence + 1)
        except NoteError:
            return note


def check_exact(
    name: str, expected: bytes, found: bytes | None, sequence: int, verdict: LogVerdict, *, expired: bool = False
) -> None:
    """Check an object whose bytes follow from the manifests."""
    where: dict[str, Any] = {"batch": sequence, "object": name}
    if found is None:
        if expired:
            verdict.expired += 1
        else:
            verdict.add("tile-missing", "the tile is missing", **where, expected=digest(expected))
    elif found != expected:
        verdict.add(
            "tile-changed",
            "the tile does not follow from the manifests",
            **where,
            expected=digest(expected),
            found=digest(found),
        )


def check_link(before: Link, says: Link, sequence: int, verdict: LogVerdict) -> None:
    """Hold what a manifest says against the batch before it."""
    if before.previous != says.previous:
        chain_broken(verdict, sequence, "previous", before.previous, says.previous)
    if before.first_record not in {None, says.first_record}:
        chain_broken(verdict, sequence, "first_record", before.first_record, says.first_record)
    if before.created > says.created:
        verdict.warn(
            "clock-backwards",
            "it says that it was sealed before the batch before it: the forwarder's clock was set back",
            batch=sequence,
            object=manifest_name(sequence),
            expected=f"not before {before.created}",
            found=says.created,
        )


def chain_broken(verdict: LogVerdict, sequence: int, what: str, expected: object, found: object) -> None:
    """Say that a manifest does not fit its place."""
    verdict.add(
        "chain-broken",
        f"the manifest's {what} is wrong",
        batch=sequence,
        object=manifest_name(sequence),
        expected=str(expected),
        found=str(found),
    )


def _contents(archive: Archive, policy: Policy, span: Span, manifests: list[Manifest]) -> None:
    """Check as much of the contents as one piece of work may be, and hand the rest back."""
    pieces: list[list[Manifest]] = [[]]
    left = BUDGET
    for manifest in manifests:
        if left < 0:
            pieces.append([])
            left = BUDGET
        pieces[-1].append(manifest)
        left -= manifest.records.raw_bytes
    check_contents(archive, pieces[0], policy, span.verdict)
    span.later = [[manifest.encode() for manifest in piece] for piece in pieces[1:]]
    first: dict[Evidence, Reference] = {}
    for manifest in manifests:
        for item in manifest.evidence:
            if item.stored_sha256:
                first.setdefault(item, Reference(manifest.sequence, manifest.created, item))
    small = [item for item in first.values() if item.evidence.raw_bytes <= SMALL]
    check_evidences(archive, small, policy, span.verdict)
    span.evidence = [item for item in first.values() if item.evidence.raw_bytes > SMALL]
