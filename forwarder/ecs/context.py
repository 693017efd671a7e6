"""What all records of one scan share."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from ipaddress import ip_address, ip_network
from pathlib import Path
from typing import Any, Final

from orjson import Fragment, dumps

from forwarder.config.policy import DEFAULTS
from forwarder.ecs.networks import Networks, Owner, configured, owners
from forwarder.nmap.mask import NAMES
from forwarder.nmap.survey import Document
from forwarder.seal.canonical import encode

ECS_VERSION: Final = "8.17.0"
PREFIX = {4: 24, 6: 64}
"""Prefix length of nmap.target.network by IP version, for a host in none of the configured networks."""


@dataclass(frozen=True, slots=True)
class Options:
    """What the configuration says about records."""

    namespace: str = "default"
    """Of the data streams."""
    observer: str = ""
    """Name of the machine that scanned."""
    observer_ip: str = ""
    """Address that it scanned from."""
    vantage: str = "default"
    """Network position of the scanner."""
    networks: tuple[str, ...] = ()
    """Networks in CIDR notation that targets are told apart by."""
    owners: Path | None = None
    """List of who answers for which network."""
    all_ports: bool = False
    """Make records of closed and filtered ports, too."""
    os_accuracy: int = 95
    """Least accuracy, in percent, at which an OS match becomes host.os."""
    mask: tuple[str, ...] = NAMES
    """Patterns of names whose values on the command line are secrets."""
    policy: Mapping[str, Any] = field(default_factory=lambda: DEFAULTS)
    """The settings `policy.*`, as they are checked."""


@dataclass(frozen=True, slots=True)
class Origin:
    """The input that a scan was read from."""

    path: str
    """As it was given, or empty for standard input."""
    sha256: str
    size: int
    mtime: str
    """RFC 3339; the last resort for a record's time."""
    uid: str = ""
    """Of the file's owner."""
    owner: str = ""
    """Name of that user on this machine."""


@dataclass(frozen=True, slots=True)
class Attributed:
    """Who made a scan, as its records say it."""

    scan: dict[str, Any] = field(default_factory=dict)
    """Members of the scan record, to be merged into it."""
    shared: dict[str, Any] = field(default_factory=dict)
    """Members of all its other records, written once."""
    nmap: dict[str, Any] = field(default_factory=dict)
    """Members of the scan record's `nmap`."""


@dataclass(slots=True)
class Context:
    """One scan in one input, with the parts of records that are the same for all of them."""

    document: Document
    origin: Origin
    options: Options
    scan_id: str
    who: Attributed = field(default_factory=Attributed)
    ecs: Fragment = field(init=False)
    observer: Fragment = field(init=False)
    scan: Fragment = field(init=False)
    time: dict[str, str] = field(init=False)
    """Source and value of the time of a host that has none of its own."""
    _networks: Networks[str] = field(init=False)
    _owners: Networks[Owner] = field(init=False)

    def __post_init__(self) -> None:
        facts = self.document.run.facts
        options = self.options
        self.ecs = Fragment(encode({"version": ECS_VERSION}))
        observer = {"type": "scanner", "product": facts.get("scanner", "nmap")}
        if version := facts.get("version"):
            observer["version"] = version
        if options.observer:
            observer["name"] = options.observer
        if options.observer_ip:
            observer["ip"] = [options.observer_ip]
        self.observer = Fragment(encode(observer))
        self.scan = Fragment(encode({"id": self.scan_id, "vantage": options.vantage}))
        if "finish" in facts:
            self.time = {"source": "scan-finish", "value": facts["finish"]}
        elif "start" in facts:
            self.time = {"source": "scan-start", "value": facts["start"]}
        else:
            self.time = {"source": "file-mtime", "value": self.origin.mtime}
        self._networks = configured(options.networks)
        self._owners = owners(options.owners)

    def network(self, ip: str) -> str:
        """Return the most specific configured network of an address, else its /24 or /64."""
        if not self._networks and ":" not in ip:
            return f"{ip.rpartition('.')[0]}.0/24"  # what the general way below gives, without its cost
        return network_of(self._networks, ip)

    def target(self, ip: str) -> dict[str, Any]:
        """Return `nmap.target` of a scanned address: its network, and who answers for it."""
        owner = self._owners.of(ip) if self._owners else None
        return {"network": [self.network(ip)]} | (owner.facts if owner else {})

    def stream(self, dataset: str) -> dict[str, Any]:
        """Return the members that tell the records of a dataset."""
        name = f"nmap.{dataset}"
        stream = {"type": "logs", "dataset": name, "namespace": self.options.namespace}
        shared = self.who.shared if dataset != "scan" else {}
        return {"data_stream": Fragment(dumps(dict(sorted(stream.items())))), "ecs": self.ecs} | shared


def network_of(known: Networks[str], ip: str) -> str:
    """Return the most specific configured network of an address, else its /24 or /64."""
    return known.of(ip) or str(ip_network(f"{ip}/{PREFIX[ip_address(ip).version]}", strict=False))


def frame(look: Options, dataset: str, time: str, identity: str, category: str, **event: Any) -> dict[str, Any]:
    """Return what every record that is made from something else than nmap's XML has.

    Args:
        look: what the configuration says about records.
        dataset: with its `nmap.`.
        time: RFC 3339.
        identity: event.id.
        category: event.category.
        event: more members of `event`.
    """
    return {
        "@timestamp": time,
        "data_stream": {"dataset": dataset, "namespace": look.namespace, "type": "logs"},
        "ecs": {"version": ECS_VERSION},
        "event": {
            "category": [category],
            "dataset": dataset,
            "id": identity,
            "kind": "event",
            "module": "nmap",
            "provider": "nmap-forwarder",
        }
        | event,
    }
