"""One log, proven as far as an answer needs it: its newest checkpoint, and the manifests that it was signed for."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import orjson

from forwarder import durable
from forwarder.archive.interface import Archive
from forwarder.errors import IntegrityError, NothingError
from forwarder.pull.tree import Tree
from forwarder.pull.work import Lines
from forwarder.seal import merkle, tiles
from forwarder.seal.keychange import KeyChange
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
from forwarder.seal.proof import LogProof
from forwarder.verify.content import fetch
from forwarder.verify.names import CHECKPOINT
from forwarder.verify.policy import Policy
from forwarder.verify.span import MAX_CHECKPOINT
from forwarder.verify.tree import Link, Tiles, TreeError
from forwarder.verify.verdict import LogVerdict

MANIFEST: Final = re.compile(r"batches/(\d{20})/manifest\.json")
RUN: Final = "run verify to see what else is wrong"


@dataclass(frozen=True, slots=True)
class Change:
    """A batch that changes the signing key, proven."""

    manifest: bytes
    key: KeyChange
    proof: LogProof
    """In the tree that ends with it, with the checkpoint that both keys have signed."""


class Log:
    """A log as it was when the pull began.

    Args:
        archive: its objects.
        verifier: its public key, one of those that it has had.
        work: directory for what was read of it; what is in it from a pull that was killed is not read again.

        policy: for how long batches are kept.

    Raises:
        NothingError: the archive has no such log.
        IntegrityError: no checkpoint is to be had.
    """

    def __init__(self, archive: Archive, verifier: Verifier, work: Path, policy: Policy) -> None:
        self.archive, self.verifier, self._work = archive, verifier, work
        self.verdict = LogVerdict(verifier.name)
        self._policy = policy
        self.changes: list[Change] = []
        """Changes of keys from the one that was given to the one that signs now."""
        self._signer = verifier
        self._manifests = work / "manifests"
        head = work / "head.json"
        if not head.exists():
            durable.write(head, orjson.dumps(self._head()))
        known = orjson.loads(head.read_bytes())
        self.begin: int = known["begin"]
        """First batch that is there."""
        self.note: bytes = known["note"].encode()
        try:  # not yet proven: the key that signs it may stand in the log
            self.checkpoint = Checkpoint.parse(self.note.rpartition(b"\n\n")[0] + b"\n")
        except NoteError as error:
            raise self._broken(f"the newest checkpoint is {error}") from None
        if known["end"] > self.checkpoint.size:
            self.verdict.add(
                "checkpoint-missing",
                "no checkpoint seals this and later batches, so they are not in the answer; if the forwarder is at"
                " work or was stopped here, it does when it goes on",
                batch=self.checkpoint.size,
                object=checkpoint_name(self.checkpoint.size + 1),
            )
        self.tree, self._link = self._start()

    def _head(self) -> dict[str, Any]:
        """Return where the log begins and ends, and its newest checkpoint; a pull that goes on keeps to that."""
        sizes = (int(key[1]) for key in map(CHECKPOINT.fullmatch, self.archive.keys("checkpoints/")) if key)
        size, begin, end = max(sizes, default=0), -1, 0
        for match in map(MANIFEST.fullmatch, self.archive.keys("batches/")):
            if match:
                number = int(match[1])
                begin, end = number if begin < 0 else min(begin, number), max(end, number + 1)
        if not size and not end:
            raise NothingError(f"{self.archive.place}: no log of this name", "nothing was pulled")
        try:
            note = self.archive.read(checkpoint_name(size), MAX_CHECKPOINT)
            return {"begin": max(begin, 0), "end": end, "note": note.decode()}
        except FileNotFoundError:
            raise self._broken(f"{checkpoint_name(size)} is missing") from None
        except UnicodeDecodeError:
            raise self._broken(f"{checkpoint_name(size)} is no checkpoint") from None

    def _start(self) -> tuple[Tree, Link]:
        """Return what is known of the batches before the first: of those that are gone only what the tiles say."""
        if not self.begin:
            return Tree(), Link(NO_PREVIOUS, 0)
        try:
            start = Tiles(self.archive, self.checkpoint).start(self.begin)
        except TreeError as error:
            raise self._broken(f"batches before {self.begin} are missing, and {error}") from None
        return Tree(start.frontier), start.link

    def _broken(self, what: str) -> IntegrityError:
        return IntegrityError(f"{self.archive.place}: {what}", f"nothing of this log can be proven; {RUN}")

    def read(self, pins: list[Checkpoint], advance: Callable[[int], object]) -> None:
        """Read all manifests, and hold them against each other, the checkpoint, and checkpoints known from before.

        Raises:
            IntegrityError: they are not what the key signed, or the log is not the one that was known.
        """
        try:
            self._read({pin.size: pin.root for pin in pins}, advance)
        except IntegrityError:
            self._manifests.unlink(missing_ok=True)  # the archive may be repaired before it is tried again
            raise
        for pin in pins:
            if pin.size > self.checkpoint.size:
                raise self._broken(f"it had {pin.size} batches before, and now has {self.checkpoint.size}")
        self._conclude(pins)

    def _conclude(self, pins: list[Checkpoint]) -> None:
        """Say what rests on what."""
        verdict, newest = self.verdict, max((pin.size for pin in pins), default=0)
        verdict.rests_on.append(f"the public key {self.verifier}")
        signer = "the last of these keys" if self.changes else "this key"
        for change in self.changes:
            batch = change.proof.index
            verdict.rests_on.append(f"the key {change.key.new}, to which batch {batch} changed; both keys signed that")
            if change.key.action == "revoke":
                verdict.cannot_exclude.append(
                    f"that somebody else wrote the log from batch {change.key.trusted_size} on: the key until batch"
                    f" {batch} was revoked; who gave you that key should give you the new one"
                )
        verdict.rests_on.append(f"the signature of {signer} for {verdict.size} batches with the root {verdict.root}")
        verdict.rests_on.append("what the manifests of these batches say of the times of the records in them")
        if newest:
            verdict.rests_on.append(f"a checkpoint of size {newest} known from before")
            verdict.cannot_exclude.append(
                f"that batches from {newest} on were cut off or rewritten by the key's holder"
            )
        else:
            verdict.cannot_exclude.append("that the newest batches were cut off together with their checkpoints")
            verdict.cannot_exclude.append("that the holder of the private key wrote the whole log anew")
        verdict.cannot_exclude.append("that nmap was wrong or the forwarder's clock was: only sealed bytes are proven")

    def _read(self, roots: dict[int, bytes], advance: Callable[[int], object]) -> None:
        lines = Lines(self._manifests)
        previous, first_record = self._link.previous, self._link.first_record
        for data in self._then(lines):
            sequence = self.tree.size
            manifest = self._decode(data, sequence)
            if first_record is None:  # the batch before is gone
                first_record = manifest.first_record
            here = (self.verifier.name, sequence, previous, first_record)
            if (manifest.origin, manifest.sequence, manifest.previous, manifest.first_record) != here:
                raise self._broken(f"{manifest_name(sequence)} does not follow from the batches before it")
            if sequence == self.begin > 0:
                self._gone(manifest)
            previous, first_record = digest(data), first_record + manifest.records.count
            self.tree.add(merkle.leaf_hash(tiles.entry(sequence, previous)))
            if manifest.key:
                self._change(manifest.key, data)
            known = roots.get(self.tree.size)
            if known and known != self.tree.root(0, self.tree.size):
                raise self._broken(f"its first {self.tree.size} batches are not those that were known before")
            self.verdict.sealed_until = manifest.created
            advance(1)
        lines.flush(durably=True)
        lines.close()
        if self.tree.size < self.checkpoint.size:
            raise self._broken(f"{manifest_name(self.tree.size)} is missing")
        self._signed(self.note, self._signer)
        self.verdict.size, self.verdict.root = self.checkpoint.size, self.checkpoint.root.hex()

    def _change(self, key: KeyChange, manifest: bytes) -> None:
        """Go over to the next key, which the one before must have signed."""
        old, new = key.verifiers
        if old != self._signer:  # from before the key that was given
            return
        size = self.tree.size
        try:
            note = self.archive.read(checkpoint_name(size), MAX_CHECKPOINT)
        except FileNotFoundError:
            raise self._broken(f"{checkpoint_name(size)}, which changes the key, is missing") from None
        self._signed(note, old)
        self._signed(note, new)
        self._signer = new
        self.changes.append(Change(manifest, key, LogProof(size - 1, self.tree.path(size - 1, size), note)))

    def _signed(self, note: bytes, verifier: Verifier) -> None:
        """See that a key has signed for all batches that were read."""
        size = self.tree.size
        try:
            checkpoint = open_checkpoint(note, verifier)
        except NoteError as error:
            raise self._broken(f"the checkpoint of size {size} is invalid: {error}") from None
        if checkpoint != Checkpoint(verifier.name, size, self.tree.root(0, size)):
            raise self._broken(f"the manifests are not those that the checkpoint of size {size} was signed for")

    def _decode(self, data: bytes, sequence: int) -> Manifest:
        try:
            return Manifest.decode(data)
        except ManifestError as error:
            raise self._broken(f"{manifest_name(sequence)} is {error}") from None

    def manifests(self) -> Iterator[Manifest]:
        """Yield the manifests that `read` has proven."""
        with self._manifests.open("rb") as file:
            for line in file:
                yield Manifest.decode(line[:-1])

    def _gone(self, first: Manifest) -> None:
        """Judge that batches before the first are gone."""
        if self._policy.expired_before(first.created):
            self.verdict.notes.append(f"batches before {self.begin} are gone, as their retention is over")
        else:
            self.verdict.add(
                "batches-missing", f"the {self.begin} batches before this one are missing", batch=self.begin
            )

    def _then(self, lines: Lines) -> Iterator[bytes]:
        """Yield the manifests that were read before, then the others, which are kept; they have no newline in them."""
        count = self.begin
        for line in lines:
            count += 1
            yield line
        names = ((manifest_name(sequence), MAX_MANIFEST_BYTES) for sequence in range(count, self.checkpoint.size))
        for data in fetch(self.archive, names, self.verdict):
            if data is None:
                return
            yield data  # whoever takes it refuses what is no manifest before it is kept
            lines.add(data)
