"""Gets the objects of batches from an archive, judges them, and keeps those that answer the question."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, Final

import orjson
import zstandard

from forwarder import durable
from forwarder.archive import records
from forwarder.archive.directory import DirectoryArchive
from forwarder.archive.interface import UndecryptableError
from forwarder.pull.log import Log
from forwarder.pull.question import Question, values
from forwarder.pull.work import Journal, Work
from forwarder.seal.manifest import Evidence, Manifest
from forwarder.seal.note import HASH_BYTES
from forwarder.seal.proof import LogProof
from forwarder.verify.content import Reference, check_evidences, fetch, undecryptable
from forwarder.verify.objects import check_records, read_limit
from forwarder.verify.policy import Policy
from forwarder.verify.verdict import LogVerdict

CHUNK: Final = 1 << 18
EVIDENCE: Final = "evidence"
"""Directory of the raw input in an answer."""
MAX_WINDOW: Final = 1 << 27
Line = tuple[str, str, bool]
"""Of a record its scan's id, of a scan record also the SHA-256 of its input, and whether its input is wanted."""


def name_of(log: Log) -> str:
    """Return the directory of a log in an answer: a word of ours and the key's id, nothing made from input."""
    return f"log-{log.verifier.key_id.hex()}"


class Fetcher:
    """Looks through one log.

    Args:
        log: its proven manifests.
        question: what is wanted.
        work: where to keep it.
        journal: what an earlier run has done.
        policy: for how long objects are kept; what is missing after that is no finding.
    """

    def __init__(self, log: Log, question: Question, work: Work, journal: Journal, policy: Policy) -> None:
        self.log, self.question, self.work, self.journal, self.policy = log, question, work, journal, policy
        self._first = journal.next
        self.kept = DirectoryArchive(work.answer, name_of(log))
        self._incoming = DirectoryArchive(work.incoming, name_of(log))

    def run(self, advance: Callable[[int], object]) -> None:
        """Look through all batches that an earlier run has not; each is done before the next.

        Raises:
            TemporaryError: the archive cannot be reached.
        """
        found = fetch(self.log.archive, self._names(), self.log.verdict)
        for manifest in self.log.manifests():
            if self._is_new(manifest):
                self.journal.add(self._batch(manifest, next(found), next(found)))
            advance(1)

    def _is_new(self, manifest: Manifest) -> bool:
        return manifest.sequence >= self._first and self.question.overlaps(manifest.records)

    def _names(self) -> Iterator[tuple[str, int]]:
        """Yield the objects to read, and how much of them."""
        for manifest in filter(self._is_new, self.log.manifests()):
            yield manifest.records.name, manifest.records.stored_bytes
            yield manifest.records.leaves_name, HASH_BYTES * manifest.records.count

    def _batch(self, manifest: Manifest, stored: bytes | None, leaves: bytes | None) -> dict[str, Any]:
        """Return what the journal has to say about a batch."""
        verdict = LogVerdict(self.log.verifier.name)
        entry: dict[str, Any] = {"batch": manifest.sequence}
        check_records(manifest, stored, leaves, self.policy, verdict)
        if stored and leaves and not verdict.findings:
            entry |= self._select(manifest, stored)
            if entry["records"]:
                self._prove(manifest)
                for item in (manifest.evidence[place] for place in entry["evidence"]):
                    if item.stored_sha256:
                        self._evidence(manifest, item, verdict)
                durable.write(self.kept.root / manifest.records.name, stored)
                durable.write(self.kept.root / manifest.records.leaves_name, leaves)
        verdict.sort()
        if verdict.findings:
            entry["findings"] = [finding.as_json() for finding in verdict.findings]
        if verdict.expired:
            entry["expired"] = verdict.expired
        return entry

    def _select(self, manifest: Manifest, stored: bytes) -> dict[str, Any]:
        """Return which records are wanted, as ranges, and which inputs they were made from."""
        chosen: list[int] = []
        lines: list[Line] = []
        for index, data in enumerate(records.split(stored)):
            record = orjson.loads(data)
            if wanted := self.question.matches(record):
                chosen.append(index)
            dataset = record["event"]["dataset"]
            raw = _first(record, "file.hash.sha256") if dataset == "nmap.scan" else ""
            # records about the log itself are made from no input
            lines.append((_first(record, "nmap.scan.id"), raw, wanted and dataset != "nmap.seal"))
        return {"records": _ranges(chosen), "evidence": evidence_of(lines, manifest.evidence)}

    def _prove(self, manifest: Manifest) -> None:
        """Write the manifest, and its proof."""
        log, sequence = self.log, manifest.sequence
        proof = LogProof(sequence, log.tree.path(sequence, log.tree.size), log.note)
        durable.write(self.kept.root / manifest.name, manifest.encode())
        durable.write(self.kept.root / proof_name(sequence), proof.encode())

    def _evidence(self, manifest: Manifest, item: Evidence, verdict: LogVerdict) -> None:
        """Get an input, unless it is there: the stored object, and what is in it."""
        raw = self.work.answer / raw_name(item)
        if raw.exists() and (self.kept.root / item.name).exists():
            return
        self._get(item, verdict)
        found = len(verdict.findings)
        check_evidences(self._incoming, [Reference(manifest.sequence, manifest.created, item)], self.policy, verdict)
        copy = self._incoming.root / item.name
        if len(verdict.findings) == found and copy.exists():
            self._decompress(copy, raw)
            self._keep(item.name)
        copy.unlink(missing_ok=True)

    def _get(self, item: Evidence, verdict: LogVerdict) -> None:
        """Copy an input's object to where nothing is trusted; of one that is too large only what shows that."""
        target = self._incoming.root / item.name
        target.parent.mkdir(parents=True, exist_ok=True)
        left = read_limit(item.stored_bytes)
        try:
            with self.log.archive.open(item.name) as source, target.open("wb") as out:
                while left and (data := source.read(min(CHUNK, left))):
                    out.write(data)
                    left -= len(data)
        except FileNotFoundError:
            target.unlink(missing_ok=True)
        except UndecryptableError as error:
            undecryptable(item.name, error, verdict)

    def _keep(self, key: str) -> None:
        """Give a copy that was judged its place in the answer."""
        part, final = self._incoming.root / key, self.kept.root / key
        durable.make_directory(final.parent)
        with part.open("rb") as file:
            os.fsync(file.fileno())
        durable.commit(part, final)

    def _decompress(self, stored: Path, raw: Path) -> None:
        """Decompress a copy that was judged."""
        durable.make_directory(raw.parent)
        part = self.work.incoming / raw.name
        with stored.open("rb") as source, part.open("wb") as out:
            zstandard.ZstdDecompressor(max_window_size=MAX_WINDOW).copy_stream(source, out)
            out.flush()
            os.fsync(out.fileno())
        durable.commit(part, raw)


def proof_name(sequence: int) -> str:
    """Return the name of a batch's proof in the log's directory of an answer."""
    return f"proofs/{sequence:020d}.tlog-proof"


def raw_name(item: Evidence) -> str:
    """Return the name of an input in an answer."""
    return f"{EVIDENCE}/{item.raw_sha256}.{'xml' if item.kind == 'nmap-xml' else 'txt'}"


def evidence_of(lines: Sequence[Line], evidence: Sequence[Evidence]) -> list[int]:
    """Return which of a batch's inputs its wanted records were made from, by their places in the manifest.

    A scan ends with its scan record, which names its input. Where that is in another batch, or a scan was given up, all
    inputs are returned that can be meant: inputs are read one after the other, so it is one of those from the input of
    the scan record before to that of the next one.

    Args:
        lines: the batch's records.
        evidence: the manifest's.
    """
    where = {item.raw_sha256: place for place, item in enumerate(evidence)}
    wanted: set[int] = set()
    inputs: dict[str, int] = {}
    open_to, last = -1, len(evidence) - 1
    for scan, raw, chosen in reversed(lines):
        if raw in where:
            last = inputs[scan] = where[raw]
            wanted |= set(range(last, open_to + 1))
            open_to = -1
        if chosen and scan in inputs:
            wanted.add(inputs[scan])
        elif chosen:
            open_to = max(open_to, last)
    return sorted(wanted | set(range(open_to + 1)))


def _first(record: dict[str, Any], path: str) -> str:
    found = values(record, path)
    return str(found[0]) if found else ""


def _ranges(numbers: Sequence[int]) -> list[list[int]]:
    """Return sorted numbers as ranges of first and last."""
    found: list[list[int]] = []
    for number in numbers:
        if found and found[-1][1] == number - 1:
            found[-1][1] = number
        else:
            found.append([number, number])
    return found
