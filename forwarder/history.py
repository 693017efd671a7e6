"""Assets as they were seen last, and what a new sight of one changes.

Kept in the ledger; what a run of batches says of its assets can be made again from the sealed records alone.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, Final, NamedTuple

from orjson import dumps, loads

from forwarder.nmap import ranges

OPEN: Final = "open"
NO_PORTS: Final = b"{}"
"""JSON of the ports of an asset that has none."""
NETWORK: Final = "network "
"""Begins the host_id of what is no host, but a network; its scan_id is that of the first scan of it."""
GONE: Final = frozenset({"closed", "filtered", "unfiltered", "closed|filtered"})
"""States in which a port is not open for certain; `open|filtered` may be."""


class Seen(NamedTuple):
    """A port as it was seen; empty texts for what was not."""

    state: str
    service: str = ""
    """nmap's name of it, if nmap asked the service; a guess by the port number says nothing new."""
    product: str = ""
    version: str = ""
    certificate: str = ""
    """SHA-256 of the DER, hex."""
    time: str = ""
    """When."""
    scan_id: str = ""
    """In which scan."""


@dataclass(slots=True)
class Asset:
    """A host from one vantage point, as it was seen last."""

    vantage: str
    host_id: str
    ip: str
    name: str
    up: bool
    time: str
    scan_id: str
    packed: bytes = NO_PORTS
    """JSON of its ports, each a list of what Seen has; until they are asked for."""
    _ports: dict[str, Seen] | None = None

    @property
    def ports(self) -> dict[str, Seen]:
        """`tcp/22` → the port. Ports that were open once stay, with the state they have now."""
        if self._ports is None:
            self._ports = {port: Seen(*said) for port, said in loads(self.packed).items()}
        return self._ports

    @ports.setter
    def ports(self, ports: dict[str, Seen]) -> None:
        """Set them."""
        self._ports = ports

    def pack(self) -> bytes:
        """Return JSON of its ports."""
        return self.packed if self._ports is None else dumps({port: list(seen) for port, seen in self._ports.items()})


@dataclass(slots=True)
class Sight:
    """What one scan says of a host."""

    asset: Asset
    """The host with its open ports."""
    sure: bool
    """The list of its ports is whole: the host is not damaged, and nmap did not give up on it."""
    answered: bool
    """The host itself was heard of; with -Pn nmap takes every address for a host that is up."""
    network: str
    """That it is in, empty when it has no IP address."""
    scanned: list[dict[str, Any]]
    """Port lists that the scan covers: {protocol, ports}."""
    groups: list[dict[str, Any]] = field(default_factory=list)
    """Ports without a record: {state, reason, protocol, ports}."""
    others: dict[str, Seen] = field(default_factory=dict)
    """Ports that have a record and are not open."""

    def state_of(self, port: str) -> tuple[str, str]:
        """Return (state, reason) of a port that has no record; empty texts when it was not scanned."""
        return state_of(port, self.groups, self.scanned)


def state_of(port: str, groups: list[dict[str, Any]], scanned: list[dict[str, Any]]) -> tuple[str, str]:
    """Return (state, reason) of a port that nmap does not list; empty texts when it was not scanned.

    Args:
        port: `tcp/22`.
        groups: ports that are not listed: {state, reason, protocol, ports}.
        scanned: port lists that the scan covers: {protocol, ports}.
    """
    protocol, _, text = port.partition("/")
    number = int(text)
    for group in groups:
        if group.get("protocol", protocol) == protocol and ranges.holds(group.get("ports", ""), number):
            return group.get("state", ""), group.get("reason", "")
    if any(entry.get("protocol") == protocol and ranges.holds(entry.get("ports", ""), number) for entry in scanned):
        states = {group.get("state", "") for group in groups}
        return (states.pop(), "") if len(states) == 1 else ("closed|filtered", "")
    return "", ""


@dataclass(frozen=True, slots=True)
class Change:
    """One difference."""

    action: str
    """event.action."""
    port: str = ""
    """`tcp/22`, empty for the host itself."""
    before: Seen | None = None
    after: Seen | None = None
    reason: str = ""
    """Why nmap gives the port its new state, where it has no record of its own to say so."""
    recorded: bool = False
    """The port has a record in this scan, so that it needs no tombstone."""


def see(known: Callable[[str], Asset | None], sight: Sight) -> tuple[list[Asset], list[Change]]:
    """Return what is to be known from now on, and what changed.

    The first scan of a network is the baseline: its hosts are not new.

    Args:
        known: gives an asset of the sight's vantage point by its host_id.
        sight: what a scan says of a host.
    """
    before = known(sight.asset.host_id)
    asset, changes = compare(before, sight)
    if asset is None:
        return [], []
    if before or not sight.network:  # then the network is known, too
        return [asset], changes
    now, name = sight.asset, NETWORK + sight.network
    network = known(name)
    if network is None:
        network = Asset(now.vantage, name, "", sight.network, up=True, time=now.time, scan_id=now.scan_id)
        return [asset, network], []
    return [asset], changes if network.scan_id != now.scan_id else []


def compare(before: Asset | None, sight: Sight) -> tuple[Asset | None, list[Change]]:
    """Return the asset as it is known now, None if it still is not, and what changed.

    A host that was never seen is one change, however many ports it has. A sight that is older than what is known
    changes nothing.
    """
    now = sight.asset
    if before is None and not sight.answered:
        return None, []
    if before is None:
        return now, [Change("host-new", after=Seen("up"))] if now.up else []
    if now.time < before.time:
        return before, []
    changes = []
    if not sight.answered:
        now.up = before.up
    if now.up != before.up:
        changes.append(
            Change(
                "host-new" if now.up else "host-gone",
                before=Seen("up" if before.up else "down", time=before.time, scan_id=before.scan_id),
                after=Seen("up" if now.up else "down"),
            )
        )
    if not now.up:
        now.ports = before.ports
        return now, changes
    merged = dict(before.ports)
    for port, seen in now.ports.items():
        changes += _open(port, before.ports.get(port), seen, merged)
    for port, old in before.ports.items():
        if old.state == OPEN and port not in now.ports:
            other = sight.others.get(port)
            state, reason = (other.state, "") if other else sight.state_of(port) if sight.sure else ("", "")
            if state in GONE:  # else nobody knows
                merged[port] = old._replace(state=state, time=now.time, scan_id=now.scan_id)
                changes.append(Change("port-closed", port, old, merged[port], reason, recorded=other is not None))
    now.ports = merged
    return now, changes


def _open(port: str, old: Seen | None, seen: Seen, merged: dict[str, Seen]) -> list[Change]:
    """Compare an open port with what is known of it, and merge it into that."""
    if old is None or old.state != OPEN:
        merged[port] = seen
        return [Change("port-opened", port, old, seen)]
    # Without -sV, or without the script, a scan says less than the one before; that is no change.
    new = merged[port] = seen._replace(
        service=seen.service or old.service,
        product=seen.product or old.product,
        version=seen.version or (old.version if seen.product in {"", old.product} else ""),
        certificate=seen.certificate or old.certificate,
    )
    changes = []
    if any(was and now and was != now for was, now in zip(old[1:4], seen[1:4], strict=True)):
        changes.append(Change("service-changed", port, old, new))
    if old.certificate and new.certificate != old.certificate:
        changes.append(Change("certificate-changed", port, old, new))
    return changes


def gone(asset: Asset, time: str, scan_id: str) -> tuple[Asset, Change]:
    """Return an asset that did not answer a scan that asked for it, and that change."""
    before = Seen("up", time=asset.time, scan_id=asset.scan_id)
    asset.up, asset.time, asset.scan_id = False, time, scan_id
    return asset, Change("host-gone", before=before, after=Seen("down"))
