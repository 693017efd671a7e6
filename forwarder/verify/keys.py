"""Which keys a log's checkpoints must be signed by. The only place that knows.

A log changes its key by a batch of type `key`; `keys/<sequence>.vkey` tells where such batches are. What is read from
there before the walk is a claim; the walk holds it against the batches themselves.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Final

from forwarder.archive.interface import Archive
from forwarder.seal.manifest import MAX_MANIFEST_BYTES, Manifest, ManifestError, key_name, manifest_name
from forwarder.seal.note import Checkpoint, NoteError, Verifier, open_checkpoint

KEY: Final = re.compile(r"keys/(\d{20})\.vkey")
MAX_CHANGES: Final = 1000
"""Changes of keys that a verifier follows."""


@dataclass(frozen=True, slots=True)
class Change:
    """A change of keys."""

    size: int
    """Of the checkpoint that both keys sign."""
    old: Verifier
    new: Verifier
    trusted_size: int | None = None
    """Of a revocation: largest size whose checkpoint the old key is trusted for."""


@dataclass(frozen=True, slots=True)
class Keys:
    """The keys of one log. Validity is by the size of the log, never by a date."""

    given: Verifier
    """The key that is trusted: one of those that the log has had."""
    changes: tuple[Change, ...] = ()
    """In order of size."""

    @property
    def origin(self) -> str:
        """Name of the log."""
        return self.given.name

    def at(self, size: int) -> tuple[Verifier, ...]:
        """Return the keys that must all have signed the checkpoint of a size."""
        key = self.changes[0].old if self.changes else self.given
        for change in self.changes:
            if change.size == size:
                return change.old, change.new
            if change.size > size:
                break
            key = change.new
        return (key,)

    def open(self, note: bytes, size: int) -> Checkpoint:
        """Return the checkpoint in a note that is to be the one of a size.

        Raises:
            NoteError: one of that size's keys has not signed it.
        """
        *_, checkpoint = [open_checkpoint(note, verifier) for verifier in self.at(size)]
        return checkpoint

    def change_at(self, size: int) -> Change | None:
        """Return the change whose checkpoint has a size."""
        return next((change for change in self.changes if change.size == size), None)

    @property
    def doubtful(self) -> tuple[int, int] | None:
        """Sizes (first, last) of checkpoints that a key signed which is not trusted for them any more."""
        for change in self.changes:
            if change.trusted_size is not None and change.trusted_size < change.size - 1:
                return change.trusted_size + 1, change.size - 1
        return None


def change_in(manifest: Manifest) -> Change | None:
    """Return the change of keys that a batch says."""
    if manifest.key is None:
        return None
    old, new = manifest.key.verifiers
    return Change(manifest.sequence + 1, old, new, manifest.key.trusted_size)


def keys_of(archive: Archive, given: Verifier) -> Keys:
    """Return the keys of a log, as far as its changes go on from, or lead to, the one that is trusted.

    Changes that do not join, or of which none has the given key, are left out: then signatures do not hold.
    """
    changes: list[Change] = []
    for key in sorted(key for key in archive.keys("keys/") if KEY.fullmatch(key))[:MAX_CHANGES]:
        try:
            data = archive.read(manifest_name(int(KEY.fullmatch(key)[1])), MAX_MANIFEST_BYTES)  # type: ignore[index]
            change = change_in(Manifest.decode(data))
        except (FileNotFoundError, ManifestError, NoteError):
            continue
        if change and (not changes or changes[-1].new == change.old):
            changes.append(change)
    known = {verifier for change in changes for verifier in (change.old, change.new)}
    return Keys(given, tuple(changes) if given in known else ())


def vkey_problem(manifest: Manifest, data: bytes | None) -> str:
    """Tell what is wrong with the copy of a new key that stands beside the batch that brings it."""
    if data is None:
        return f"{key_name(manifest.sequence)} is missing"
    return "" if manifest.key and data == f"{manifest.key.new}\n".encode() else "it is not the key of its batch"
