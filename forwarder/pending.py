"""What the records added so far say of executions and scans, before the ledger may know it."""

from __future__ import annotations

from collections import defaultdict
from typing import Final

from forwarder.attribute.model import Claim, Known, seconds
from forwarder.ledger import Input, Ledger
from forwarder.positions import Progress


class Pending:
    """Executions and claims as they are with the records added so far; the ledger has them once those are sealed.

    Args:
        ledger: the ledger.
    """

    MOST: Final = 1000
    """Executions or scans that are looked at for one; of more of one command line in minutes, some stay unknown."""

    def __init__(self, ledger: Ledger) -> None:
        self._ledger = ledger
        self.executions: dict[str, Known] = {}
        self._by_words: defaultdict[str, dict[str, Known]] = defaultdict(dict)
        self.claims: dict[str, Claim] = {}
        self.sightings: dict[str, str] = {}
        """Evidence → execution."""
        self.inputs: list[Input] = []
        """Evidence that records refer to."""
        self.progress: list[Progress] = []
        """How far logs are read."""

    def save(self) -> None:
        """Have the ledger remember; called in the transaction that promises the records."""
        ledger = self._ledger
        ledger.executions.put(self.executions.values())
        ledger.executions.add_sightings(self.sightings.items())
        ledger.claims.put(self.claims.values())
        for item in self.inputs:
            if ledger.input(item.raw_sha256) is None:
                ledger.add_input(item)
        ledger.positions.save(self.progress)
        self.executions, self.claims, self.sightings, self.inputs, self.progress = {}, {}, {}, [], []
        self._by_words.clear()

    def put(self, item: Known) -> None:
        """Say what is known of an execution with the records added so far."""
        self.executions[item.entity_id] = item
        self._by_words[item.words][item.entity_id] = item

    def sighted(self, key: str) -> bool:
        """Tell whether evidence was taken already."""
        return key in self.sightings or self._ledger.executions.sighted(key)

    def execution(self, entity_id: str) -> Known | None:
        """Return an execution."""
        return self.executions.get(entity_id) or self._ledger.executions.get(entity_id)

    def claim(self, scan_id: str) -> Claim | None:
        """Return the claim of a scan."""
        return self.claims.get(scan_id) or self._ledger.claims.get(scan_id)

    def runs(self, words: str, first: float, last: float) -> list[Known]:
        """Return the executions of a command line, or of any if there is none, that began in a time."""
        table = self._ledger.executions
        found = table.like(words, first, last, self.MOST) if words else table.between(first, last, self.MOST)
        known = {item.entity_id: self.executions.get(item.entity_id, item) for item in found}
        known |= self._by_words[words] if words else self.executions
        return [item for item in known.values() if _fits(words, item.words, seconds(item.whole.start), first, last)]

    def proven(self, proof: str) -> list[Known]:
        """Return the executions that left an output of that SHA-256, or have that id in the spool."""
        known = {item.entity_id: item for item in self._ledger.executions.proven(proof)} | self.executions
        return [item for item in known.values() if proof in item.proofs]

    def rivals(self, words: str, first: float, last: float) -> list[Claim]:
        """Return the claims of scans of a command line that began in a time."""
        found = self._ledger.claims.like(words, first, last, self.MOST)
        known = {claim.subject.scan_id: claim for claim in found} | self.claims
        return [
            claim
            for claim in known.values()
            if claim.subject.words == words and claim.subject.start is not None and first <= claim.subject.start <= last
        ]

    def of_file(self, sha256: str) -> list[Claim]:
        """Return the claims of scans that were read from a file of that hash."""
        known = {claim.subject.scan_id: claim for claim in self._ledger.claims.with_file(sha256)} | self.claims
        return [claim for claim in known.values() if claim.subject.sha256 == sha256]


def _fits(wanted: str, words: str, start: float | None, first: float, last: float) -> bool:
    return (not wanted or words == wanted) and (first <= start <= last if start is not None else bool(wanted))
