"""What only a bucket that keeps versions can tell: what hides or overlays an object, and what was there first."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from itertools import groupby, islice
from pathlib import Path
from typing import IO, NoReturn

from forwarder.archive.interface import POINTER, Archive, Version
from forwarder.archive.s3 import S3Archive
from forwarder.seal.manifest import checkpoint_name, manifest_name
from forwarder.seal.note import NoteError
from forwarder.verify.attest import Attestations, Word
from forwarder.verify.keys import Keys
from forwarder.verify.names import CHECKPOINT, size_of
from forwarder.verify.rest import size_in
from forwarder.verify.span import MAX_CHECKPOINT
from forwarder.verify.verdict import MAX_FINDINGS
from forwarder.verify.walk import Walk


@dataclass(slots=True)
class Survey:
    """Objects of which there is more than the one version that was put first."""

    firsts: dict[str, str] = field(default_factory=dict)
    """Key → id of its first version, where reading the key would give another or none."""
    hidden: set[str] = field(default_factory=set)
    """Keys that a delete marker hides."""
    counted: dict[str, int] = field(default_factory=dict)
    """Key → number of its versions, where there are several."""
    more: int = 0
    """Such keys beyond those kept."""

    def take(self, versions: Iterable[Version]) -> None:
        """Look through versions, those of each key one after the other and the newest first."""
        for key, group in groupby(versions, lambda version: version.key):
            found = list(group) if key != POINTER else []
            real = [version for version in found if not version.is_delete_marker]
            if len(found) <= 1 or not real:
                continue
            if len(self.firsts) >= MAX_FINDINGS:
                self.more += 1
                continue
            self.firsts[key] = min(real, key=lambda version: version.modified).version_id
            if real[-1].modified <= min(version.modified for version in real):
                self.firsts[key] = real[-1].version_id  # the server's order has the say among equal times
            if found[0].is_delete_marker:
                self.hidden.add(key)
            if len(real) > 1:
                self.counted[key] = len(real)


class Originals(Archive):
    """A log in a bucket as it was put: of each object the first version. Only for reading.

    Args:
        archive: the bucket.
        firsts: ids of the versions to read where there are others.
    """

    kind = "s3"
    ahead = S3Archive.ahead

    def __init__(self, archive: S3Archive, firsts: dict[str, str]) -> None:
        self.bucket, self._firsts = archive, firsts

    @property
    def place(self) -> str:
        """The log's URL."""
        return self.bucket.place

    def open(self, key: str) -> IO[bytes]:
        """Open an object's first version."""
        return self.bucket.open(key, self._firsts.get(key, ""))

    def keys(self, prefix: str = "", after: str = "") -> Iterator[str]:
        """Yield the keys of objects, hidden ones, too; see `Archive.keys`."""
        last = ""
        for version in self.bucket.versions(prefix, after):
            if not version.is_delete_marker and version.key != last:
                last = version.key
                yield last

    def put(self, key: str, source: Path) -> NoReturn:
        """Do nothing: a verifier does not write."""
        raise NotImplementedError

    def point(self, data: bytes) -> NoReturn:
        """Likewise."""
        raise NotImplementedError

    def prepare(self) -> NoReturn:
        """Likewise."""
        raise NotImplementedError

    def keep(self, key: str) -> NoReturn:
        """Likewise."""
        raise NotImplementedError


def survey(archive: S3Archive, since: int = 0) -> Survey:
    """Look for objects that are hidden or overlaid; from a size on, only among manifests and checkpoints."""
    found = Survey()
    if not since:
        found.take(archive.versions())
    else:
        found.take(archive.versions("batches/", manifest_name(since - 1)))
        found.take(archive.versions("checkpoints/", checkpoint_name(since)))
    return found


def judge_survey(walk: Walk, found: Survey, archive: S3Archive) -> None:
    """Name what is hidden or overlaid. The first versions are what the walk has read."""
    verdict = walk.verdict
    verdict.left_out += found.more
    for key in found.firsts:
        size = size_of(key)
        batch = size - 1 if size else None
        if key in found.hidden:
            verdict.add("hidden", "a delete marker hides it; its first version was verified", batch=batch, object=key)
        elif key not in found.counted:
            verdict.add("hidden", "a delete marker was put over it", batch=batch, object=key)
        if key in found.counted:
            verdict.add(
                "overwritten",
                "other versions were put over the first, which was verified",
                batch=batch,
                object=key,
                expected="1 version",
                found=f"{found.counted[key]}",
            )
            if CHECKPOINT.fullmatch(key):
                _find_fork(walk, archive, key, size or 0)


def vouch(keys: Keys, archive: S3Archive, attestations: Attestations) -> None:
    """See which checkpoints of a revoked key the bucket has had since before the key was in other hands."""
    for change in keys.changes:
        if not change.since or not change.doubtful:
            continue
        for version in archive.versions("checkpoints/", checkpoint_name(change.doubtful.start - 1)):
            match = CHECKPOINT.fullmatch(version.key)
            if match and int(match[1]) in change.doubtful and not version.is_delete_marker:
                attestations.keep(Word(int(match[1]), version.modified, f"the bucket of {archive.place}"))


def _find_fork(walk: Walk, archive: S3Archive, key: str, size: int) -> None:
    """See whether versions of one checkpoint were signed for different logs."""
    roots = set()
    for version in islice(archive.versions(key), 100):
        if version.key == key and not version.is_delete_marker:
            with archive.open(key, version.version_id) as file:
                note = file.read(MAX_CHECKPOINT)
            try:
                roots.add(walk.keys.open(note, size).root.hex())
            except NoteError:
                continue
    if len(roots) > 1:
        one, other, *_ = sorted(roots)
        walk.verdict.add(
            "fork",
            f"the key signed two different logs of {size} batches",
            batch=size - 1,
            object=key,
            expected=one,
            found=other,
        )


def judge_pointer(walk: Walk, archive: S3Archive) -> None:
    """Find that the pointer was put back: it is an older one, and was written after the newest checkpoint.

    The server's clock counts seconds, so within the same one this cannot be told.
    """
    pointer = next((version for version in archive.versions(POINTER) if version.key == POINTER), None)
    newest = next(iter(archive.versions(checkpoint_name(walk.size))), None)
    if pointer is None or pointer.is_delete_marker or newest is None or pointer.modified <= newest.modified:
        return
    with archive.open(POINTER) as file:
        size = size_in(file.read(MAX_CHECKPOINT))
    if size < walk.verdict.size:
        walk.verdict.add(
            "pointer-put-back",
            "an older checkpoint was put back over the newest",
            object=POINTER,
            expected=f"size {walk.verdict.size}",
            found=f"size {size}, written {pointer.modified:%F %T}",
        )
