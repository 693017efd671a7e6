"""What only a bucket with versions and Object Lock can tell: what hides or overlays an object, and what keeps it."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from itertools import groupby, islice
from pathlib import Path
from typing import IO, Final, NoReturn

from forwarder.archive.interface import POINTER, Archive, Version
from forwarder.archive.s3 import STRENGTH, S3Archive
from forwarder.seal.manifest import checkpoint_name, manifest_name
from forwarder.seal.note import NoteError
from forwarder.verify.names import CHECKPOINT, size_of
from forwarder.verify.policy import Policy, time
from forwarder.verify.pool import result
from forwarder.verify.rest import size_in
from forwarder.verify.span import MAX_CHECKPOINT
from forwarder.verify.verdict import MAX_FINDINGS, LogVerdict
from forwarder.verify.walk import Walk

AT_A_TIME: Final = 200
"""Locks that are asked for as one piece of work."""
LOCK_WEIGHT: Final = 1 << 20
"""So many bytes of records are checked in the time that such a piece takes us, apart from waiting."""
ROUNDING: Final = timedelta(days=1)
"""By how much a lock may be shorter than the policy: a batch's objects are all kept from its first put on."""


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


@dataclass(frozen=True, slots=True)
class Kept:
    """A version whose lock is to be checked."""

    key: str
    version_id: str
    since: datetime
    """When it was put, or the newest batch that needs it was sealed."""


def check_locks(walk: Walk, archive: S3Archive, since: int = 0) -> None:
    """Check what keeps the objects of the log; from a size on, of the batches behind it."""
    versions = archive.versions() if not since else _new_versions(walk, archive, since)
    wanted = (item for version in versions if (item := _kept(walk, version)))
    futures = []
    while items := list(islice(wanted, AT_A_TIME)):
        futures.append(walk.pool.submit(LOCK_WEIGHT, locks, walk.keys.origin, items, walk.policy))
        while len(futures) > 4 * walk.pool.jobs:
            walk.verdict.merge(result(futures.pop(0)))
    for future in futures:
        walk.verdict.merge(result(future))


def _new_versions(walk: Walk, archive: S3Archive, since: int) -> Iterator[Version]:
    yield from archive.versions("batches/", manifest_name(since - 1))
    yield from archive.versions("checkpoints/", checkpoint_name(since))
    for key in walk.names.all():
        yield from (version for version in archive.versions(key) if version.key == key)


def _kept(walk: Walk, version: Version) -> Kept | None:
    if version.is_delete_marker or version.key == POINTER:
        return None
    sealed = walk.names.sealed(version.key)
    if sealed is None and size_of(version.key) is None:
        return None  # nothing leads to it, so nothing is lost with it
    needed = max(version.modified, time(sealed)) if sealed else version.modified
    return Kept(version.key, version.version_id, needed)


def locks(archive: Archive, origin: str, items: list[Kept], policy: Policy) -> LogVerdict:
    """Check locks as a piece of work of its own."""
    assert isinstance(archive, Originals)
    verdict = LogVerdict(origin)
    with ThreadPoolExecutor(archive.ahead) as threads:
        found = threads.map(lambda item: archive.bucket.lock(item.key, item.version_id), items)
        for item, lock in zip(items, found, strict=True):
            size = size_of(item.key)
            where = {"batch": size - 1 if size else None, "object": item.key}
            needed = item.since + policy.retention
            verdict.locks += 1
            if lock.unknown:
                verdict.warn("lock-unknown", f"whether it is locked may not be read ({lock.unknown})", **where)
            elif lock.retain_until is None:
                verdict.add("lock-missing", "it is not locked", **where, expected=f"{policy.mode} until {needed:%F}")
            elif STRENGTH.index(lock.mode) < STRENGTH.index(policy.mode):
                verdict.add("lock-weak", "its lock is weak", **where, expected=policy.mode, found=lock.mode)
            elif lock.retain_until < needed - ROUNDING:
                found_ = f"{lock.retain_until:%F}"
                verdict.add("lock-short", "its lock ends too early", **where, expected=f"{needed:%F}", found=found_)
            elif policy.now < lock.retain_until < policy.now + policy.warn_before:
                verdict.warn("lock-ending", "its lock ends soon", **where, found=f"{lock.retain_until:%F}")
    return verdict


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
