"""How much a command line could disturb, or hide: a class and its reasons. docs/COMMANDS.md has the table."""

from __future__ import annotations

import re
from collections.abc import Collection, Iterator
from dataclasses import dataclass
from typing import Final

CLASSES: Final = ("low", "medium", "high", "critical")
SWEEP: Final = 4096
"""Addresses above which a scan is a big sweep."""
FAST: Final = 5
SPAN: Final = re.compile(r"(\d{0,5})-(\d{0,5})", re.ASCII)
HIGHEST: Final = 65535
ALL: Final = 60000
"""Ports from which one range is as good as all of them."""

TECHNIQUES: Final = {
    "version": ("medium", "version detection"),
    "os": ("medium", "OS detection"),
    "scripts": ("medium", "scripts"),
    "udp": ("medium", "UDP scan"),
    "ipproto": ("medium", "IP protocol scan"),
    "sctpinit": ("medium", "SCTP scan"),
    "sctpcookieecho": ("medium", "SCTP scan"),
    **dict.fromkeys(("ack", "fin", "maimon", "null", "window", "xmas"), ("medium", "unusual TCP scan")),
}
SCRIPTS: Final = {
    "exploit": ("critical", "exploit scripts"),
    "dos": ("critical", "denial of service scripts"),
    "brute": ("high", "brute force scripts"),
    "fuzzer": ("high", "fuzzing scripts"),
    "intrusive": ("high", "intrusive scripts"),
    "vuln": ("high", "vulnerability scripts"),
    "files": ("high", "scripts from files"),
    "auth": ("medium", "authentication scripts"),
    "broadcast": ("medium", "broadcast scripts"),
    "external": ("medium", "scripts that ask third parties"),
    "malware": ("medium", "malware scripts"),
}
EVASION: Final = {
    "decoys": ("high", "decoys"),
    "fragments": ("high", "fragments"),
    "spoofed-source": ("high", "spoofed source"),
    "spoofed-mac": ("high", "spoofed MAC"),
    "source-port": ("high", "chosen source port"),
    "data-padding": ("high", "data padding"),
    "ip-options": ("high", "IP options"),
    "bad-checksum": ("high", "bad checksum"),
    "idle-scan": ("high", "idle scan"),
    "ftp-bounce": ("high", "FTP bounce"),
    "proxies": ("high", "proxies"),
    "ttl": ("medium", "chosen time to live"),
    "custom-flags": ("medium", "chosen TCP flags"),
    "slow-timing": ("medium", "slow timing"),
    "scan-delay": ("medium", "scan delay"),
}
OTHER: Final = {
    "all ports": "medium",
    "insane timing": "medium",
    "big sweep": "medium",
    "random targets": "medium",
}


@dataclass(frozen=True, slots=True)
class Asked:
    """What the class hangs on."""

    technique: Collection[str]
    evasion: Collection[str]
    categories: Collection[str]
    timing: int | None
    ports: str
    random: bool
    """Whether targets are chosen at random."""
    count: int | None
    """Addresses; None where nobody knows."""
    scans: bool
    """Whether nmap scans at all."""


def judge(asked: Asked) -> tuple[str, list[str]]:
    """Return (class, its reasons and those of lower classes, in order of class, the worst first)."""
    if not asked.scans:
        return "low", ["no scan"]
    found = set(_reasons(asked))
    if not found:
        return "low", ["port scan" if "tcp" in asked.technique or asked.ports else "no more than discovery"]
    ordered = sorted(found, key=lambda entry: (-CLASSES.index(entry[0]), entry[1]))
    return ordered[0][0], [reason for _, reason in ordered]


def _reasons(asked: Asked) -> Iterator[tuple[str, str]]:
    for table, names in ((TECHNIQUES, asked.technique), (SCRIPTS, asked.categories), (EVASION, asked.evasion)):
        yield from (table[name] for name in names if name in table)
    if any(int(high or HIGHEST) - int(low or 1) >= ALL for low, high in SPAN.findall(asked.ports)):
        yield OTHER["all ports"], "all ports"
    if asked.timing == FAST:
        yield OTHER["insane timing"], "insane timing"
    if asked.count is not None and asked.count > SWEEP:
        yield OTHER["big sweep"], "big sweep"
    if asked.random:
        yield OTHER["random targets"], "random targets"
