"""The whole story: input files become sealed, archived, delivered batches. Only this knows the order of stages."""

from __future__ import annotations

from collections import Counter

from forwarder import elastic, inbox, intake, outbox, reading, rebuild, stamp
from forwarder.anchoring import Anchor
from forwarder.archive import records
from forwarder.batcher import Batcher
from forwarder.config import Settings
from forwarder.deliver.document import Splicer
from forwarder.deliver.elasticsearch import ElasticsearchOutput
from forwarder.deliver.interface import Output
from forwarder.errors import ForwarderError, InputError, UsageError
from forwarder.ledger import ANCHORED, EARLY, SEALED, Batch, DeadLetter, Input, Scan
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
    try:
        for left in state.ledger.inputs("spooled"):  # an earlier run was stopped before their last record
            read(left, state, settings, batcher, outcome, listener)
        for item in inbox.collect(paths, state, settings, outcome, listener):
            read(item, state, settings, batcher, outcome, listener)
        batcher.seal()
        batcher.heartbeat()
    finally:
        batcher.abandon()
    outcome.batches = batcher.sequence - outcome.first_batch
    tidy(state)
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


def read(item: Input, state: State, settings: Settings, batcher: Batcher, outcome: Outcome, listener: Listener) -> None:
    """Turn an input into records, and hand them to the batcher."""

    def earlier(scan: Scan) -> intake.Utf8 | None:
        before = state.ledger.input(scan.raw_sha256)
        if before is None:
            return None
        path = intake.spooled(state.spool, before.raw_sha256)
        if path.exists():
            return intake.Utf8(path)
        key = evidence_name(before.stored_sha256)
        return intake.Utf8(state.archive.open(key)) if state.archive.has(key) else None

    def add(line: bytes) -> None:
        batcher.add(line, item)

    sink = reading.Sink(
        add,
        batcher.progress,
        batcher.scan,
        lambda: batcher.full,
        batcher.seal,
        earlier,
        batcher.asset,
        batcher.observed,
        batcher.up,
    )
    copy = intake.spooled(state.spool, item.raw_sha256)
    try:
        result = reading.read_input(item, copy, settings, sink, listener.progressed)
    except InputError as error:
        state.ledger.finish_input(item.raw_sha256, "rejected", str(error))
        listener.reject(f"{item.path}: {error}", outcome)
        return
    batcher.finish(item)
    outcome.scans += result.scans
    outcome.hosts += result.hosts
    outcome.records += result.records
    outcome.rejected += [f"{item.path}: {line}" for line in result.refused]
    for line in reading.lines_of(result.refused + result.notes, item.path):
        listener.said(line)


def deliver(state: State, settings: Settings, outcome: Outcome, listener: Listener) -> None:
    """Send what is in the archive on to Elasticsearch, if there is one; what fails is left for the next run."""
    early = SEALED if settings["elasticsearch.unanchored"] else ()
    batches = [batch for batch in state.ledger.batches(*ANCHORED, *early) if not batch.state.endswith("delivered")]
    if not batches or not elastic.configured(settings):
        return
    where = elastic.place(settings)
    try:
        client = elastic.connect(settings)
        elastic.check(client, where)
        output = ElasticsearchOutput(client, settings)
        listener.delivering(where, sum(len(state.ledger.refused_of(b.sequence)) or b.records for b in batches))
        for batch in batches:
            deliver_batch(batch, state, settings, output, outcome, listener)
    except ForwarderError as error:
        outcome.undelivered, outcome.delivery = str(error), error.exit_code
        listener.said(str(error))


def have_stamped(state: State, settings: Settings, outcome: Outcome, listener: Listener) -> None:
    """Have the newest checkpoint time-stamped, if there are authorities; what fails is left for the next run."""
    try:
        stamp.stamp(state, settings, outcome, listener)
    except ForwarderError as error:
        outcome.unstamped, outcome.stamping = str(error), error.exit_code
        listener.said(str(error))


def deliver_batch(
    batch: Batch, state: State, settings: Settings, output: Output, outcome: Outcome, listener: Listener
) -> None:
    """Send one batch; while it is in flight, documents of it that are there already are taken for ours.

    Of a batch with refused records only these are sent again: the others were taken, and whether they are there is
    known to the server only until their data stream begins its next index.
    """
    ledger, archive, early = state.ledger, state.archive, EARLY if batch.state in SEALED else ""
    if early:
        archive = outbox.sealed(outbox.directory_of(state.outbox, batch.sequence))
    manifest = records.manifest(archive, batch.sequence, batch.manifest_sha256)
    agent = (state.agent_id, settings["observer.name"])
    splicer = Splicer(manifest, batch.manifest_sha256, "none" if early else archive.kind, agent)
    again = ledger.refused_of(batch.sequence)
    documents = (
        splicer.document(line, index)
        for index, line in enumerate(records.lines(archive, manifest))
        if not again or batch.first_record + index in again
    )
    ledger.set_batch_state(batch.sequence, f"{early}delivering")
    refused: list[DeadLetter] = []
    try:
        for result in output.deliver(documents, resumed=batch.state.endswith("delivering")):
            outcome.delivered += result.created + result.known
            listener.progressed(result.created + result.known + len(result.rejected))
            for item in result.rejected:
                document = item.document
                refused.append(
                    DeadLetter(
                        document.sequence, batch.sequence, document.id, document.stream, item.status, item.reason
                    )
                )
    finally:  # also when the rest has to wait: then the next attempt cannot tell what is planted from what is ours
        for status, count in Counter(letter.status for letter in refused).items():
            why = next(letter.reason for letter in refused if letter.status == status)
            line = f"{output.place} refuses {count} records of batch {batch.sequence} ({status}: {why})"
            listener.reject(line, outcome)
    with ledger.transaction():
        ledger.remove_dead_letters(batch.sequence)
        for letter in refused:
            ledger.add_dead_letter(letter)
        ledger.set_batch_state(batch.sequence, f"{early}delivered")


def tidy(state: State) -> None:
    """Remove what is no longer needed: batches in the archive, and inputs whose records all are."""
    unsealed = {item.raw_sha256 for item in state.ledger.inputs("spooled")}
    pending = {outbox.directory_of(state.outbox, batch.sequence) for batch in state.ledger.batches(*SEALED)}
    intake.keep_only(state.spool, {intake.spooled(state.spool, raw_sha256) for raw_sha256 in unsealed})
    outbox.keep_only(state.outbox, pending)
    last = state.ledger.last_batch(*ANCHORED)
    state.keys.tidy(last.sequence + 1 if last else 0)
