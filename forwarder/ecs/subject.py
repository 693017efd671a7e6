"""Scanned hosts, as their records name them."""

from __future__ import annotations

from typing import Any, Final

from orjson import Fragment

from forwarder.ecs import fit
from forwarder.ecs.context import Context
from forwarder.ecs.identity import host_id
from forwarder.nmap.reader import Host
from forwarder.seal.canonical import encode

LONGEST_NAME: Final = 255
"""A longer host name is none (RFC 1035); it is kept among nmap's facts only."""


class Subject:
    """The scanned host, as every record about it names it.

    Args:
        context: the scan.
        host: the host.
        port_parts: members that the records of all ports of the scan have.
    """

    def __init__(self, context: Context, host: Host, port_parts: dict[str, Any]) -> None:
        head = host.head
        self.ordinal = host.ordinal
        addresses = head.get("address", [])
        ips = list(dict.fromkeys(entry["addr"] for entry in addresses if entry["type"] != "mac"))
        macs = list(dict.fromkeys(entry["addr"] for entry in addresses if entry["type"] == "mac"))
        names = [entry for entry in head.get("hostname", []) if 0 < len(entry.get("name", "")) <= LONGEST_NAME]
        domain = _fqdn(names)
        main = next(iter(ips or macs), "unknown")
        self.label = f"{domain} ({main})" if domain else main
        self.on = f"on {self.label}"
        self.facts: dict[str, Any] = {
            "id": host_id(context.options.vantage, main, next(iter(macs), "")),
            "name": domain or main,
        }
        related: dict[str, Any] = {}
        self.destination: dict[str, Any] = {}
        self.network_parts: dict[str, str] = {}
        self.network = ""
        target: dict[str, Any] = {}
        if ips:
            self.facts["ip"] = related["ip"] = ips
            self.destination["ip"] = main
            self.network_parts["type"] = "ipv6" if ":" in main else "ipv4"
            target = context.target(main)
            (self.network,) = target["network"]
        if macs:
            self.facts["mac"] = macs
        if names:
            related["hosts"] = list(dict.fromkeys(entry["name"].lower().rstrip(".") for entry in names))
        if "end" in head:
            self.timestamp, source = head["end"], "host-end"
        else:
            self.timestamp, source = context.time["value"], context.time["source"]
        self.time = {"source": source}
        self.common = {"@timestamp": self.timestamp, "related": fit.shared(related)}
        self.nmap = {"scan": context.scan, "target": fit.shared(target), "time": fit.shared(self.time)}
        """Members of all records of the host."""
        self.port_common = port_parts | self.common | {"host": Fragment(encode(self.facts))}
        self.port_nmap = self.nmap | {"host": fit.shared({"ordinal": host.ordinal})}
        """Members of all its ports' records."""


def label(facts: dict[str, Any]) -> str:
    """Return a host for people, given what ECS has of it."""
    name, ip = facts["name"], facts["ip"][0]
    return ip if name == ip else f"{name} ({ip})"


def _fqdn(names: list[dict[str, str]]) -> str:
    """Return the lower-case name that a host is known by: what the DNS says, else what the user typed."""
    for kind in ("PTR", "user"):
        for entry in names:
            name = entry["name"].lower().rstrip(".")
            if entry.get("type", "PTR") == kind and "." in name:
                return name
    return ""
