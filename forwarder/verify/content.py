"""The contents of batches, read and checked: the part of a verification that needs no order and no memory."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from io import BytesIO
from itertools import islice
from typing import IO, Final

from forwarder.archive.interface import Archive, UndecryptableError
from forwarder.seal.manifest import MAX_RECORDS, Evidence, Manifest
from forwarder.verify.objects import HASH, check_evidence, check_records, read_limit
from forwarder.verify.policy import Policy
from forwarder.verify.verdict import LogVerdict

SMALL: Final = 1 << 20
"""Largest evidence, before compression, that is checked with its batch; larger ones are work of their own."""


@dataclass(frozen=True, slots=True)
class Reference:
    """A batch's reference to an evidence object."""

    batch: int
    created: str
    """When the batch was sealed."""
    evidence: Evidence


Named = tuple[str, int]
"""A key and how many of its bytes are wanted."""


def fetch(archive: Archive, wanted: Iterable[Named], verdict: LogVerdict) -> Iterator[bytes | None]:
    """Yield the bytes of objects in the order of their keys, None for one that is missing or cannot be decrypted.

    From an archive that answers slowly, several are asked for ahead.
    """

    def read(named: Named) -> bytes | None:
        try:
            return archive.read(*named)
        except FileNotFoundError:
            return None
        except UndecryptableError as error:
            undecryptable(named[0], error, verdict)
            return None

    if archive.ahead <= 1:
        yield from map(read, wanted)
        return
    names = iter(wanted)
    with ThreadPoolExecutor(archive.ahead) as threads:
        waiting: list[Future[bytes | None]] = [threads.submit(read, name) for name in islice(names, archive.ahead)]
        try:
            while waiting:
                yield waiting.pop(0).result()
                waiting += [threads.submit(read, name) for name in islice(names, 1)]
        finally:
            for future in waiting:
                future.cancel()


def check_piece(archive: Archive, origin: str, manifests: list[bytes], policy: Policy) -> LogVerdict:
    """Check the contents of batches as a piece of work of its own."""
    verdict = LogVerdict(origin)
    check_contents(archive, [Manifest.decode(data) for data in manifests], policy, verdict)
    return verdict


def check_large(archive: Archive, origin: str, item: Reference, policy: Policy) -> LogVerdict:
    """Check an evidence object as a piece of work of its own."""
    verdict = LogVerdict(origin)
    check_evidences(archive, [item], policy, verdict)
    return verdict


def check_contents(archive: Archive, manifests: list[Manifest], policy: Policy, verdict: LogVerdict) -> None:
    """Check the records and leaves of batches."""
    full = [manifest for manifest in manifests if manifest.records.count]
    wanted: list[Named] = []
    for manifest in full:
        wanted.append((manifest.records.leaves_name, HASH * MAX_RECORDS))
        wanted.append((manifest.records.name, read_limit(manifest.records.stored_bytes)))
    found = fetch(archive, wanted, verdict)
    for manifest in full:
        leaves, stored = next(found), next(found)
        check_records(manifest, stored, leaves, policy, verdict)


def check_evidences(archive: Archive, items: list[Reference], policy: Policy, verdict: LogVerdict) -> None:
    """Check evidence objects, those that fit into memory first."""
    small = [item for item in items if item.evidence.raw_bytes <= SMALL]
    found = fetch(archive, [(item.evidence.name, read_limit(item.evidence.stored_bytes)) for item in small], verdict)
    for item, stored in zip(small, found, strict=True):
        _check(item, None if stored is None else BytesIO(stored), policy, verdict)
    for item in items:
        if item.evidence.raw_bytes > SMALL:
            try:
                source = archive.open(item.evidence.name)
            except FileNotFoundError:
                _check(item, None, policy, verdict)
            except UndecryptableError as error:
                undecryptable(item.evidence.name, error, verdict)
            else:
                _check(item, source, policy, verdict)


def undecryptable(key: str, error: UndecryptableError, verdict: LogVerdict) -> None:
    """Say that an object is there, but nobody can read it."""
    verdict.add("undecryptable", f"it is encrypted with a key that cannot be used: {error.what}", object=key)


def _check(item: Reference, source: IO[bytes] | None, policy: Policy, verdict: LogVerdict) -> None:
    if source is not None:
        check_evidence(item.batch, item.evidence, source, verdict)
    elif policy.expired(item.created):
        verdict.expired += 1
    else:
        verdict.add(
            "evidence-missing",
            "the evidence is missing",
            batch=item.batch,
            object=item.evidence.name,
            expected=item.evidence.stored_sha256,
        )
