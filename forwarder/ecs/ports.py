"""What a host record says of the ports that have no record of their own, in compact ranges."""

from __future__ import annotations

from collections import defaultdict
from typing import Any, Final

from orjson import Fragment

from forwarder.nmap import ranges
from forwarder.seal.canonical import encode

UNREMARKABLE: Final = frozenset({"closed", "filtered"})
"""States whose ports have no record of their own by default."""
PROTOCOLS: Final = ("tcp", "udp", "sctp", "ip")


class Scanned:
    """The ports that a scan covers, from its `scaninfo`."""

    def __init__(self, info: list[dict[str, Any]]) -> None:
        keys = ("type", "protocol", "count", "ports")
        scanned = [{key: entry[key] for key in keys if key in entry} for entry in info if entry.get("ports")]
        self.fragment = Fragment(encode(scanned)) if scanned else None
        """The same for every host, so written as JSON only once."""
        self.entries = scanned
        """The port lists: {type, protocol, count, ports}."""
        protocols = {entry.get("protocol") for entry in scanned}
        self.only = scanned[0] if len(protocols) == 1 == len(scanned) else None
        """The one list of ports, when there is just one."""
        self.whole = ranges.parse(self.only["ports"]) if self.only else None
        """Its ranges."""


class PortTally:
    """Gathers a host's ports while they go by."""

    def __init__(self) -> None:
        self.listed = 0
        self._open: defaultdict[str, list[int]] = defaultdict(list)
        self._groups: defaultdict[tuple[str, str, str], list[int]] = defaultdict(list)
        self._numbers: defaultdict[str, list[int]] = defaultdict(list)

    def add(self, port: dict[str, Any]) -> None:
        """Count one port that nmap lists."""
        self.listed += 1
        number, protocol, state = port.get("number"), port.get("protocol", ""), port.get("state", "")
        if number is None:
            return
        self._numbers[protocol].append(number)
        if state == "open" and protocol in PROTOCOLS:
            self._open[protocol].append(number)
        elif state in UNREMARKABLE:
            self._groups[state, protocol, port.get("reason", "")].append(number)

    @property
    def open_count(self) -> int:
        """Number of open ports."""
        return sum(map(len, self._open.values()))

    def summary(self, extra: list[dict[str, Any]], scanned: Scanned) -> dict[str, Any]:
        """Return nmap.host.port.

        Args:
            extra: the groups of ports that nmap counts but does not list.
            scanned: what the scan covers.

        Returns:
            `listed`, `open_count`, `open` (port numbers by protocol), `scanned`, and `group`: a list of {state,
            protocol, reason, count, ports} with ports in nmap's notation; `derived` marks ports that nmap does not
            give, but that follow from what was scanned and what is listed.
        """
        found: dict[str, Any] = {"listed": self.listed, "open_count": self.open_count}
        if self._open:
            found["open"] = self._open
        groups: list[dict[str, Any]] = [
            _group(state=state, protocol=protocol, reason=reason, count=len(numbers), ports=ranges.write(numbers))
            for (state, protocol, reason), numbers in self._groups.items()
        ]
        for group in extra:
            groups += self._extra(group, scanned, alone=len(extra) == 1)
        if groups:
            found["group"] = groups
        if scanned.fragment:
            found["scanned"] = scanned.fragment
        return found

    def _extra(self, group: dict[str, Any], scanned: Scanned, *, alone: bool) -> list[dict[str, Any]]:
        state, reasons = group.get("state", ""), group.get("reasons", [])
        entries = [
            _group(
                state=state,
                protocol=reason.get("protocol", ""),
                reason=reason.get("reason", ""),
                count=reason.get("count"),
                ports=reason.get("ports", ""),
            )
            for reason in reasons
        ]
        if any("ports" in entry for entry in entries):
            return entries
        if [entry.get("count") for entry in entries] != [group.get("count")]:
            # The ports behind each of several reasons are not known, those of the group may be.
            entries.append(_group(state=state, count=group.get("count")))
        if alone and scanned.only and scanned.whole:
            protocol = scanned.only.get("protocol", "")
            rest = ranges.without(scanned.whole, self._numbers[protocol])
            if rest:
                entries[-1] |= {"ports": rest, "protocol": protocol, "derived": True}
        return entries


def _group(**members: Any) -> dict[str, Any]:
    return {key: value for key, value in members.items() if value not in {"", None}}
