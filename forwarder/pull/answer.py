"""Puts an answer together from the objects that were kept: the same objects always give the same bytes."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, Any

import orjson

from forwarder import durable
from forwarder.archive import records
from forwarder.pull import table
from forwarder.pull.fetch import EVIDENCE, Fetcher, name_of
from forwarder.pull.question import Question
from forwarder.seal.manifest import Manifest, digest
from forwarder.verify.verdict import Finding, LogVerdict

PLACES = "line,log,batch,record,sequence,hash\n"
"""First line of places.csv."""


@dataclass(slots=True)
class Answer:
    """What was found."""

    archive: str
    """Where it was pulled from, as the user named it."""
    question: Question
    logs: list[LogVerdict] = field(default_factory=list)
    directories: list[str] = field(default_factory=list)
    """Their directories in the answer, in the same order."""
    records: int = 0
    datasets: Counter[str] = field(default_factory=Counter)
    tables: list[str] = field(default_factory=list)
    evidence: int = 0
    """Files of evidence."""
    not_kept: int = 0
    """References of batches to inputs of which the archive keeps only the hash."""
    notes: list[str] = field(default_factory=list)

    @property
    def findings(self) -> list[Any]:
        """All findings."""
        return [finding for log in self.logs for finding in log.findings]

    def as_json(self) -> dict[str, Any]:
        """Return it as JSON values."""
        return {
            "archive": self.archive,
            "asked": self.question.as_json(),
            "datasets": dict(sorted(self.datasets.items())),
            "evidence": self.evidence,
            "evidence_not_kept": self.not_kept,
            "logs": [
                {"directory": name} | log.as_json() for name, log in zip(self.directories, self.logs, strict=True)
            ],
            "notes": self.notes,
            "ok": not self.findings,
            "records": self.records,
        }


def gather(answer: Answer, fetchers: Sequence[Fetcher], folder: Path, advance: Callable[[int], object]) -> None:
    """Write records, places and tables, and the keys and checkpoints of their logs.

    Args:
        answer: is filled in.
        fetchers: the logs, looked through.
        folder: where the answer is made; holds the objects that were kept.
        advance: called with 1 for each batch.
    """
    files = _Files(folder)
    with files.stack:
        for fetcher in fetchers:
            log, verdict = fetcher.log, fetcher.log.verdict
            for entry in fetcher.journal:
                verdict.findings += [Finding(**finding) for finding in entry.get("findings", ())]
                verdict.expired += entry.get("expired", 0)
            verdict.sort()
            if verdict.expired:
                verdict.notes.append(f"{verdict.expired} objects are gone, as their retention is over")
            answer.notes += [f"{log.verifier.name}: {note}" for note in verdict.notes]
            answer.logs.append(verdict)
            answer.directories.append(name_of(log))
            for manifest, entry in _matched(fetcher):
                _batch(manifest, entry, fetcher, answer, files)
                advance(1)
            if verdict.batches:
                durable.write(fetcher.kept.root / "key.vkey", f"{log.verifier}\n".encode())
                durable.write(fetcher.kept.root / "checkpoint", log.note)
                for change in log.changes:
                    name = fetcher.kept.root / f"keys/{change.proof.index:020d}"
                    durable.write(name.with_suffix(".json"), change.manifest)
                    durable.write(name.with_suffix(".tlog-proof"), change.proof.encode())
    files.commit()
    answer.tables = sorted(files.tables)
    if (folder / EVIDENCE).is_dir():
        answer.evidence = sum(1 for _ in os.scandir(folder / EVIDENCE))


def _matched(fetcher: Fetcher) -> Iterator[tuple[Manifest, dict[str, Any]]]:
    """Yield the batches that have records of the answer, and what the journal says of them."""
    manifests = fetcher.log.manifests()
    for entry in fetcher.journal:
        if entry.get("records"):
            yield next(manifest for manifest in manifests if manifest.sequence == entry["batch"]), entry


def _batch(manifest: Manifest, entry: dict[str, Any], fetcher: Fetcher, answer: Answer, files: _Files) -> None:
    """Write the records of a batch that are asked for."""
    ranges = iter(entry["records"])
    first, last = next(ranges)
    for index, line in enumerate(records.lines(fetcher.kept, manifest)):
        if index > last:
            first, last = next(ranges, (1 << 62, 1 << 62))
        if index < first:
            continue
        record = orjson.loads(line)
        answer.records += 1
        answer.datasets[str(record["event"]["dataset"]).removeprefix("nmap.")] += 1
        files.records.write(line + b"\n")
        sequence = manifest.first_record + index
        place = (answer.records, name_of(fetcher.log), manifest.sequence, index, sequence, digest(line))
        files.places.write(",".join(map(str, place)).encode() + b"\n")
        name = table.table_of(record)
        files.table(name).write(table.row(record, name).encode())
    fetcher.log.verdict.batches += 1
    fetcher.log.verdict.records += sum(last - first + 1 for first, last in entry["records"])
    answer.not_kept += sum(not manifest.evidence[place].stored_sha256 for place in entry["evidence"])


class _Files:
    """The files of an answer that grow with it; they get their names when all of them are whole."""

    def __init__(self, folder: Path) -> None:
        self.stack = ExitStack()
        self._folder = folder
        self._open: dict[str, IO[bytes]] = {}
        self.tables: set[str] = set()
        self.records = self._file("records.ndjson", b"")
        self.places = self._file("places.csv", PLACES.encode())

    def table(self, name: str) -> IO[bytes]:
        """Return the file of a table, with its header."""
        self.tables.add(name)
        path = f"csv/{name}.csv"
        return self._open.get(path) or self._file(path, table.header(name).encode())

    def _file(self, path: str, header: bytes) -> IO[bytes]:
        part = self._folder / (path + durable.PART)
        durable.make_directory(part.parent)
        self._open[path] = self.stack.enter_context(part.open("wb"))
        self._open[path].write(header)
        return self._open[path]

    def commit(self) -> None:
        """Give all files their names."""
        for path in self._open:
            part = self._folder / (path + durable.PART)
            with part.open("rb") as file:
                os.fsync(file.fileno())
            durable.commit(part, self._folder / path)
