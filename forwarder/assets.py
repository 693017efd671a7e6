"""The ledger's table of assets: each host as it was seen last, from each vantage point."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from ipaddress import IPv6Address, ip_address
from typing import Final

import orjson

from forwarder.history import NETWORK, Asset, Seen
from forwarder.nmap.targets import Address, Range

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

    def put(self, asset: Asset) -> None:
        """Remember an asset."""
        number = _number(ip_address(asset.ip)) if asset.ip else None
        row = (asset.vantage, asset.host_id, asset.ip, asset.name, asset.up, asset.time, asset.scan_id)
        ports = orjson.dumps({name: list(seen) for name, seen in asset.ports.items()})
        self._db.execute(
            f"INSERT OR REPLACE INTO asset ({COLUMNS}, number) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)",  # noqa: S608
            (*row, ports, number),
        )

    def up(self, vantage: str, addresses: Range) -> Iterator[Asset]:
        """Yield the assets in a range of addresses that were up when they were seen last."""
        query = (
            f"SELECT {COLUMNS} FROM asset WHERE vantage = ? AND number BETWEEN ? AND ? AND up "  # noqa: S608
            "ORDER BY number"
        )
        for row in self._db.execute(query, (vantage, *map(_number, addresses))).fetchall():
            yield _asset(row)

    def count(self) -> int:
        """Return the number of hosts."""
        query = "SELECT count(*) FROM asset WHERE substr(host_id, 1, ?) != ?"
        return int(self._db.execute(query, (len(NETWORK), NETWORK)).fetchone()[0])


def _number(address: Address) -> bytes:
    """Return what addresses of both versions are ordered by."""
    return (address if isinstance(address, IPv6Address) else IPv6Address(f"::ffff:{address}")).packed


def _asset(row: tuple[str, str, str, str, int, str, str, bytes]) -> Asset:
    vantage, host_id, ip, name, up, time, scan_id, ports = row
    seen = {port: Seen(*values) for port, values in orjson.loads(ports).items()}
    return Asset(vantage, host_id, ip, name, bool(up), time, scan_id, seen)
