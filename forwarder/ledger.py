"""What the forwarder knows: inputs, scans, batches, the log's tree. SQLite in WAL mode, every commit synced.

All of it but the order of work could be made again from the archive; losing it loses no sealed record.
"""

from __future__ import annotations

import fcntl
import json
import os
import sqlite3
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from forwarder.assets import Assets
from forwarder.errors import TemporaryError, UsageError
from forwarder.executions import Claims, Executions
from forwarder.positions import Positions
from forwarder.receipts import Receipts
from forwarder.seal import merkle, tiles

SCHEMA: Final = (
    """
CREATE TABLE input (             -- each content that was read or is to be read
    raw_sha256 TEXT PRIMARY KEY,
    raw_bytes INTEGER NOT NULL,
    stored_sha256 TEXT NOT NULL,
    stored_bytes INTEGER NOT NULL,
    path TEXT NOT NULL,          -- under which it was first seen
    mtime TEXT NOT NULL,
    note TEXT NOT NULL,
    state TEXT NOT NULL,         -- spooled, read, rejected
    reason TEXT NOT NULL,        -- of a rejection
    anchored INTEGER NOT NULL    -- its evidence is in the archive
) WITHOUT ROWID;
CREATE TABLE file (              -- what a path was when it was looked at last: saves reading it again
    path TEXT PRIMARY KEY,
    stat TEXT NOT NULL,
    raw_sha256 TEXT,             -- NULL: left for a later run
    reason TEXT NOT NULL
) WITHOUT ROWID;
CREATE TABLE scan (              -- how far each scan is sealed
    scan_id TEXT PRIMARY KEY,
    raw_sha256 TEXT NOT NULL,    -- the input that it was read from last
    start INTEGER NOT NULL,      -- offset of the document in it
    next_host INTEGER NOT NULL,
    skip INTEGER NOT NULL,       -- records of that host that are sealed already
    prefix_length INTEGER NOT NULL,
    prefix_sha256 TEXT NOT NULL, -- of the document through its last complete host
    tally TEXT NOT NULL,         -- JSON, over the hosts before next_host
    record_id TEXT NOT NULL,     -- event.id of its newest scan record
    length INTEGER NOT NULL,     -- of the document when that record was made
    reader_version INTEGER NOT NULL
) WITHOUT ROWID;
CREATE TABLE batch (
    sequence INTEGER PRIMARY KEY,
    manifest_sha256 TEXT NOT NULL,
    first_record INTEGER NOT NULL,
    records INTEGER NOT NULL,
    created TEXT NOT NULL,
    state TEXT NOT NULL          -- intent, sealed, early-…, anchored, delivering, delivered
);
CREATE TABLE node (              -- hashes of the log's tree at the levels of its tiles
    level INTEGER NOT NULL,
    place INTEGER NOT NULL,
    hash BLOB NOT NULL,
    PRIMARY KEY (level, place)
) WITHOUT ROWID;
""",
    """
ALTER TABLE input ADD COLUMN uid TEXT NOT NULL DEFAULT ''; -- of the file's owner, empty for standard input
ALTER TABLE input ADD COLUMN owner TEXT NOT NULL DEFAULT '';
CREATE TABLE dead_letter (       -- records that Elasticsearch will not take as they are
    sequence INTEGER PRIMARY KEY, -- event.sequence of the record
    batch INTEGER NOT NULL,
    event_id TEXT NOT NULL,
    stream TEXT NOT NULL,
    status INTEGER NOT NULL,     -- HTTP status of the refusal
    reason TEXT NOT NULL
);
CREATE TABLE asset (             -- each host as it was seen last
    vantage TEXT NOT NULL,
    host_id TEXT NOT NULL,
    ip TEXT NOT NULL,
    number BLOB,                 -- ip as 16 bytes, for looking up ranges
    name TEXT NOT NULL,
    up INTEGER NOT NULL,
    time TEXT NOT NULL,
    scan_id TEXT NOT NULL,
    ports BLOB NOT NULL,         -- JSON
    PRIMARY KEY (vantage, host_id)
);
CREATE INDEX asset_number ON asset (vantage, number);
CREATE TABLE asset_state (batches INTEGER NOT NULL); -- how many batches the assets reflect
INSERT INTO asset_state VALUES (0);
""",
    """
CREATE TABLE receipt (           -- what keeps an object, as the archive said when it was put
    key TEXT PRIMARY KEY,        -- relative to the origin
    batch INTEGER NOT NULL,      -- with which it was put, or kept anew, last
    bucket TEXT NOT NULL,
    bucket_key TEXT NOT NULL,
    version_id TEXT NOT NULL,
    mode TEXT NOT NULL,
    retain_until TEXT NOT NULL
) WITHOUT ROWID;
CREATE INDEX receipt_batch ON receipt (batch);
CREATE TABLE untold (            -- batches whose anchor no seal record tells of yet
    sequence INTEGER PRIMARY KEY,
    time TEXT NOT NULL           -- when they were anchored
);
""",
    """
CREATE TABLE log_key (            -- signing keys that came after the first
    sequence INTEGER PRIMARY KEY, -- of the batch that brought it
    verifier TEXT NOT NULL
);
CREATE TABLE stamped (            -- newest time-stamp of each authority
    url TEXT PRIMARY KEY,
    size INTEGER NOT NULL,        -- of the log
    time TEXT NOT NULL
) WITHOUT ROWID;
""",
    """
CREATE TABLE audit_position (     -- how far each file of an audit log is read; see positions.py
    log TEXT NOT NULL,            -- KIND:PATH
    number INTEGER NOT NULL,      -- its files from the oldest on
    path TEXT NOT NULL,
    stat TEXT NOT NULL,
    head_length INTEGER NOT NULL,
    head_sha256 TEXT NOT NULL,
    offset INTEGER NOT NULL,
    read INTEGER NOT NULL,
    tail_length INTEGER NOT NULL,
    tail_sha256 TEXT NOT NULL,
    done TEXT NOT NULL,           -- JSON
    PRIMARY KEY (log, number)
) WITHOUT ROWID;
""",
    """
ALTER TABLE input ADD COLUMN kind TEXT NOT NULL DEFAULT 'nmap-xml'; -- of evidence, as in the manifest
CREATE TABLE execution (          -- each execution, by all that was seen of it; see executions.py
    entity_id TEXT PRIMARY KEY,
    record_id TEXT NOT NULL,      -- event.id of its newest record
    output TEXT NOT NULL,         -- nmap.attribution.output
    scans TEXT NOT NULL,          -- nmap.scan.id of those that it made
    deadline REAL NOT NULL,       -- until when its output is waited for
    start REAL,                   -- seconds since 1970, NULL where nothing tells
    words TEXT NOT NULL,          -- comparable form of its command line
    facts BLOB NOT NULL           -- JSON
) WITHOUT ROWID;
CREATE INDEX execution_start ON execution (start);
CREATE INDEX execution_words ON execution (words, start);
CREATE INDEX execution_waiting ON execution (deadline) WHERE output = 'waiting';
CREATE TABLE execution_proof (
    proof TEXT NOT NULL,          -- SHA-256 of an output, or id of an entry in the spool
    entity_id TEXT NOT NULL,
    PRIMARY KEY (proof, entity_id)
) WITHOUT ROWID;
CREATE TABLE sighting (           -- evidence that was taken
    key TEXT PRIMARY KEY,         -- event.id of the record that it makes alone
    entity_id TEXT NOT NULL
) WITHOUT ROWID;
CREATE TABLE claim (              -- who made which scan
    scan_id TEXT PRIMARY KEY,
    start REAL,
    words TEXT NOT NULL,
    sha256 TEXT NOT NULL,         -- of the file
    record_id TEXT NOT NULL,      -- event.id of the newest record that says so
    status TEXT NOT NULL,         -- pending, final
    deadline REAL NOT NULL,
    confidence TEXT NOT NULL,
    facts BLOB NOT NULL           -- JSON
) WITHOUT ROWID;
CREATE INDEX claim_words ON claim (words, start);
CREATE INDEX claim_file ON claim (sha256);
CREATE INDEX claim_pending ON claim (deadline) WHERE status = 'pending';
""",
)
"""What each version added to the one before; once released, an entry never changes."""
XML: Final = "nmap-xml"
"""Kind of evidence: an XML file as nmap wrote it."""
ANCHORED: Final = ("anchored", "delivering", "delivered")
"""States of a batch that is in the archive."""
EARLY: Final = "early-"
"""Begins the state of a batch that is delivered, or being delivered, although it is not in the archive."""
SEALED: Final = ("sealed", EARLY + "delivering", EARLY + "delivered")
"""States of a batch that waits for the archive."""


@dataclass(frozen=True, slots=True)
class Input:
    """One content in the spool."""

    raw_sha256: str
    raw_bytes: int
    stored_sha256: str
    stored_bytes: int
    path: str
    mtime: str
    note: str = ""
    state: str = "spooled"
    reason: str = ""
    anchored: int = 0
    uid: str = ""
    owner: str = ""
    kind: str = XML
    """What it is as evidence."""


@dataclass(frozen=True, slots=True)
class Scan:
    """How far one scan is sealed."""

    scan_id: str
    raw_sha256: str
    start: int
    next_host: int
    skip: int
    prefix_length: int
    prefix_sha256: str
    tally: dict[str, Any]
    record_id: str
    length: int
    reader_version: int


@dataclass(frozen=True, slots=True)
class DeadLetter:
    """One record that Elasticsearch will not take as it is."""

    sequence: int
    batch: int
    event_id: str
    stream: str
    status: int
    reason: str


@dataclass(frozen=True, slots=True)
class Batch:
    """One batch of the log."""

    sequence: int
    manifest_sha256: str
    first_record: int
    records: int
    created: str
    state: str


class Ledger:
    """The ledger of a state directory.

    Args:
        path: the database; made when it is not there.

    Raises:
        UsageError: it was made by a newer version.
    """

    def __init__(self, path: Path) -> None:
        self._db = sqlite3.connect(path, isolation_level=None, timeout=30)
        self._db.execute("PRAGMA journal_mode=WAL")
        self._db.execute("PRAGMA synchronous=FULL")
        (version,) = self._db.execute("PRAGMA user_version").fetchone()
        if version < len(SCHEMA):
            missing = "".join(SCHEMA[version:])
            self._db.executescript(f"BEGIN;{missing}PRAGMA user_version={len(SCHEMA)};COMMIT;")
        elif version > len(SCHEMA):
            raise UsageError(f"{path} was made by a newer version", "upgrade nmap-forwarder")
        self.assets = Assets(self._db)
        self.receipts = Receipts(self._db)
        self.positions = Positions(self._db)
        self.executions = Executions(self._db)
        self.claims = Claims(self._db)

    def close(self) -> None:
        """Close the database."""
        self._db.close()

    @contextmanager
    def transaction(self) -> Iterator[None]:
        """Make all or nothing of what is done inside durable."""
        self._db.execute("BEGIN IMMEDIATE")
        try:
            yield
        except BaseException:
            self._db.execute("ROLLBACK")
            raise
        self._db.execute("COMMIT")

    def _put(self, table: str, row: dict[str, Any]) -> None:
        names, marks = ", ".join(row), ", ".join("?" * len(row))
        self._db.execute(f"INSERT OR REPLACE INTO {table} ({names}) VALUES ({marks})", list(row.values()))  # noqa: S608 - our own names

    # --- inputs -------------------------------------------------------------------------------------------

    def input(self, raw_sha256: str) -> Input | None:
        """Return what is known of a content."""
        row = self._db.execute("SELECT * FROM input WHERE raw_sha256 = ?", (raw_sha256,)).fetchone()
        return Input(*row) if row else None

    def inputs(self, state: str) -> list[Input]:
        """Return the inputs in a state, in the order of their paths."""
        rows = self._db.execute("SELECT * FROM input WHERE state = ? ORDER BY path, raw_sha256", (state,))
        return [Input(*row) for row in rows]

    def add_input(self, item: Input) -> None:
        """Remember an input that is now in the spool, or was rejected."""
        self._put("input", {name: getattr(item, name) for name in Input.__slots__})

    def finish_input(self, raw_sha256: str, state: str, reason: str = "") -> None:
        """Say what became of an input."""
        self._db.execute("UPDATE input SET state = ?, reason = ? WHERE raw_sha256 = ?", (state, reason, raw_sha256))

    def refuse_input(self, raw_sha256: str, path: str, reason: str) -> None:
        """Say that an input was rejected, and where it is."""
        values = "state = 'rejected', path = ?, reason = ?"
        self._db.execute(f"UPDATE input SET {values} WHERE raw_sha256 = ?", (path, reason, raw_sha256))  # noqa: S608

    def set_evidence_anchored(self, raw_sha256: str) -> None:
        """Say that an input's evidence is in the archive."""
        self._db.execute("UPDATE input SET anchored = 1 WHERE raw_sha256 = ?", (raw_sha256,))

    # --- files --------------------------------------------------------------------------------------------

    def unchanged(self, path: str, stat: os.stat_result) -> Input | None:
        """Return the input that a file held when it was looked at last, if its status says that it still does."""
        row = self._db.execute("SELECT stat, raw_sha256 FROM file WHERE path = ?", (_place(path),)).fetchone()
        return self.input(row[1]) if row and row[1] and row[0] == _stat(stat) else None

    def set_file(self, path: str, stat: os.stat_result, raw_sha256: str | None, reason: str = "") -> None:
        """Remember what a file held, or why it was left for a later run."""
        self._put("file", {"path": _place(path), "stat": _stat(stat), "raw_sha256": raw_sha256, "reason": reason})

    def held(self, path: str) -> Input | None:
        """Return the input that a file held when it was looked at last."""
        row = self._db.execute("SELECT raw_sha256 FROM file WHERE path = ?", (_place(path),)).fetchone()
        return self.input(row[0]) if row and row[0] else None

    def left(self, path: str, stat: os.stat_result) -> str:
        """Return why a file was left when it was looked at last; nothing if its status says that it has changed."""
        row = self._db.execute("SELECT stat, reason FROM file WHERE path = ?", (_place(path),)).fetchone()
        return str(row[1]) if row and row[0] == _stat(stat) else ""

    def forget_file(self, path: str) -> None:
        """Forget what a file held, for it is gone."""
        self._db.execute("DELETE FROM file WHERE path = ?", (_place(path),))

    def waiting(self) -> list[tuple[str, str]]:
        """Return (path, reason) of the files that were left for a later run, and are still there."""
        return [(path, reason) for path, reason in self._left() if not _is_gone(path)]

    def forget_gone(self) -> None:
        """Forget the files that were left for a later run and are no longer there."""
        for path in [path for path, _ in self._left() if _is_gone(path)]:
            self._db.execute("DELETE FROM file WHERE path = ?", (path,))

    def _left(self) -> list[tuple[str, str]]:
        return self._db.execute("SELECT path, reason FROM file WHERE raw_sha256 IS NULL ORDER BY path").fetchall()

    # --- scans --------------------------------------------------------------------------------------------

    def scan(self, scan_id: str) -> Scan | None:
        """Return how far a scan is sealed."""
        row = self._db.execute("SELECT * FROM scan WHERE scan_id = ?", (scan_id,)).fetchone()
        if not row:
            return None
        values = dict(zip(Scan.__slots__, row, strict=True))
        return Scan(**values | {"tally": json.loads(values["tally"])})

    def set_scan(self, scan: Scan) -> None:
        """Remember how far a scan is sealed."""
        row = {name: getattr(scan, name) for name in Scan.__slots__}
        self._put("scan", row | {"tally": json.dumps(scan.tally)})

    def scans(self) -> int:
        """Return the number of scans known."""
        return int(self._db.execute("SELECT count(*) FROM scan WHERE record_id != ''").fetchone()[0])

    # --- batches and the tree -----------------------------------------------------------------------------

    def last_batch(self, *states: str) -> Batch | None:
        """Return the newest batch, of those in some states if given."""
        where = f"WHERE state IN ({', '.join('?' * len(states))})" if states else ""
        query = f"SELECT * FROM batch {where} ORDER BY sequence DESC LIMIT 1"  # noqa: S608 - our own words
        row = self._db.execute(query, states).fetchone()
        return Batch(*row) if row else None

    def batch(self, sequence: int) -> Batch | None:
        """Return a batch."""
        row = self._db.execute("SELECT * FROM batch WHERE sequence = ?", (sequence,)).fetchone()
        return Batch(*row) if row else None

    def batches(self, *states: str) -> list[Batch]:
        """Return the batches in some states, in order."""
        query = f"SELECT * FROM batch WHERE state IN ({', '.join('?' * len(states))}) ORDER BY sequence"  # noqa: S608
        return [Batch(*row) for row in self._db.execute(query, states)]

    def add_batch(self, batch: Batch) -> None:
        """Remember a batch together with the leaf that it is in the log."""
        self._put("batch", {name: getattr(batch, name) for name in Batch.__slots__})
        self._add_leaf(batch.sequence, merkle.leaf_hash(tiles.entry(batch.sequence, batch.manifest_sha256)))

    def set_batch_state(self, sequence: int, state: str) -> None:
        """Say how far a batch is."""
        self._db.execute("UPDATE batch SET state = ? WHERE sequence = ?", (state, sequence))

    def add_log_key(self, sequence: int, verifier: str) -> None:
        """Remember the verifier key that a batch brings."""
        self._put("log_key", {"sequence": sequence, "verifier": verifier})

    def log_keys(self) -> list[tuple[int, str]]:
        """Return (sequence of its batch, verifier key) of the keys that came after the first, in order."""
        rows = self._db.execute("SELECT sequence, verifier FROM log_key ORDER BY sequence")
        return [(sequence, verifier) for sequence, verifier in rows]

    def set_stamped(self, url: str, size: int, time: str) -> None:
        """Remember that an authority has stamped the checkpoint of a size."""
        self._put("stamped", {"url": url, "size": size, "time": time})

    def stamped(self) -> dict[str, tuple[int, str]]:
        """Return (size, time) of each authority's newest time-stamp, by its URL."""
        return {url: (size, time) for url, size, time in self._db.execute("SELECT * FROM stamped ORDER BY url")}

    def set_anchored(self, batch: Batch) -> None:
        """Say that a batch is in the archive; what was delivered early stays delivered."""
        state = batch.state.removeprefix(EARLY) if batch.state.startswith(EARLY) else "anchored"
        self.set_batch_state(batch.sequence, state)

    # --- delivery -----------------------------------------------------------------------------------------

    def add_dead_letter(self, letter: DeadLetter) -> None:
        """Remember a record that was refused; a second refusal replaces the first."""
        self._put("dead_letter", {name: getattr(letter, name) for name in DeadLetter.__slots__})

    def remove_dead_letters(self, batch: int) -> None:
        """Forget the refusals of a batch, because it is delivered anew."""
        self._db.execute("DELETE FROM dead_letter WHERE batch = ?", (batch,))

    def refused_of(self, batch: int) -> frozenset[int]:
        """Return the event.sequence of a batch's refused records."""
        rows = self._db.execute("SELECT sequence FROM dead_letter WHERE batch = ?", (batch,))
        return frozenset(sequence for (sequence,) in rows)

    def retry_refused(self) -> None:
        """Have the refused records of batches that are delivered sent again."""
        for before, after in (("delivered", "anchored"), (EARLY + "delivered", "sealed")):
            wanted = "state = ? AND sequence IN (SELECT batch FROM dead_letter)"
            self._db.execute(f"UPDATE batch SET state = ? WHERE {wanted}", (after, before))  # noqa: S608 - our own words

    def dead_letters(self, most: int = -1) -> list[DeadLetter]:
        """Return the newest refused records, by default all."""
        rows = self._db.execute("SELECT * FROM dead_letter ORDER BY sequence DESC LIMIT ?", (most,))
        return [DeadLetter(*row) for row in rows]

    def _add_leaf(self, place: int, value: bytes) -> None:
        level = 0
        while True:
            self._put("node", {"level": level, "place": place, "hash": value})
            if (place + 1) % tiles.WIDTH:
                return
            place //= tiles.WIDTH
            value = merkle.root(self.nodes(level, place * tiles.WIDTH, (place + 1) * tiles.WIDTH))
            level += 1

    def nodes(self, level: int, first: int, end: int) -> list[bytes]:
        """Return the hashes of one level from `first` to before `end`."""
        query = "SELECT hash FROM node WHERE level = ? AND place >= ? AND place < ? ORDER BY place"
        return [row[0] for row in self._db.execute(query, (level, first, end))]

    def manifests(self, first: int, end: int) -> list[str]:
        """Return the manifest hashes of some batches, hex."""
        query = "SELECT manifest_sha256 FROM batch WHERE sequence >= ? AND sequence < ? ORDER BY sequence"
        return [row[0] for row in self._db.execute(query, (first, end))]

    def root(self, size: int) -> bytes:
        """Return the root of the log's tree at a size that it has had."""
        edge, level, count = [], 0, size
        while count:
            edge.append(self.nodes(level, count - count % tiles.WIDTH, count))
            level, count = level + 1, count // tiles.WIDTH
        return tiles.root(size, edge)

    def counts(self) -> dict[str, dict[Any, int]]:
        """Return how many inputs, batches and their records are in each state, and dead letters by status."""
        inputs = dict(self._db.execute("SELECT state, count(*) FROM input GROUP BY state").fetchall())
        batches = dict(self._db.execute("SELECT state, count(*) FROM batch GROUP BY state").fetchall())
        # where some records were refused, the others are there, also while these are on their way again
        state = "CASE WHEN sequence IN (SELECT batch FROM dead_letter) THEN 'delivered' ELSE state END"
        records = dict(self._db.execute(f"SELECT {state} AS s, sum(records) FROM batch GROUP BY s").fetchall())  # noqa: S608
        letters = dict(self._db.execute("SELECT status, count(*) FROM dead_letter GROUP BY status").fetchall())
        return {"inputs": inputs, "batches": batches, "records": records, "dead_letters": letters}


def _place(path: str) -> str:
    """Return by what a file is known: other commands have other working directories."""
    return os.path.abspath(path)  # noqa: PTH100 - text, and links stay as they are


def _is_gone(path: str) -> bool:
    """Tell whether a file is surely not there; one that we may not look for may be."""
    try:
        os.lstat(path)
    except (FileNotFoundError, NotADirectoryError):
        return True
    except OSError:
        return False
    return False


def _stat(stat: os.stat_result) -> str:
    """Return what tells a file's state without reading it; a program cannot set ctime."""
    return f"{stat.st_dev}:{stat.st_ino}:{stat.st_size}:{stat.st_mtime_ns}:{stat.st_ctime_ns}"


@contextmanager
def locked(directory: Path, wait: float) -> Iterator[None]:
    """Hold a state directory's lock; one process at a time may change it.

    Args:
        directory: the state directory.
        wait: seconds to wait for another process.

    Raises:
        TemporaryError: another process still holds it after that time.
    """
    path = directory / "lock"
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT, 0o600)
    try:
        deadline = time.monotonic() + wait
        while True:
            try:
                fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
                break
            except BlockingIOError:
                if time.monotonic() >= deadline:
                    holder = os.pread(descriptor, 20, 0).decode(errors="replace").strip() or "unknown"
                    raise TemporaryError(
                        f"{directory} is in use by process {holder}",
                        "wait for it, or give --lock-wait more seconds",
                    ) from None
                time.sleep(0.05)
        os.ftruncate(descriptor, 0)
        os.pwrite(descriptor, f"{os.getpid()}\n".encode(), 0)
        yield
    finally:
        os.close(descriptor)
