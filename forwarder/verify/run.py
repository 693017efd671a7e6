"""Verifying a whole archive: which logs it holds, which keys and checkpoints are at hand, what is remembered after."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from forwarder import durable
from forwarder.archive.directory import DirectoryArchive
from forwarder.archive.interface import POINTER, Archive
from forwarder.archive.place import Bucket, Place, open_archive, origins
from forwarder.errors import NothingError, UsageError
from forwarder.seal.note import Checkpoint, NoteError, Verifier, split_note
from forwarder.verify.attest import Attestations, ThirdParties
from forwarder.verify.keys import Keys, keys_of
from forwarder.verify.log import NOBODY, Beside, verify_log
from forwarder.verify.policy import Policy
from forwarder.verify.pool import Pool
from forwarder.verify.rest import read, size_in
from forwarder.verify.span import MAX_CHECKPOINT
from forwarder.verify.verdict import LogVerdict
from forwarder.verify.walk import Walk

if TYPE_CHECKING:
    from forwarder.verify.bucket import Survey


def locate(where: Place, keys: list[Verifier], settings: Mapping[str, Any]) -> tuple[Place, list[str]]:
    """Return (the archive, the origins in it) for an archive or for the place of one log.

    Raises:
        NothingError: there is no log.
    """
    found = list(origins(where, settings))
    if not found:
        raise NothingError(f"{where}: no log in this archive", "nothing was verified")
    if found != ["."]:
        return where, found
    # One log was given: its key tells how much of the path is the origin.
    whole = tuple(where.prefix.split("/")) if isinstance(where, Bucket) else where.resolve().parts
    for name in [*(key.name for key in keys), whole[-1]]:
        parts = tuple(name.split("/"))
        if whole[-len(parts) :] == parts:
            above = whole[: -len(parts)]
            return Bucket(where.name, "/".join(above)) if isinstance(where, Bucket) else Path(*above), [name]
    raise NothingError(f"{where}: no log in this archive", "nothing was verified")


@dataclass(frozen=True, slots=True)
class Opener:
    """Opens a log's archive, in any process. Of a bucket the first versions are read."""

    where: Place
    origin: str
    settings: Mapping[str, Any] = field(default_factory=dict)
    firsts: dict[str, str] = field(default_factory=dict)

    def __call__(self) -> Archive:
        """Open it."""
        archive = open_archive(self.where, self.origin, self.settings)
        if isinstance(archive, DirectoryArchive):
            return archive
        from forwarder.verify.bucket import Originals  # noqa: PLC0415 - boto3 takes its time

        return Originals(archive, self.firsts)  # type: ignore[arg-type]


@dataclass(frozen=True, slots=True)
class Task:
    """What to verify, and how.

    Pins and memory are asked for by the log's key, since an archive may hold logs of many forwarders.
    """

    keys: list[Verifier]
    """Public keys, by their names the logs' origins."""
    pinned: Callable[[Keys], list[Checkpoint]]
    """Gives the checkpoints that a log is known to have had."""
    policy: Policy = field(default_factory=Policy)
    settings: Mapping[str, Any] = field(default_factory=dict)
    """How to reach a bucket."""
    jobs: int = 1
    """Processes that check."""
    since: Callable[[Keys], Checkpoint | None] = lambda _: None
    """Gives the checkpoint up to which a log need not be read again."""
    advance: Callable[[int], object] = lambda _: None
    """Called with numbers of batches that were checked."""
    trust: ThirdParties = NOBODY
    """Third parties whose word on checkpoints counts."""


def verify(where: Place, task: Task) -> list[LogVerdict]:
    """Verify every log of an archive: a directory or a bucket, or the place of one log there.

    Raises:
        NothingError: there is nothing to verify.
    """
    if isinstance(where, Path) and not where.is_dir():
        raise NothingError(f"{where}: no such archive", "nothing was verified")
    archive, found = locate(where, task.keys, task.settings)
    by_name = {key.name: key for key in task.keys}
    verdicts = []
    for origin in found:
        if origin in by_name:
            verdicts.append(_verify_one(archive, by_name[origin], task))
        else:
            verdict = LogVerdict(origin)
            verdict.add("key-unknown", "no public key for this log was given, so nothing of it was verified")
            verdicts.append(verdict)
    if not any(verdict.size or verdict.batches or verdict.findings for verdict in verdicts):
        raise NothingError(f"{where}: no batch in this archive", "nothing was verified")
    return verdicts


def _verify_one(where: Place, key: Verifier, task: Task) -> LogVerdict:
    opener = Opener(where, key.name, task.settings)
    keys = keys_of(opener(), key)
    since = task.since(keys)
    beside = None
    if isinstance(where, Bucket):
        opener, beside = _bucket(opener, since)
    pool = Pool(opener, task.jobs)
    try:
        return verify_log(pool, keys, task.pinned(keys), task.policy, task.advance, since, beside, task.trust)
    finally:
        pool.close()


def _bucket(opener: Opener, since: Checkpoint | None) -> tuple[Opener, Beside]:
    """Return (what reads first versions, what judges versions and locks)."""
    from forwarder.archive.s3 import S3Archive  # noqa: PLC0415 - boto3 takes its time
    from forwarder.verify import bucket, locks  # noqa: PLC0415

    archive = open_archive(opener.where, opener.origin, opener.settings)
    assert isinstance(archive, S3Archive)
    found: Survey = bucket.survey(archive, since.size if since else 0)

    def judge(walk: Walk, size: int, attestations: Attestations) -> None:
        bucket.judge_survey(walk, found, archive)
        locks.check_locks(walk, archive, size)
        bucket.judge_pointer(walk, archive)
        bucket.vouch(walk.keys, archive, attestations)

    return Opener(opener.where, opener.origin, opener.settings, found.firsts), judge


def batches_at_hand(where: Place, task: Task) -> int | None:
    """Return about how many batches there are, for a progress bar: what the pointers say, which nothing rests on."""
    try:
        archive, found = locate(where, task.keys, task.settings)
    except NothingError:
        return None
    notes = (read(Opener(archive, origin, task.settings)(), POINTER, MAX_CHECKPOINT) for origin in found)
    return sum(size_in(note) for note in notes if note) or None


def read_checkpoint(file: Path, keys: Keys, *, ours: bool = False) -> Checkpoint | None:
    """Return the checkpoint of a log in a file, None when it is another log's.

    Args:
        file: the signed note.
        keys: the log's keys, as far as the archive shows them.
        ours: it was verified before it was kept here, so that it counts although the archive may hide its key now.

    Raises:
        UsageError: the file is no checkpoint, or not signed by the log's key of that size.
    """
    try:
        note = file.read_bytes()
    except OSError as error:
        raise UsageError(f"{file}: {error.strerror}") from None
    if not note.startswith(keys.origin.encode() + b"\n"):
        return None
    try:
        return Checkpoint.parse(split_note(note)[0]) if ours else keys.open(note, size_in(note))
    except NoteError as error:
        raise UsageError(f"{file}: {error}") from None


def remember(file: Path, verdict: LogVerdict) -> None:
    """Keep a log's newest checkpoint after it was verified without a finding."""
    if not verdict.findings and verdict.checkpoint:
        durable.write(file, verdict.checkpoint)


def originals(where: Place, origin: str, settings: Mapping[str, Any]) -> tuple[Opener, Survey | None]:
    """Return what opens a log as it was put, and of a bucket what hides or overlays objects there."""
    opener = Opener(where, origin, settings)
    if not isinstance(where, Bucket):
        return opener, None
    from forwarder.archive.s3 import S3Archive  # noqa: PLC0415 - boto3 takes its time
    from forwarder.verify import bucket  # noqa: PLC0415

    archive = open_archive(where, origin, settings)
    assert isinstance(archive, S3Archive)
    found = bucket.survey(archive)
    return Opener(where, origin, settings, found.firsts), found
