"""What keeps the objects in a bucket: the lock of each version, held against the policy."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from datetime import datetime, timedelta
from itertools import islice
from typing import Final

from forwarder.archive.interface import POINTER, Archive, Version
from forwarder.archive.s3 import STRENGTH, S3Archive
from forwarder.seal.manifest import checkpoint_name, manifest_name
from forwarder.verify.attest import size_in as attested_size
from forwarder.verify.bucket import Originals
from forwarder.verify.names import size_of
from forwarder.verify.policy import Policy, time
from forwarder.verify.pool import result
from forwarder.verify.verdict import LogVerdict
from forwarder.verify.walk import Walk

AT_A_TIME: Final = 200
"""Locks that are asked for as one piece of work."""
LOCK_WEIGHT: Final = 1 << 20
"""So many bytes of records are checked in the time that such a piece takes us, apart from waiting."""
ROUNDING: Final = timedelta(days=1)
"""By how much a lock may be shorter than the policy: a batch's objects are all kept from its first put on."""


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
    if sealed is None and size_of(version.key) is None and not attested_size(version.key):
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
