"""The ledger's tables of receipts: what keeps the objects that were put into an archive that locks them."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterable, Iterator, Mapping
from datetime import datetime

from forwarder.archive.interface import Receipt
from forwarder.seal.manifest import timestamp


class Receipts:
    """The tables.

    Args:
        db: the ledger's database.
    """

    def __init__(self, db: sqlite3.Connection) -> None:
        self._db = db

    def add(self, batch: int, found: Mapping[str, Receipt]) -> None:
        """Remember what keeps the objects of a batch, by key; a seal record is to tell of it."""
        for key, receipt in found.items():
            until = timestamp(receipt.retain_until)
            row = (key, batch, receipt.bucket, receipt.key, receipt.version_id, receipt.mode, until)
            self._db.execute("INSERT OR REPLACE INTO receipt VALUES (?, ?, ?, ?, ?, ?, ?)", row)
        if found:
            self._db.execute("INSERT OR REPLACE INTO untold VALUES (?, ?)", (batch, timestamp()))

    def of(self, key: str) -> Receipt | None:
        """Return what keeps an object."""
        row = self._db.execute(
            "SELECT bucket, bucket_key, version_id, mode, retain_until FROM receipt WHERE key = ?", (key,)
        ).fetchone()
        return Receipt(row[0], row[1], row[2], row[3], datetime.fromisoformat(row[4])) if row else None

    def untold(self, most: int) -> Iterator[tuple[int, str]]:
        """Yield (sequence, time of the anchor) of the oldest batches that no seal record tells of yet."""
        rows = self._db.execute("SELECT sequence, time FROM untold ORDER BY sequence LIMIT ?", (most,))
        yield from rows.fetchall()

    def told(self, batches: Iterable[int]) -> None:
        """Say that seal records tell of some batches."""
        self._db.executemany("DELETE FROM untold WHERE sequence = ?", ((batch,) for batch in batches))
