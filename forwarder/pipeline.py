"""The whole story: input files become sealed, archived, delivered batches. Only this knows the order of stages."""

from __future__ import annotations

from functools import partial
from pathlib import Path

from forwarder import inbox, intake, outbox, reading, rebuild, stamp
from forwarder.anchoring import Anchor
from forwarder.attributing import Attributor
from forwarder.batcher import Batcher
from forwarder.config import Settings
from forwarder.delivering import deliver
from forwarder.errors import ForwarderError, InputError, TemporaryError, UsageError
from forwarder.gathering import Gatherer
from forwarder.ledger import ANCHORED, SEALED, Input, Scan
from forwarder.outcome import Listener, Outcome
from forwarder.seal.keychange import KeyChange
from forwarder.seal.manifest import evidence_name
from forwarder.seal.note import Verifier
from forwarder.state import State


def forward(state: State, settings: Settings, paths: list[str], listener: Listener) -> Outcome:
    """Read inputs, seal their records, and put them into the archive; finish what an earlier run left.

    Raises:
        IntegrityError: the archive is not as we left it.
        OSError: the state directory or the archive cannot be written; a later run goes on.
    """
    outcome = Outcome()
    anchor = Anchor(state, outcome, listener)
    recover(state, anchor)
    batcher = Batcher(state, settings, anchor)
    outcome.first_batch = batcher.sequence
    attributor = Attributor(state, settings, batcher)
    evidence = Gatherer(state, attributor, outcome, listener)
    try:
        evidence.gather()
        for left in state.ledger.inputs("spooled"):  # an earlier run was stopped before their last record
            read(left, state, attributor, outcome, listener)
        for item in inbox.collect(paths, state, settings, outcome, listener, ended=evidence.files):
            read(item, state, attributor, outcome, listener)
        attributor.close()
        batcher.tell()
        batcher.seal()
        batcher.heartbeat()
    finally:
        batcher.abandon()
    outcome.batches = batcher.sequence - outcome.first_batch
    tidy(state)
    evidence.tidy()
    deliver(state, settings, outcome, listener)
    have_stamped(state, settings, outcome, listener)
    return outcome


def redeliver(state: State, settings: Settings, listener: Listener, *, refused: bool) -> Outcome:
    """Deliver what earlier runs left; with `refused` also the records that were refused.

    Raises:
        IntegrityError: the archive is not as we left it.
    """
    outcome = Outcome()
    recover(state, Anchor(state, outcome, listener))
    if refused:
        state.ledger.retry_refused()
    deliver(state, settings, outcome, listener)
    have_stamped(state, settings, outcome, listener)
    return outcome


def change_key(
    state: State,
    settings: Settings,
    outcome: Outcome,
    listener: Listener,
    trusted_size: int | None = None,
    since: str = "",
) -> Verifier:
    """Have another key sign from now on; return it. The log says so in a batch that both keys sign.

    Args:
        state: the open state directory.
        settings: `key.uri` names the new key; else one is made.
        outcome: is told if the archive could not be reached.
        listener: likewise, at once.
        trusted_size: of a revocation, the largest size that the old key is still trusted for.
        since: of a revocation, the time from which on the old key may have been in other hands, if it is known.

    Raises:
        UsageError: the new key cannot be used, or the log has not had that size.
        IntegrityError: the archive is not as we left it.
    """
    anchor = Anchor(state, outcome, listener)
    recover(state, anchor)
    batcher = Batcher(state, settings, anchor)
    if trusted_size is not None and trusted_size > batcher.sequence:
        raise UsageError(f"the log has {batcher.sequence} batches only", "give the size of a checkpoint that it had")
    old, new = state.keys.in_force, state.keys.prepare(settings["key.uri"])
    action = "rotate" if trusted_size is None else "revoke"
    batcher.change_key(KeyChange(action, str(old), str(new), trusted_size, since))
    have_stamped(state, settings, outcome, listener)
    tidy(state)
    return new


def recover(state: State, anchor: Anchor) -> None:
    """Finish batches that were promised; what was not promised is made anew from the spool."""
    for batch in state.ledger.batches("intent"):
        directory = outbox.directory_of(state.outbox, batch.sequence)
        outbox.sign(directory, state.ledger, state.keys.signers(batch.sequence + 1), batch.sequence + 1)
        state.ledger.set_batch_state(batch.sequence, "sealed")
    anchor()
    rebuild.catch_up(state.ledger, state.archive)
    tidy(state)


def read(item: Input, state: State, attributor: Attributor, outcome: Outcome, listener: Listener) -> None:
    """Turn an input into records that say who made them, and hand them to the batcher."""
    batcher = attributor.batcher

    def earlier(scan: Scan) -> intake.Utf8 | None:
        before = state.ledger.input(scan.raw_sha256)
        if before is None:
            return None
        path = intake.spooled(state.spool, before.raw_sha256)
        if path.exists():
            return intake.Utf8(path)
        key = evidence_name(before.stored_sha256)
        return intake.Utf8(state.archive.open(key)) if state.archive.has(key) else None

    sink = reading.Sink(
        partial(batcher.add, item),
        batcher.progress,
        batcher.scan,
        lambda: batcher.full,
        batcher.seal,
        earlier,
        batcher.asset,
        batcher.observed,
        batcher.up,
        attributor.attribute,
        attributor.claim,
        partial(batcher.add_all, item),
    )
    copy = intake.spooled(state.spool, item.raw_sha256)
    try:
        result = reading.read_input(item, copy, attributor.settings, sink, listener.progressed)
    except (TemporaryError, UsageError) as error:  # what it is to be compared with cannot be read: the next run does
        outcome.unanchored, outcome.anchoring = str(error), error.exit_code
        listener.said(f"{item.path}: left for the next run: {error}")
        return
    except InputError as error:
        listener.reject(inbox.refuse(item, str(error), state, attributor.settings), outcome)
        return
    batcher.finish(item)
    outcome.scans += result.scans
    outcome.hosts += result.hosts
    outcome.records += result.records
    refused = [f"{item.path}: {line}" for line in result.refused]
    outcome.rejected += refused
    for line in (*refused, *result.notes.of(item.path)):
        listener.said(line)


def have_stamped(state: State, settings: Settings, outcome: Outcome, listener: Listener) -> None:
    """Have the newest checkpoint time-stamped, if there are authorities; what fails is left for the next run."""
    try:
        stamp.stamp(state, settings, outcome, listener)
    except ForwarderError as error:
        outcome.unstamped, outcome.stamping = str(error), error.exit_code
        listener.said(str(error))


def tidy(state: State) -> None:
    """Remove what is no longer needed: batches in the archive, and copies of inputs whose records all are.

    A copy that is all there is of a rejected input stays. Files that were left for a later run and are gone are
    forgotten.
    """
    wanted = {intake.spooled(state.spool, item.raw_sha256) for item in state.ledger.inputs("spooled")}
    wanted |= {Path(item.path) for item in state.ledger.inputs("rejected")}
    pending = {outbox.directory_of(state.outbox, batch.sequence) for batch in state.ledger.batches(*SEALED)}
    intake.keep_only(state.spool, wanted)
    state.ledger.forget_gone()
    outbox.keep_only(state.outbox, pending)
    last = state.ledger.last_batch(*ANCHORED)
    state.keys.tidy(last.sequence + 1 if last else 0)
