"""The verdict on one log: where its verification begins, what is checked in which order, what the verdict rests on."""

from __future__ import annotations

from collections.abc import Callable, Iterator

from forwarder.seal.manifest import (
    MAX_MANIFEST_BYTES,
    Manifest,
    ManifestError,
    checkpoint_name,
    manifest_name,
    timestamp,
)
from forwarder.seal.note import Checkpoint, NoteError
from forwarder.verify.keys import Keys
from forwarder.verify.names import CHECKPOINT, SEQUENCE
from forwarder.verify.policy import Policy, time
from forwarder.verify.pool import Pool
from forwarder.verify.rest import check_pointer, check_rest, read
from forwarder.verify.span import MAX_CHECKPOINT
from forwarder.verify.tree import Start, Tiles, TreeError
from forwarder.verify.verdict import LogVerdict
from forwarder.verify.walk import Walk


def verify_log(
    pool: Pool,
    keys: Keys,
    pins: list[Checkpoint],
    policy: Policy,
    advance: Callable[[int], object],
    since: Checkpoint | None = None,
    beside: Callable[[Walk, int], None] | None = None,
) -> LogVerdict:
    """Verify one log.

    Args:
        pool: opens the log's archive, and does the work.
        keys: its public keys.
        pins: checkpoints known from elsewhere, which the log must contain.
        policy: what is expected beyond intact bytes.
        advance: called with a number of batches that were checked.
        since: a checkpoint up to which the log was verified before; batches before it are not read again.
        beside: checks, behind the walk, what the archive knows of its objects; gets the size that was verified before.
    """
    verdict = LogVerdict(keys.origin)
    walk = Walk(pool, keys, pins, policy, verdict, advance)
    try:
        if since is None or not _go_on(walk, since):
            since = None
            _begin(walk)
        walk.run()
        check_rest(walk, _keys(walk, since))
        if walk.leftovers:
            verdict.notes.append(f"{walk.leftovers} objects may belong to batches that are gone, past retention")
        verdict.checkpoint = _newest(walk)
        check_pointer(walk)
        _check_pins(pins, walk.size, verdict)
        _check_age(walk)
        if beside:
            beside(walk, since.size if since else 0)
    finally:
        walk.close()
    _conclude(walk, pins, since)
    verdict.sort()
    return verdict


def _go_on(walk: Walk, since: Checkpoint) -> bool:
    """Begin behind a checkpoint; if the tiles do not prove where that is, say so, and let all of it be read."""
    try:
        tree = Tiles(walk.archive, since)
        start = tree.start(since.size)
        if start.frontier.root() != since.root:
            raise TreeError("the tiles give another root")
        walk.begin(start)
        walk.check_pins_below(lambda size: tree.root(0, size))
    except TreeError as error:
        walk.verdict.notes.append(f"everything was read, because the tiles of size {since.size} prove nothing: {error}")
        walk.begin(Start())
        return False
    walk.verdict.size, walk.verdict.root = since.size, since.root.hex()
    return True


def _begin(walk: Walk) -> None:
    """Begin at the first batch, or where the first is whose retention is not over."""
    archive, policy = walk.archive, walk.policy
    if not policy.retention or archive.has(manifest_name(0)):
        return
    numbers = (int(match[1]) for key in archive.keys("batches/") if (match := SEQUENCE.fullmatch(key)))
    first = min(numbers, default=0)
    head = _head(walk)
    if not first or head is None or head.size <= first:
        return
    try:
        created = Manifest.decode(archive.read(manifest_name(first), MAX_MANIFEST_BYTES)).created
        if not policy.expired_before(created):
            return
        tree = Tiles(archive, head)
        walk.begin(tree.start(first))
        walk.check_pins_below(lambda size: tree.root(0, size))
    except (FileNotFoundError, ManifestError, TreeError, ValueError) as error:
        walk.verdict.notes.append(f"where batches past retention end cannot be told from the tiles: {error}")
        return
    walk.begins_late = True
    walk.verdict.expired += first
    walk.verdict.notes.append(f"batches before {first} are gone, past retention; the tree proves their leaves")


def _head(walk: Walk) -> Checkpoint | None:
    """Return the newest checkpoint whose signature holds; the walk proves it."""
    sizes = (int(match[1]) for key in walk.archive.keys("checkpoints/") if (match := CHECKPOINT.fullmatch(key)))
    size = max(sizes, default=0)
    try:
        return walk.keys.open(walk.archive.read(checkpoint_name(size), MAX_CHECKPOINT), size)
    except (FileNotFoundError, NoteError):
        return None


def _keys(walk: Walk, since: Checkpoint | None) -> Iterator[str]:
    """Yield the keys among which something may lead nowhere: all, or those that come behind a checkpoint."""
    if since is None:
        yield from walk.archive.keys()
    else:
        yield from walk.archive.keys("batches/", manifest_name(since.size - 1))
        yield from walk.archive.keys("checkpoints/", checkpoint_name(since.size))


def _newest(walk: Walk) -> bytes:
    """Return the note of the newest checkpoint that holds, if it is still there."""
    verdict = walk.verdict
    note = read(walk.archive, checkpoint_name(verdict.size), MAX_CHECKPOINT) if verdict.size else None
    try:
        same = note is not None and walk.keys.open(note, verdict.size).root.hex() == verdict.root
    except NoteError:
        return b""
    return note or b"" if same else b""


def _check_pins(pins: list[Checkpoint], size: int, verdict: LogVerdict) -> None:
    for pin in pins:
        if pin.size > size:
            verdict.add(
                "cut-off",
                "the newest batches are gone",
                expected=f"at least {pin.size} batches, as verified or pinned before",
                found=f"{size}",
            )


def _check_age(walk: Walk) -> None:
    """Find that the forwarder has been silent for too long."""
    limit, newest = walk.policy.max_age, walk.verdict.sealed_until
    if limit is not None and newest and walk.policy.now - time(newest) > limit:
        walk.verdict.add(
            "silent",
            "the newest batch is older than is allowed",
            batch=walk.size - 1,
            expected=f"one sealed after {timestamp(walk.policy.now - limit)}",
            found=newest,
        )


def _conclude(walk: Walk, pins: list[Checkpoint], since: Checkpoint | None) -> None:
    """Say what the verdict rests on, and what it cannot exclude."""
    verdict, rests, cannot = walk.verdict, walk.verdict.rests_on, walk.verdict.cannot_exclude
    rests.append(f"the public key {walk.keys.given}")
    if walk.keys.changes:
        rests.append(f"{len(walk.keys.changes)} changes of keys that the log itself holds")
    if verdict.locks:
        rests.append(f"all versions of the objects in the bucket, and {verdict.locks} locks, as the server tells them")
    if pins:
        newest = max(pin.size for pin in pins)
        rests.append(f"a checkpoint of size {newest} known from before")
        cannot.append(f"that batches from {newest} on were cut off or rewritten by the key's holder")
    else:
        cannot.append("that the newest batches were cut off together with their checkpoints")
        cannot.append("that the holder of the private key wrote the whole log anew")
    if since is not None:
        rests.append(f"the verification of batches 0 to {since.size - 1} that was done before")
        cannot.append(f"that objects of batches 0 to {since.size - 1} were changed since: they were not read again")
        cannot.append("that there are objects which nothing leads to: they were not looked for")
    if (doubtful := walk.keys.doubtful) is not None:
        cannot.append("that checkpoints {} to {} are another's: their key was revoked".format(*doubtful))
    if any(warning.code == "lock-unknown" for warning in verdict.warnings):
        cannot.append("that objects can be deleted: some locks may not be read")
    cannot.append("that nmap was wrong or the forwarder's clock was: only sealed bytes are proven")
