"""What lies beside a log's batches: objects that no manifest leads to, and the mutable pointer."""

from __future__ import annotations

import time
from collections.abc import Iterable

from forwarder.archive.interface import POINTER, Archive
from forwarder.durable import PART
from forwarder.seal.manifest import checkpoint_name, manifest_name
from forwarder.seal.note import NoteError
from forwarder.verify.names import size_of
from forwarder.verify.span import MAX_CHECKPOINT
from forwarder.verify.verdict import MAX_FINDINGS
from forwarder.verify.walk import Walk


def check_rest(walk: Walk, keys: Iterable[str]) -> None:
    """Find what no manifest leads to.

    The archive is listed behind the walk: `keys` are read now. What a running forwarder has put meanwhile is walked,
    too: an object that leads nowhere may belong to a batch whose manifest is about to come, so that is waited for.
    """
    odd: list[str] = []
    for key in keys:
        if key.endswith(PART):
            walk.verdict.notes.append(f"{key} was being written when a machine stopped; it is not part of the archive")
        elif not _belongs(walk, key):
            if walk.begins_late and key.startswith(("records/", "evidence/")):
                walk.leftovers += 1
                continue
            if len(odd) < MAX_FINDINGS:
                odd.append(key)
            else:
                walk.verdict.left_out += 1
    patience, pause = walk.policy.patience, 0.05
    while odd:
        if walk.archive.has(manifest_name(walk.size)):
            walk.run()
        elif patience > 0:
            time.sleep(min(pause, patience))
            patience -= pause
            pause *= 2
        else:
            break
        odd = [key for key in odd if not _belongs(walk, key)]
    for key in sorted(odd):
        _judge(walk, key)


def _belongs(walk: Walk, key: str) -> bool:
    size = size_of(key)
    return size <= walk.size if size is not None else key == POINTER or walk.names.sealed(key) is not None


def _judge(walk: Walk, key: str) -> None:
    verdict, size = walk.verdict, walk.size
    if key.startswith("batches/"):
        verdict.add("gap", f"the manifest stands behind a gap: batch {size} is missing", object=key)
    elif key.startswith("checkpoints/"):
        verdict.add("batches-missing", f"the log once was longer: batch {size} and maybe more are missing", object=key)
    elif walk.archive.has(key):
        verdict.add("stray", "nothing in the log leads to this object", object=key)


def check_pointer(walk: Walk) -> None:
    """Judge the mutable pointer, which nothing rests on."""
    verdict, archive = walk.verdict, walk.archive
    pointer = read(archive, POINTER, MAX_CHECKPOINT)
    if pointer is None:
        if walk.size:
            verdict.add("pointer-missing", "the newest checkpoint's copy is missing", object=POINTER)
        return
    if pointer == verdict.checkpoint:
        return
    size = size_in(pointer)
    sealed = read(archive, checkpoint_name(size), MAX_CHECKPOINT) if size else None
    ours = sealed == pointer and _signed(walk, pointer, size)
    if ours and size < verdict.size:
        verdict.notes.append(f"{POINTER} is that of size {size}: the forwarder was stopped, or someone put it back")
    elif ours and size > walk.size and archive.has(manifest_name(walk.size)):
        verdict.notes.append(f"batches from {walk.size} on were sealed while this was verified, and were not read")
    else:
        verdict.add("pointer-changed", "it is none of the log's checkpoints", object=POINTER)
        _check_signed_pointer(walk, pointer, size, sealed)


def _signed(walk: Walk, note: bytes, size: int) -> bool:
    try:
        return walk.keys.open(note, size).size == size
    except NoteError:
        return False


def _check_signed_pointer(walk: Walk, pointer: bytes, size: int, sealed: bytes | None) -> None:
    """Say what a pointer proves that the key signed, although it is none of the log's checkpoints."""
    keys = walk.keys
    try:
        checkpoint = keys.open(pointer, size)
        if size > walk.size:
            walk.verdict.add(
                "batches-missing",
                f"the log once was longer: batch {walk.size} and maybe more are missing",
                object=POINTER,
                expected=f"{size} batches",
                found=f"{walk.size}",
            )
        elif sealed is not None and keys.open(sealed, size).root != checkpoint.root:
            walk.verdict.add(
                "fork",
                f"the key signed two different logs of {size} batches",
                object=POINTER,
                expected=keys.open(sealed, size).root.hex(),
                found=checkpoint.root.hex(),
            )
    except NoteError:
        return  # it proves nothing


def size_in(note: bytes) -> int:
    """Return the size that a checkpoint's note speaks of, signed or not; 0 if it is no checkpoint."""
    lines = note.split(b"\n", 2)
    return int(lines[1]) if len(lines) > 2 and lines[1].isdigit() and len(lines[1]) <= 20 else 0  # noqa: PLR2004


def read(archive: Archive, key: str, limit: int) -> bytes | None:
    """Return an object's bytes, None if it is missing."""
    try:
        return archive.read(key, limit)
    except FileNotFoundError:
        return None
