"""One record's proof: judged offline, with a public key and nothing else."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import orjson

from forwarder.errors import IntegrityError
from forwarder.seal import merkle, tiles
from forwarder.seal.cosignature import Witness
from forwarder.seal.manifest import MAX_MANIFEST_BYTES, MAX_RECORD_BYTES, Manifest, ManifestError, digest, timestamp
from forwarder.seal.note import Checkpoint, NoteError, Verifier, open_checkpoint, signatures, split_note
from forwarder.seal.proof import MAX_PROOF, LogProof, ProofError, RecordProof


@dataclass(frozen=True, slots=True)
class Proven:
    """What a proof has shown."""

    record: bytes
    """The sealed line, without its newline."""
    index: int
    """Its place in the batch."""
    manifest: Manifest
    """Its batch."""
    checkpoint: Checkpoint
    """The tree that holds the batch."""
    note: bytes
    """The signed checkpoint."""
    key: Verifier
    """Who signed it."""

    @property
    def record_id(self) -> str:
        """The record's event.id; empty when it has none."""
        try:
            return str(orjson.loads(self.record)["event"]["id"])
        except (KeyError, TypeError, ValueError):
            return ""


def check_proof(data: bytes, keys: Sequence[Verifier]) -> Proven:
    """Check a proof file: everything that it says is made anew from the record and the manifest in it.

    Args:
        data: the file's bytes; of a larger one than `MAX_PROOF`, the beginning is enough.
        keys: public keys, one of which must have signed.

    Raises:
        IntegrityError: it proves nothing; says why.
    """
    if len(data) > MAX_PROOF:
        raise IntegrityError(f"larger than any proof ({MAX_PROOF} bytes)")
    try:
        outer = LogProof.decode(data)
        inner = RecordProof.decode(outer.extra)
        key, checkpoint = _signed(outer.checkpoint, keys)
        manifest = Manifest.decode(inner.manifest[: MAX_MANIFEST_BYTES + 1])
    except ManifestError as error:
        raise IntegrityError(f"its manifest is {error}") from None
    except (NoteError, ProofError) as error:
        raise IntegrityError(str(error)) from None
    if checkpoint.origin != key.name or manifest.origin != key.name:
        raise IntegrityError(f"not of the log {key.name}")
    if manifest.sequence != outer.index:
        raise IntegrityError(f"its manifest is of batch {manifest.sequence}, its index says {outer.index}")
    leaf = merkle.leaf_hash(tiles.entry(outer.index, digest(inner.manifest)))
    if merkle.root_from_path(leaf, outer.index, checkpoint.size, outer.path) != checkpoint.root:
        raise IntegrityError("its batch is not in the tree of its checkpoint")
    if len(inner.record) > MAX_RECORD_BYTES or b"\n" in inner.record:
        raise IntegrityError("what it proves is not one record")
    leaf = merkle.leaf_hash(inner.record)
    root = merkle.root_from_path(leaf, inner.index, inner.count, inner.path)
    if inner.count != manifest.records.count or root != bytes.fromhex(manifest.records.root):
        raise IntegrityError("its record is not in the batch of its manifest")
    return Proven(inner.record, inner.index, manifest, checkpoint, outer.checkpoint, key)


def _signed(note: bytes, keys: Sequence[Verifier]) -> tuple[Verifier, Checkpoint]:
    """Return the first key that signed a checkpoint, and the checkpoint."""
    problem = NoteError("no key was given")
    for key in keys:
        try:
            return key, open_checkpoint(note, key)
        except NoteError as error:
            problem = error
    hint = " (has the log changed keys? its newest one signs proofs)" if "not signed by" in str(problem) else ""
    raise NoteError(f"{problem}{hint}")


def seen_by(proven: Proven, witnesses: Sequence[Witness]) -> list[str]:
    """Return what witnesses say of a proof's checkpoint, a line each.

    Raises:
        IntegrityError: a cosignature of one of them does not hold.
    """
    text, block = split_note(proven.note)
    found = []
    try:
        for witness in witnesses:
            if (time := witness.cosigned(text, signatures(block))) is not None:
                found.append(f"the witness {witness}: it has seen that checkpoint at {timestamp(time)}")
    except NoteError as error:
        raise IntegrityError(str(error)) from None
    return found
