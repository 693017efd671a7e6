"""What differs: libnmap's diff of hosts and services, and what that does not look at.

libnmap compares a host's state, names and MAC address, and of a port its state, service name and banner. Its counting
a `reason` as a change is avoided by giving it none. To it are added: other addresses, OS, the ports that are not
shown, CPEs, tunnel, owner, and scripts.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Final

import orjson
from libnmap.objects import NmapHost, NmapService

from forwarder.diff.facts import Facts
from forwarder.diff.side import Side, order
from forwarder.history import state_of
from forwarder.nmap import ranges

ADDED: Final = "added"
REMOVED: Final = "removed"
CHANGED: Final = "changed"
HOST: Final = {"status": "state", "hostnames": "hostnames", "mac_addr": "macs"}
"""libnmap's name of what it compares of a host → ours."""
OTHERS: Final = ("addresses", "os")
"""What it does not look at, and what is compared as it is."""


@dataclass(frozen=True, slots=True)
class Difference:
    """One host that is not the same."""

    kind: str
    """ADDED, REMOVED or CHANGED."""
    address: str
    before: Facts
    after: Facts
    """Of the host that is there; empty for one that is not."""
    changes: dict[str, Any]
    """Of a changed host: `state`, `hostnames`, `addresses`, `macs`, `os`, `not_shown` → {before, after}; `scripts`:
    id → {before, after}; `ports`: `tcp/22` → {changed, before, after}, where a side is absent that has no such port."""


class Comparison:
    """Two scans.

    Args:
        before: the older one.
        after: the newer one.
    """

    def __init__(self, before: Side, after: Side) -> None:
        self.before = before
        self.after = after
        self.scripts = _pairs(before.scripts, after.scripts)
        """Pre- and postscripts whose results differ: id → {before, after}."""
        self.different = bool(self.scripts)
        """Whether a difference was seen; known for certain when `hosts` has come to its end."""

    def hosts(self, *kinds: str) -> Iterator[Difference]:
        """Yield the hosts that differ, by address; of some kinds only, if given."""
        for address in sorted(self.before.hosts.addresses() | self.after.hosts.addresses(), key=order):
            found = self._host(address)
            if found and (not kinds or found.kind in kinds):
                self.different = True
                yield found

    def _host(self, address: str) -> Difference | None:
        old, new = self.before.hosts.bytes(address), self.after.hosts.bytes(address)
        if old == new:
            return None
        before, after = orjson.loads(old or b"{}"), orjson.loads(new or b"{}")
        if not before or not after:
            there = before or after
            if there["state"] == "down" and not there["ports"]:
                return None  # with -v nmap lists hosts that are down, without it does not
            return Difference(REMOVED if before else ADDED, address, before, after, {})
        found = changes(address, before, after, (self.before.scanned, self.after.scanned))
        return Difference(CHANGED, address, before, after, found) if found else None


def changes(
    address: str, before: Facts, after: Facts, scanned: tuple[list[dict[str, Any]], list[dict[str, Any]]]
) -> dict[str, Any]:
    """Return `Difference.changes` of two sights of a host; empty when nothing differs."""
    services = {key: _service(key, port) for key, port in before["ports"].items()}
    new_services = {key: _service(key, port) for key, port in after["ports"].items()}
    theirs = _host(address, after, new_services).diff(_host(address, before, services))
    names = {name for key, name in HOST.items() if key in theirs.changed()}
    names |= {name for name in OTHERS if before[name] != after[name]}
    found: dict[str, Any] = {name: _pair(before[name], after[name]) for name in sorted(names)}
    if _groups_differ(before["not_shown"], after["not_shown"]):
        found["not_shown"] = _pair(before["not_shown"], after["not_shown"])
    if scripts := _pairs(before["scripts"], after["scripts"]):
        found["scripts"] = scripts
    ports = {}
    gone, come = theirs.removed(), theirs.added()
    for key in sorted(services.keys() | new_services.keys(), key=port_order):
        name = f"{NmapService.__name__}::{key.replace('/', '.')}"
        old, new = before["ports"].get(key), after["ports"].get(key)
        if name in gone:
            difference = _one_sided(key, old, after["not_shown"], scanned[1], "before")
        elif name in come:
            difference = _one_sided(key, new, before["not_shown"], scanned[0], "after")
        else:
            difference = _port(old, new, services[key], new_services[key])
        if difference:
            ports[key] = difference
    if ports:
        found["ports"] = ports
    return found


def port_order(key: str) -> tuple[str, int]:
    """Return what `tcp/22` is sorted by."""
    protocol, _, number = key.partition("/")
    return protocol, int(number)


def _service(key: str, port: Facts) -> NmapService:
    """Return libnmap's object of a port, with all that nmap knows of the service in its banner."""
    protocol, _, number = key.partition("/")
    # The number as text, since libnmap takes 0 for none; CPEs are compared by us.
    return NmapService(number, protocol, {"state": port["state"]}, port["service"] | {"cpe": "", "method": "probed"})


def _host(address: str, facts: Facts, services: dict[str, NmapService]) -> NmapHost:
    """Return libnmap's object of a host; the address is what it tells hosts apart by, of whatever type."""
    addresses = [{"addrtype": "ipv4", "addr": address}, {"addrtype": "mac", "addr": " ".join(facts["macs"])}]
    return NmapHost("", "", addresses, {"state": facts["state"]}, facts["hostnames"], list(services.values()))


def _port(old: Facts, new: Facts, service: NmapService, new_service: NmapService) -> dict[str, Any]:
    # Each by itself: a host's diff compares hashes, and in libnmap's hash equal texts cancel each other out.
    changed = new_service.diff(service).changed()
    for name in ("cpe", "tunnel"):
        if old["service"].get(name) != new["service"].get(name):
            changed.add(name)
    changed |= {name for name in ("owner", "scripts") if old.get(name) != new.get(name)}
    return {"changed": sorted(changed)} | _pair(old, new) if changed else {}


def _one_sided(
    key: str, port: Facts, groups: list[dict[str, Any]], scanned: list[dict[str, Any]], side: str
) -> dict[str, Any]:
    """Return the difference of a port that only one scan lists; the other may still say what state it has."""
    state, _ = state_of(key, groups, scanned)
    found: dict[str, Any] = {"changed": ["state"], side: port}
    if state:
        found["after" if side == "before" else "before"] = {"state": state, "service": {}}
    return found


def _groups_differ(before: list[dict[str, Any]], after: list[dict[str, Any]]) -> bool:
    """Tell whether the ports that are not shown differ; where one scan does not say which, their number counts."""
    old, new = ({(g["state"], g.get("protocol")): g for g in groups} for groups in (before, after))
    return old.keys() != new.keys() or any(group_differs(old[key], new[key]) for key in old)


def group_differs(old: dict[str, Any], new: dict[str, Any]) -> bool:
    """Tell whether two entries of `not_shown` for the same state and protocol differ."""
    if "ports" not in old or "ports" not in new:
        return bool(old["count"] != new["count"])
    return old["ports"] != new["ports"] and ranges.ports(old["ports"]) != ranges.ports(new["ports"])


def _pairs(before: Facts, after: Facts) -> dict[str, Any]:
    """Return the members that differ: name → {before, after}."""
    names = sorted(before.keys() | after.keys())
    return {name: _pair(before.get(name), after.get(name)) for name in names if before.get(name) != after.get(name)}


def _pair(before: Any, after: Any) -> dict[str, Any]:
    return {key: value for key, value in (("before", before), ("after", after)) if value is not None}
