"""The ledger's table of assets: each host as it was seen last, from each vantage point."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterable, Iterator
from socket import AF_INET, AF_INET6, inet_pton
from typing import Any, Final

from forwarder.history import NETWORK, Asset
from forwarder.nmap.targets import Range

IPV4_MAPPED: Final = bytes(10) + b"\xff\xff"
"""Begins an IPv4 address among IPv6 ones (RFC 4291, 2.5.5.2)."""
AT_A_TIME: Final = 1000
"""Assets that are read from the table at a time."""
COLUMNS: Final = "vantage, host_id, ip, name, up, time, scan_id, ports"


class Assets:
    """The table.

    What it says is what the records of the first `batches` batches say.

    Args:
        db: the ledger's database.
    """

    def __init__(self, db: sqlite3.Connection) -> None:
        self._db = db

    @property
    def batches(self) -> int:
        """Number of batches that it reflects."""
        return int(self._db.execute("SELECT batches FROM asset_state").fetchone()[0])

    def reflect(self, batches: int) -> None:
        """Say how many batches it reflects."""
        self._db.execute("UPDATE asset_state SET batches = ?", (batches,))

    def clear(self) -> None:
        """Forget all."""
        self._db.execute("DELETE FROM asset")
        self.reflect(0)

    def get(self, vantage: str, host_id: str) -> Asset | None:
        """Return an asset."""
        query = f"SELECT {COLUMNS} FROM asset WHERE vantage = ? AND host_id = ?"  # noqa: S608 - our own words
        row = self._db.execute(query, (vantage, host_id)).fetchone()
        return _asset(row) if row else None

    def put(self, assets: Iterable[Asset]) -> None:
        """Remember assets."""
        self._db.executemany(
            f"INSERT OR REPLACE INTO asset ({COLUMNS}, number) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)",  # noqa: S608
            map(_row, assets),
        )

    def up(self, vantage: str, addresses: Range, but: str, before: str) -> Iterator[Asset]:
        """Yield the assets in a range of addresses that were up when they were seen last.

        Args:
            vantage: network position of the scanner.
            addresses: the range.
            but: the scan whose assets are left out.
            before: the time that they must have been seen last before.
        """
        query = (
            f"SELECT {COLUMNS}, number FROM asset WHERE vantage = ? AND number BETWEEN ? AND ? "  # noqa: S608
            "AND (number, host_id) > (?, ?) AND up AND scan_id != ? AND time < ? ORDER BY number, host_id LIMIT ?"
        )
        first, last = (_number(str(address)) for address in addresses)
        host_id = ""
        # Some at a time: whoever takes them may write in between, and all of them may be more than fit into memory.
        while rows := self._db.execute(
            query, (vantage, first, last, first, host_id, but, before, AT_A_TIME)
        ).fetchall():
            for row in rows:
                yield _asset(row[:-1])
            first, host_id = rows[-1][-1], rows[-1][1]

    def count(self) -> int:
        """Return the number of hosts."""
        query = "SELECT count(*) FROM asset WHERE substr(host_id, 1, ?) != ?"
        return int(self._db.execute(query, (len(NETWORK), NETWORK)).fetchone()[0])


def _number(address: str) -> bytes | None:
    """Return what addresses of both versions are ordered by."""
    if not address:
        return None
    return inet_pton(AF_INET6, address) if ":" in address else IPV4_MAPPED + inet_pton(AF_INET, address)


def _row(asset: Asset) -> tuple[Any, ...]:
    row = (asset.vantage, asset.host_id, asset.ip, asset.name, asset.up, asset.time, asset.scan_id)
    return (*row, asset.pack(), _number(asset.ip))


def _asset(row: tuple[str, str, str, str, int, str, str, bytes]) -> Asset:
    vantage, host_id, ip, name, up, time, scan_id, ports = row
    return Asset(vantage, host_id, ip, name, bool(up), time, scan_id, ports)
