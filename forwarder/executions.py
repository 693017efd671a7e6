"""The ledger's tables of executions and of what they have to do with scans; see attribute/."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Iterable, Iterator
from typing import Final

import orjson

from forwarder.attribute.model import Answer, Claim, Known, Subject, from_json, seconds, to_json

OPEN: Final = "waiting"
"""nmap.attribution.output of an execution whose output may still come."""
COLUMNS: Final = "entity_id, record_id, output, scans, deadline, facts"


def _storable(words: str) -> str:
    """Return words that SQLite takes: bytes that are no UTF-8 become escapes."""
    return words.encode(errors="backslashreplace").decode()


class Executions:
    """Executions by entity_id, each with all that was seen of it.

    Args:
        db: the ledger's database.
    """

    def __init__(self, db: sqlite3.Connection) -> None:
        self._db = db

    def put(self, items: Iterable[Known]) -> None:
        """Remember executions."""
        for item in items:
            row = (item.entity_id, item.record_id, item.output, " ".join(item.scans), item.deadline)
            start = seconds(item.whole.start)
            facts = json.dumps(to_json(item)).encode()  # ASCII: arguments may be no UTF-8
            self._db.execute(
                "INSERT OR REPLACE INTO execution VALUES (?, ?, ?, ?, ?, ?, ?, ?)",
                (*row, start, _storable(item.words), facts),
            )
            rows = ((proof, item.entity_id) for proof in item.proofs)
            self._db.executemany("INSERT OR IGNORE INTO execution_proof VALUES (?, ?)", rows)

    def add_sightings(self, found: Iterable[tuple[str, str]]) -> None:
        """Remember evidence by the event.id of its record, with its entity_id; it is never taken for new again."""
        self._db.executemany("INSERT OR REPLACE INTO sighting VALUES (?, ?)", found)

    def sighted(self, key: str) -> bool:
        """Tell whether evidence was taken already."""
        return self._db.execute("SELECT 1 FROM sighting WHERE key = ?", (key,)).fetchone() is not None

    def get(self, entity_id: str) -> Known | None:
        """Return an execution."""
        return next(self._some("entity_id = ?", entity_id), None)

    def like(self, words: str, first: float, last: float, most: int) -> Iterator[Known]:
        """Yield executions of a command line that began in a time (seconds since 1970), or nobody knows when."""
        yield from self._some("words = ? AND start BETWEEN ? AND ? LIMIT ?", _storable(words), first, last, most)
        yield from self._some("words = ? AND start IS NULL LIMIT ?", _storable(words), most)

    def between(self, first: float, last: float, most: int) -> Iterator[Known]:
        """Yield executions that began in a time, in seconds since 1970."""
        return self._some("start BETWEEN ? AND ? LIMIT ?", first, last, most)

    def proven(self, proof: str) -> Iterator[Known]:
        """Yield the executions that left an output of that SHA-256, or have that id in the spool."""
        return self._some("entity_id IN (SELECT entity_id FROM execution_proof WHERE proof = ?)", proof)

    def overdue(self, now: float, most: int) -> list[Known]:
        """Return some executions that wait for an output no longer."""
        return list(self._some("output = ? AND deadline <= ? ORDER BY deadline LIMIT ?", OPEN, now, most))

    def counts(self) -> dict[str, int]:
        """Return how many executions there are, by nmap.attribution.output."""
        return dict(self._db.execute("SELECT output, count(*) FROM execution GROUP BY output").fetchall())

    def _some(self, where: str, *values: object) -> Iterator[Known]:
        query = f"SELECT {COLUMNS} FROM execution WHERE {where}"  # noqa: S608 - our own words
        for entity_id, record_id, output, scans, deadline, facts in self._db.execute(query, values).fetchall():
            parts = [from_json(part) for part in json.loads(facts)["parts"]]
            yield Known(entity_id, parts, record_id, output, tuple(scans.split()), deadline)


class Claims:
    """Who made which scan, as the newest record of the scan says.

    Args:
        db: the ledger's database.
    """

    def __init__(self, db: sqlite3.Connection) -> None:
        self._db = db

    def put(self, claims: Iterable[Claim]) -> None:
        """Remember claims."""
        for claim in claims:
            subject, answer = claim.subject, claim.answer
            values = orjson.dumps({"subject": subject, "answer": answer, "summary": claim.summary})
            row = (subject.scan_id, subject.start, subject.words, subject.sha256, claim.record_id, claim.status)
            more = (claim.deadline, answer.confidence, values)
            self._db.execute("INSERT OR REPLACE INTO claim VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)", (*row, *more))

    def get(self, scan_id: str) -> Claim | None:
        """Return the claim of a scan."""
        return next(self._some("scan_id = ?", scan_id), None)

    def like(self, words: str, first: float, last: float, most: int) -> Iterator[Claim]:
        """Yield the claims of scans of a command line that began in a time, in seconds since 1970."""
        return self._some("words = ? AND start BETWEEN ? AND ? LIMIT ?", _storable(words), first, last, most)

    def with_file(self, sha256: str) -> Iterator[Claim]:
        """Yield the claims of scans that were read from a file of that hash."""
        return self._some("sha256 = ? LIMIT 1000", sha256)

    def overdue(self, now: float, most: int) -> list[Claim]:
        """Return some claims that are pending although their time is over."""
        return list(self._some("status = 'pending' AND deadline <= ? ORDER BY deadline LIMIT ?", now, most))

    def counts(self) -> dict[str, int]:
        """Return how many scans there are, by status and confidence: `pending none`, `final exact` and so on."""
        rows = self._db.execute("SELECT status || ' ' || confidence AS how, count(*) FROM claim GROUP BY how")
        return dict(rows.fetchall())

    def _some(self, where: str, *values: object) -> Iterator[Claim]:
        query = f"SELECT record_id, status, deadline, facts FROM claim WHERE {where}"  # noqa: S608 - our own words
        for record_id, status, deadline, facts in self._db.execute(query, values).fetchall():
            found = orjson.loads(facts)
            answer = found["answer"]
            answer |= {name: tuple(answer[name]) for name in ("reasons", "executions")}
            subject = Subject(**found["subject"])
            yield Claim(subject, Answer(**answer), record_id, status, deadline, found["summary"])
