"""Putting sealed batches into the archive, in order, as far as it can be reached."""

from __future__ import annotations

from forwarder import outbox
from forwarder.errors import ForwarderError, TemporaryError, UsageError
from forwarder.ledger import SEALED, Batch
from forwarder.outcome import Listener, Outcome
from forwarder.seal.manifest import Manifest, manifest_name
from forwarder.state import State


class Anchor:
    """Puts sealed batches into the archive whenever it is called.

    While the archive is away or refuses us, batches stay sealed and queued, and sealing goes on; once it failed, it is
    not asked again in this run. What contradicts our log stops the run.

    Args:
        state: the open state directory.
        outcome: is told why the archive could not be reached.
        listener: likewise, at once.
    """

    def __init__(self, state: State, outcome: Outcome, listener: Listener) -> None:
        self._state = state
        self._outcome = outcome
        self._listener = listener
        self._checked = False

    def __call__(self) -> None:
        """Put what is sealed.

        Raises:
            IntegrityError: the archive is not as we left it, or somebody else wrote to our log.
        """
        if self._outcome.unanchored:
            return
        try:
            if not self._checked:
                outbox.check_head(self._state.archive, self._state.ledger, self._state.origin)
                self._checked = True
            for batch in self._state.ledger.batches(*SEALED):
                self._put(batch)
        except (TemporaryError, UsageError) as error:
            self._postpone(error)

    def _put(self, batch: Batch) -> None:
        """Put one batch, and write down what keeps it."""
        ledger, archive = self._state.ledger, self._state.archive
        directory = outbox.directory_of(self._state.outbox, batch.sequence)
        manifest = Manifest.decode((directory / manifest_name(batch.sequence)).read_bytes())
        outbox.check_free(directory, manifest, archive)
        inputs = [ledger.input(evidence.raw_sha256) for evidence in manifest.evidence]
        there = frozenset(item.raw_sha256 for item in inputs if item and item.anchored)
        changes = [sequence for sequence, _ in ledger.log_keys() if sequence < batch.sequence]
        receipts = outbox.anchor(directory, manifest, archive, there, changes)
        with ledger.transaction():
            ledger.set_anchored(batch)
            ledger.receipts.add(batch.sequence, receipts)
            for evidence in manifest.evidence:
                ledger.set_evidence_anchored(evidence.raw_sha256)

    def _postpone(self, error: ForwarderError) -> None:
        self._outcome.unanchored, self._outcome.anchoring = str(error), error.exit_code
        self._listener.said(str(error))
