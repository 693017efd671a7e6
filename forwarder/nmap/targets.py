"""Which addresses an nmap command line asks for, as far as that is certain."""

from __future__ import annotations

import re
import shlex
from ipaddress import IPv4Address, IPv6Address, ip_address, ip_network
from typing import Final

VALUED: Final = """
-e -g -p -m -oA -oG -oH -oM -oN -oS -oX -D -M -S --data --data-length --data-string --datadir --dns-servers
--exclude-ports --host-timeout --initial-rtt-timeout --ip-options --max-hostgroup --max-os-tries --max-parallelism
--max-rate --max-retries --max-rtt-timeout --max-scan-delay --min-hostgroup --min-parallelism --min-rate
--min-rtt-timeout --mtu --port-ratio --proxies --scan-delay --scanflags --script --script-args --script-args-file
--script-timeout --servicedb --source-port --spoof-mac --stats-every --stylesheet --top-ports --ttl
--version-intensity --versiondb
"""
"""Options whose value is the next argument."""
TAKE_VALUE: Final = frozenset(VALUED.split())
ELSEWHERE: Final = ("-iL", "-iR", "--exclude", "--excludefile", "--resume", "-sI", "-b")
"""Options that bring targets from elsewhere or take some away, or read a value that looks like a target."""
OCTETS = re.compile(r"(?:\d{1,3}|\d{0,3}-\d{0,3}|\*)(?:\.(?:\d{1,3}|\d{0,3}-\d{0,3}|\*)){3}", re.ASCII)
"""nmap's octet ranges, without lists; those would make several ranges of each octet."""
HIGHEST: Final = 255
MOST: Final = 1000
"""Ranges that one command line may give; more is not worth looking up."""

Address = IPv4Address | IPv6Address
Range = tuple[Address, Address]


def targets(arguments: str) -> list[Range]:
    """Return the ranges of addresses that a command line asks nmap for.

    Names are left out, and so is everything when an option brings or takes away targets that the command line does
    not show: then it is not certain that an address was asked for.

    Args:
        arguments: the command line, as nmap writes it into its XML.
    """
    try:
        words = shlex.split(arguments)[1:]
    except ValueError:
        return []
    found: list[Range] = []
    skip = False
    for word in words:
        if skip:
            skip = False
        elif word.startswith(ELSEWHERE):
            return []
        elif word.startswith("-"):
            skip = word in TAKE_VALUE
        else:
            found += _ranges(word)
        if len(found) > MOST:
            return []
    return found


def _ranges(word: str) -> list[Range]:
    try:
        if "/" in word:
            network = ip_network(word, strict=False)
            return [(network[0], network[-1])]
        address = ip_address(word)
    except ValueError:
        return _octets(word) if OCTETS.fullmatch(word) else []
    return [(address, address)]


def _octets(word: str) -> list[Range]:
    """Return the ranges of nmap's `10.0.0-3.1-254`: one for each combination of all octets but the last."""
    bounds = []
    for part in word.split("."):
        low, dash, high = part.partition("-") if part != "*" else ("", "-", "")
        first = int(low or 0)
        last = int(high or HIGHEST) if dash else first
        if first > last or last > HIGHEST:
            return []
        bounds.append((first, last))
    heads = [0]
    for first, last in bounds[:-1]:
        heads = [(head << 8) + octet for head in heads for octet in range(first, last + 1)]
        if len(heads) > MOST:
            return []
    first, last = bounds[-1]
    return [(IPv4Address((head << 8) + first), IPv4Address((head << 8) + last)) for head in heads]
