"""Going on with a log whose state directory is lost or old: its archive says what is sealed.

The ledger is made anew from the verified archive. What this state directory sealed beside it, and nobody anchored, is
given up and read again from its evidence; what the machine before had left half done is finished.
"""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from forwarder import durable, intake, outbox, reread
from forwarder.archive import records
from forwarder.archive.interface import POINTER, Archive
from forwarder.config import Settings
from forwarder.errors import IntegrityError, NothingError
from forwarder.ledger import ANCHORED, EARLY, XML, Batch, Input, Ledger
from forwarder.seal.manifest import Manifest, checkpoint_name, digest, manifest_name
from forwarder.seal.note import Checkpoint
from forwarder.state import State
from forwarder.verify.keys import keys_of
from forwarder.verify.log import verify_log
from forwarder.verify.policy import Policy
from forwarder.verify.pool import Pool
from forwarder.verify.verdict import LogVerdict

NEW: Final = "ledger.new.sqlite"
BEFORE: Final = "ledger.before-adopt.sqlite"
"""The ledger that was given up, kept for people."""
UNFINISHED: Final = frozenset({"checkpoint-missing", "tile-missing", "pointer-missing"})
"""Findings about the newest batch that a machine leaves which stops after putting its manifest."""
Said = Callable[[str], object]


@dataclass(slots=True)
class Adopted:
    """What was adopted."""

    batches: int = 0
    inputs: int = 0
    given_up: list[int] = field(default_factory=list)
    """Batches of this state directory that had no place in the log."""
    again: int = 0
    """Inputs that the next run reads, or reads on."""
    finished: bool = False
    """The newest batch had no checkpoint, or not all tiles."""


def adopt(state: State, settings: Settings, pins: list[Checkpoint], resend: int, said: Said) -> Adopted:
    """Make the ledger anew from the archive.

    Args:
        state: the open state directory; its ledger is closed and replaced, so it cannot be used any more.
        settings: what records look like.
        pins: checkpoints known from elsewhere, which the log must contain.
        resend: batches from here on are taken for delivered in part, where this state directory knows nothing of them;
            negative: from the end.
        said: told what is worth a word.

    Raises:
        IntegrityError: the archive does not verify, or contradicts what this state directory anchored.
        NothingError: there is no batch in it.
        TemporaryError: it cannot be reached.
        UsageError: it does not keep objects as it should.
    """
    archive = state.archive
    archive.prepare()
    pool = Pool(lambda: archive, jobs=1)
    keys = keys_of(archive, state.keys.first)
    _judge(verify_log(pool, keys, pins, Policy(patience=0), lambda _: None), archive, said)
    result = Adopted()
    with _fresh(state.directory) as ledger:
        with ledger.transaction():
            fork = _batches(ledger, state, resend, result)
        if fork >= result.batches:  # ours goes as far, or farther
            said(
                f"{archive.place}: this state directory knows all of its {result.batches} batches; nothing was changed"
            )
            return result
        result.again += reread.inputs(ledger, state, settings)
        _give_up(ledger, state, fork, said, result)
        _finish(ledger, state, result)
    state.ledger.close()
    path = state.directory / "ledger.sqlite"
    path.replace(state.directory / BEFORE)  # stopped here, the archive is adopted again, from nothing
    (state.directory / NEW).replace(path)
    durable.sync_directory(state.directory)
    return result


@contextmanager
def _fresh(directory: Path) -> Iterator[Ledger]:
    """Make an empty ledger."""
    for path in directory.glob(f"{NEW}*"):
        path.unlink()
    ledger = Ledger(directory / NEW)
    try:
        yield ledger
    finally:
        ledger.close()


def _judge(verdict: LogVerdict, archive: Archive, said: Said) -> None:
    """Refuse what does not verify, but for what a machine leaves that stops in the middle of a batch."""
    if not verdict.batches:
        raise NothingError(f"{archive.place}: no batch to adopt", "forward begins a log")
    for finding in verdict.findings:
        if finding.code == "stray":
            said(f"{finding.object}: no batch leads to it; a machine stopped while it was putting one")
        elif finding.code not in UNFINISHED or finding.batch not in {None, verdict.batches - 1}:
            raise IntegrityError(f"{archive.place} is not adopted: {finding}", "run verify")
    if beyond := archive.beyond(verdict.batches):
        raise IntegrityError(f"{archive.place} is not adopted: {beyond} is behind the log's end", "run verify")


def _batches(ledger: Ledger, state: State, resend: int, result: Adopted) -> int:
    """Take over the archive's batches; return how many of them this state directory has, too."""
    old = state.ledger
    last = old.last_batch()
    fork = last.sequence + 1 if last else 0
    size = sum(1 for _ in records.batches(state.archive))
    resend += size if resend < 0 else 0
    for manifest in records.batches(state.archive):
        number, sha256 = manifest.sequence, digest(manifest.encode())
        ours, way = old.batch(number), "delivering" if number >= resend else "delivered"
        if ours and ours.manifest_sha256 == sha256:
            way = ours.state if ours.state in ANCHORED else ours.state.removeprefix(EARLY)
            way = way if way in ANCHORED else "anchored"
        elif ours and ours.state in ANCHORED:
            raise IntegrityError(
                f"{state.archive.place}: batch {number} is another one than this state directory put there",
                "run verify",
            )
        elif ours:
            fork = min(fork, number)
        ledger.add_batch(Batch(number, sha256, manifest.first_record, manifest.records.count, manifest.created, way))
        if manifest.key:
            ledger.add_log_key(number, manifest.key.new)
        for item in manifest.evidence:
            if ledger.input(item.raw_sha256) is None:
                result.inputs += 1
                known = old.input(item.raw_sha256)
                path, mtime = (known.path, known.mtime) if known else (intake.STDIN, manifest.created)
                row = Input(
                    item.raw_sha256, item.raw_bytes, item.stored_sha256, item.stored_bytes, path, mtime, kind=item.kind
                )
                ledger.add_input(row)
                ledger.finish_input(item.raw_sha256, "read")
                ledger.set_evidence_anchored(item.raw_sha256)
    result.batches = size
    ledger.assets.reflect(0)
    return fork


def _give_up(ledger: Ledger, state: State, fork: int, said: Said, result: Adopted) -> None:
    """Have what was sealed in batches without a place in the log read again."""
    last = state.ledger.last_batch()
    for sequence in range(fork, last.sequence + 1 if last else fork):
        result.given_up.append(sequence)
        directory = outbox.directory_of(state.outbox, sequence)
        try:
            manifest = Manifest.decode((directory / manifest_name(sequence)).read_bytes())
        except FileNotFoundError:
            said(f"batch {sequence} of this state directory is gone: forward its inputs again")
            continue
        for item in manifest.evidence:
            known, row = state.ledger.input(item.raw_sha256), ledger.input(item.raw_sha256)
            if row or not known or item.kind != XML:  # audit logs are read again from where they are
                continue
            if not item.stored_sha256:
                said(f"{known.path}: only its hash was kept: forward it again")
                continue
            copy = intake.spooled(state.spool, item.raw_sha256)
            if not copy.exists():
                durable.link(directory / item.name, copy)
            ledger.add_input(known)
            ledger.finish_input(item.raw_sha256, "spooled")
            result.again += 1


def _finish(ledger: Ledger, state: State, result: Adopted) -> None:
    """Put what the newest batch lacks behind its manifest."""
    archive, size = state.archive, result.batches
    directory = state.directory / "adopt"
    shutil.rmtree(directory, ignore_errors=True)
    outbox.stage_tiles(directory, ledger, size)
    keys = state.keys.of(ledger)
    keys.check()
    if not archive.has(checkpoint_name(size)):
        outbox.sign(directory, ledger, keys.signers(size), size)
    for key in (*outbox.tile_keys(size), checkpoint_name(size)):
        if not archive.has(key):
            archive.put(key, directory / key)
            result.finished = True
    note = archive.read(checkpoint_name(size), 1 << 16)
    if not archive.has(POINTER) or archive.read(POINTER, 1 << 16) != note:
        archive.point(note)
        result.finished = True
    shutil.rmtree(directory)
