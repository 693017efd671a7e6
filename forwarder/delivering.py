"""Sending sealed batches on to Elasticsearch, and writing down what became of their records."""

from __future__ import annotations

from collections import Counter

from forwarder import elastic, outbox
from forwarder.archive import records
from forwarder.config import Settings
from forwarder.deliver.document import Splicer
from forwarder.deliver.interface import Output
from forwarder.errors import ForwarderError
from forwarder.ledger import ANCHORED, EARLY, SEALED, Batch, DeadLetter
from forwarder.outcome import Listener, Outcome
from forwarder.state import State


def deliver(state: State, settings: Settings, outcome: Outcome, listener: Listener) -> None:
    """Send what is in the archive on to Elasticsearch, if there is one; what fails is left for the next run."""
    early = SEALED if settings["elasticsearch.unanchored"] else ()
    batches = [batch for batch in state.ledger.batches(*ANCHORED, *early) if not batch.state.endswith("delivered")]
    if not batches or not elastic.configured(settings):
        return
    from forwarder.deliver.elasticsearch import ElasticsearchOutput  # noqa: PLC0415 - only who has one pays for it

    where = elastic.place(settings)
    try:
        client = elastic.connect(settings)
        elastic.check(client, where)
        output = ElasticsearchOutput(client, settings)
        listener.delivering(where, sum(len(state.ledger.refused_of(b.sequence)) or b.records for b in batches))
        for batch in batches:
            _batch(batch, state, settings, output, outcome, listener)
    except ForwarderError as error:
        outcome.undelivered, outcome.delivery = str(error), error.exit_code
        listener.said(str(error))


def _batch(
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
