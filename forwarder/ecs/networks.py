"""Which network an address is in, and whose it is: `target.networks` and `target.owners` of the configuration."""

from __future__ import annotations

import csv
from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass
from functools import cache
from ipaddress import IPv4Network, IPv6Network, ip_address, ip_network
from pathlib import Path
from typing import Final, Generic, TypeVar

from forwarder.errors import UsageError

T = TypeVar("T")
CRITICALITY: Final = ("low", "medium", "high", "critical")
COLUMNS: Final = ("network", "owner", "criticality")
MOST: Final = 1_000_000
"""Rows of a list; each takes about 300 bytes of memory."""
BITS: Final = {4: 32, 6: 128}


class Networks(Generic[T]):
    """Finds what is said of the smallest network that an address is in.

    Args:
        items: (network, what is said of it); of a network that comes twice the last counts.
    """

    def __init__(self, items: Iterable[tuple[IPv4Network | IPv6Network, T]]) -> None:
        by_shift: defaultdict[tuple[int, int], dict[int, T]] = defaultdict(dict)
        for network, said in items:
            shift = BITS[network.version] - network.prefixlen
            by_shift[network.version, shift][int(network.network_address) >> shift] = said
        self._by_shift = sorted(by_shift.items(), key=lambda item: item[0])

    def __bool__(self) -> bool:
        return bool(self._by_shift)

    def of(self, ip: str) -> T | None:
        """Return what is said of an address; None when it is in no network."""
        address = ip_address(ip)
        version, number = address.version, int(address)
        for (of_version, shift), said in self._by_shift:
            if of_version == version and (found := said.get(number >> shift)) is not None:
                return found
        return None


@cache
def configured(networks: tuple[str, ...]) -> Networks[str]:
    """Return `target.networks` for looking up."""
    return Networks((ip_network(text), text) for text in networks)


@dataclass(frozen=True, slots=True)
class Owner:
    """Who answers for a network."""

    owner: str
    """As the list has it: a team, a person, a mail address."""
    criticality: str
    """One of CRITICALITY, or empty."""

    @property
    def facts(self) -> dict[str, str]:
        """Members of `nmap.target`."""
        return {name: value for name, value in (("criticality", self.criticality), ("owner", self.owner)) if value}


@cache
def owners(path: Path | None) -> Networks[Owner]:
    """Read the list of owners: CSV with the columns network, owner, criticality, in UTF-8.

    Args:
        path: the file; None for no list.

    Raises:
        UsageError: it cannot be read, or a row is wrong; names the line.
    """
    if path is None:
        return Networks(())
    found: list[tuple[IPv4Network | IPv6Network, Owner]] = []
    try:
        with path.open(encoding="utf-8-sig", newline="") as file:
            rows = csv.DictReader(file)
            if missing := [name for name in COLUMNS if name not in (rows.fieldnames or ())]:
                raise UsageError(f"{path}: no column {missing[0]}", f"begin it with {','.join(COLUMNS)}")
            for row in rows:
                found.append(_row(row, f"{path}: line {rows.line_num}"))
                if len(found) > MOST:
                    raise UsageError(f"{path}: more than {MOST} networks", "summarise them")
    except OSError as error:
        raise UsageError(f"{path}: {error.strerror}", "correct target.owners") from None
    except (UnicodeDecodeError, csv.Error) as error:
        raise UsageError(f"{path}: {error}", "save it as CSV in UTF-8") from None
    return Networks(found)


def _row(row: dict[str, str], where: str) -> tuple[IPv4Network | IPv6Network, Owner]:
    network, owner, criticality = ((row[name] or "").strip() for name in COLUMNS)
    try:
        parsed = ip_network(network)
    except ValueError as error:
        raise UsageError(f"{where}: {error}", "give a network in CIDR notation") from None
    if criticality and criticality not in CRITICALITY:
        raise UsageError(f"{where}: {criticality!r} is none of {', '.join(CRITICALITY)}")
    return parsed, Owner(owner[:1000], criticality)
