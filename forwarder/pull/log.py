"""One log, proven as far as an answer needs it: its newest checkpoint, and the manifests that it was signed for."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Final

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
from forwarder.verify.verdict import LogVerdict

MAX_CHECKPOINT: Final = 1 << 16
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

    Raises:
        NothingError: the archive has no such log.
        IntegrityError: no checkpoint of the key is to be had.
    """

    def __init__(self, archive: Archive, verifier: Verifier, work: Path) -> None:
        self.archive, self.verifier, self._work = archive, verifier, work
        self.verdict = LogVerdict(verifier.name)
        self.tree = Tree()
        self.changes: list[Change] = []
        """Changes of keys from the one that was given to the one that signs now."""
        self._signer = verifier
        self._manifests = work / "manifests"
        self.note = self._pinned()
        try:  # not yet proven: the key that signs it may stand in the log
            self.checkpoint = Checkpoint.parse(self.note.rpartition(b"\n\n")[0] + b"\n")
        except NoteError as error:
            raise self._broken(f"the newest checkpoint is {error}") from None

    def _pinned(self) -> bytes:
        """Return the newest checkpoint; a pull that goes on keeps to that of its beginning."""
        file = self._work / "checkpoint"
        if file.exists():
            return file.read_bytes()
        size = newest = 0
        for key in self.archive.keys():  # noqa: SIM118 - no dict
            kind, _, rest = key.partition("/")
            number = rest.removesuffix("/manifest.json")
            if kind in {"checkpoints", "batches"} and number.isdecimal():
                size = max(size, int(number) if kind == "checkpoints" else 0)
                newest = max(newest, int(number) + 1 if kind == "batches" else 0)
        if not size and not newest:
            raise NothingError(f"{self.archive.place}: no log of this name", "nothing was pulled")
        if newest > size:
            self.verdict.add(
                "checkpoint-missing",
                "no checkpoint seals this and later batches, so they are not in the answer; if the forwarder is at"
                " work or was stopped here, it does when it goes on",
                batch=size,
                object=checkpoint_name(size + 1),
            )
        try:
            note = self.archive.read(checkpoint_name(size), MAX_CHECKPOINT)
        except FileNotFoundError:
            raise self._broken(f"{checkpoint_name(size)} is missing") from None
        durable.write(file, note)
        return note

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
        previous, first_record = NO_PREVIOUS, 0
        for data in _then(lines, self.archive, self.checkpoint.size):
            sequence = self.tree.size
            manifest = self._decode(data, sequence)
            here = (self.verifier.name, sequence, previous, first_record)
            if (manifest.origin, manifest.sequence, manifest.previous, manifest.first_record) != here:
                raise self._broken(f"{manifest_name(sequence)} does not follow from the batches before it")
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


def _then(lines: Lines, archive: Archive, size: int) -> Iterator[bytes]:
    """Yield the manifests that were read before, then the others, which are kept; canonical JSON has no newline."""
    count = 0
    for line in lines:
        count += 1
        yield line
    for sequence in range(count, size):
        try:
            data = archive.read(manifest_name(sequence), MAX_MANIFEST_BYTES)
        except FileNotFoundError:
            return
        yield data  # whoever takes it refuses what is no manifest before it is kept
        lines.add(data)
