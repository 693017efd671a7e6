"""One of the two scans: what it says of itself, and its hosts on a shelf."""

from __future__ import annotations

from dataclasses import dataclass, field
from ipaddress import ip_address
from tempfile import TemporaryFile
from typing import Any

import orjson

from forwarder.diff.facts import Facts


class Shelf:
    """Hosts by their addresses; memory holds the addresses only, a temporary file without a name all else."""

    def __init__(self) -> None:
        self._file = TemporaryFile()  # noqa: SIM115 - closed with the shelf
        self._places: dict[str, tuple[int, int]] = {}
        self._end = 0
        self.repeated = 0
        """Addresses that came again; of each the last host counts."""

    def close(self) -> None:
        """Forget everything."""
        self._file.close()

    def put(self, address: str, facts: Facts) -> None:
        """Keep a host."""
        data = orjson.dumps(facts, option=orjson.OPT_SORT_KEYS)
        self.repeated += address in self._places
        self._places[address] = (self._end, len(data))
        self._file.seek(self._end)
        self._end += self._file.write(data)

    def bytes(self, address: str) -> bytes:
        """Return a host as JSON: two hosts that are the same have the same bytes; none for one that is not here."""
        offset, length = self._places.get(address, (0, 0))
        self._file.seek(offset)
        return self._file.read(length)

    def __contains__(self, address: str) -> bool:
        return address in self._places

    def __len__(self) -> int:
        return len(self._places)

    def addresses(self) -> set[str]:
        """Return the addresses of all hosts."""
        return set(self._places)


@dataclass(slots=True)
class Side:
    """One scan."""

    name: str
    """As the user gave it."""
    about: dict[str, Any] = field(default_factory=dict)
    """scan_id, args, version, start, end, complete: each where it is known."""
    scanned: list[dict[str, Any]] = field(default_factory=list)
    """Port lists that it covers: {protocol, ports}."""
    scripts: Facts = field(default_factory=dict)
    """Results of pre- and postscripts, as `facts.of_scripts` gives them."""
    hosts: Shelf = field(default_factory=Shelf)
    notes: list[str] = field(default_factory=list)
    """What is worth a word, a line each."""


def order(address: str) -> tuple[int, int, str]:
    """Return what addresses are sorted by: IPv4, IPv6, then those that are neither."""
    try:
        number = ip_address(address)
    except ValueError:
        return 9, 0, address
    return number.version, int(number), ""
