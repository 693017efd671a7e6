"""Host and port records."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any, Final

from orjson import Fragment

from forwarder.ecs import changes, fit
from forwarder.ecs.context import Context
from forwarder.ecs.identity import EventId
from forwarder.ecs.port_records import PortRecords
from forwarder.ecs.ports import PortTally, Scanned
from forwarder.ecs.subject import Subject
from forwarder.ecs.tally import Tally
from forwarder.history import Asset, Change, Seen, see
from forwarder.nmap.reader import Host
from forwarder.seal.canonical import encode

OS_TYPES: Final = {
    "linux": "linux",
    "android": "android",
    "windows": "windows",
    "ios": "ios",
    "mac os x": "macos",
    "macos": "macos",
    "freebsd": "unix",
    "openbsd": "unix",
    "netbsd": "unix",
    "dragonfly bsd": "unix",
    "solaris": "unix",
    "opensolaris": "unix",
    "aix": "unix",
    "hp-ux": "unix",
    "irix": "unix",
}
"""nmap's OS family, lower-case → ECS host.os.type. Cisco's IOS is not Apple's: its class names the vendor."""
EVENT = {"kind": "state", "module": "nmap", "provider": "nmap", "type": ["info"]}


class HostMapper:
    """Makes the records of one scan's hosts, and adds them to its tally.

    Args:
        context: the scan.
        tally: its totals.
        known: gives an asset by its host.id; without it there is nothing to compare with.
    """

    def __init__(self, context: Context, tally: Tally, known: Callable[[str], Asset | None] | None = None) -> None:
        self._context = context
        self._tally = tally
        self._known = known
        self.observed: list[Asset] = []
        """What is to be known from now on, because of the host whose records came last."""
        self._scanned = Scanned(context.document.run.facts.get("info", []))
        self._host_parts = context.stream("host") | {"observer": context.observer}
        self._port_parts = context.stream("port") | {"observer": context.observer}
        self._port_id, self._host_id = EventId(context.scan_id, "port"), EventId(context.scan_id, "host")
        if context.options.observer_ip:
            self._port_parts["source"] = Fragment(encode({"ip": context.options.observer_ip}))

    def records(self, host: Host) -> Iterator[bytes]:
        """Yield a host's records as canonical JSON.

        First the ports in nmap's order, then those that are open no more, then the host, then what changed. What
        scripts found on a port or the host follows its record.
        """
        subject = Subject(self._context, host, self._port_parts)
        ports = PortRecords(self._context, subject, self._port_id, known=self._known is not None)
        yield from ports.records(host)
        body = host.body()
        record = self._host(subject, host, body, ports.tally)
        differences = self._compare(subject, record, ports.seen)
        for change in differences:
            if change.action == "port-closed" and not change.recorded:
                yield ports.tombstone(change)
        details = ports.findings.of(record) if "script" in record["nmap"] else None
        yield fit.line(record)
        yield from details or ()
        source = subject.time["source"]
        for change in differences:
            yield changes.record(self._context, change, subject.timestamp, source, subject.facts, host.ordinal)
        self._tally.add(
            subject.network,
            body.get("end", ""),
            up=body.get("state", "up" if ports.tally.open_count else "") == "up",
            damaged=bool(host.damage),
            open_ports=ports.tally.open_count,
        )

    def _compare(self, subject: Subject, record: dict[str, Any], ports: dict[str, Seen]) -> list[Change]:
        """Return what changed on a host since it was seen last, and keep what is known of it now."""
        self.observed = []
        if self._known is None:
            return []
        sight = changes.sight(
            self._context.options.vantage,
            self._context.scan_id,
            subject.timestamp,
            subject.facts,
            record["nmap"]["host"],
            subject.network,
            self._scanned.entries,
            ports,
        )
        if sight is None:
            return []
        self.observed, differences = see(self._known, sight)
        return differences

    def _host(self, subject: Subject, host: Host, body: dict[str, Any], ports: PortTally) -> dict[str, Any]:
        body = dict(body)
        nmap = subject.nmap.copy()
        for name in ("script", "unparsed"):
            if value := body.pop(name, None):
                nmap[name] = value
        ecs_host = dict(subject.facts)
        if "uptime" in body and "seconds" in body["uptime"]:
            ecs_host["uptime"] = body["uptime"]["seconds"]
        if os := _os(body.get("os", {}), self._context.options.os_accuracy):
            ecs_host["os"] = os
        body["ordinal"] = host.ordinal
        body["port"] = ports.summary(body.pop("extra_ports", []), self._scanned)
        if host.damage:
            body["damaged"], body["damage"] = True, host.damage
        nmap["host"] = body
        event = EVENT | {
            "category": ["host"],
            "dataset": "nmap.host",
            "id": self._host_id(host.ordinal),
        }
        event |= {name: body[name] for name in ("start", "end") if name in body}
        return (
            self._host_parts
            | subject.common
            | {
                "event": event,
                "host": ecs_host,
                "message": f"{subject.label} is {body.get('state', 'listed')}, {ports.open_count} open ports",
                "nmap": nmap,
            }
        )


def _os(os: dict[str, Any], accuracy: int) -> dict[str, Any]:
    """Return host.os for the best match, if nmap is sure enough of it."""
    matches = [match for match in os.get("match", []) if match.get("accuracy", 0) >= accuracy]
    if not matches:
        return {}
    best = max(matches, key=lambda match: match["accuracy"])
    found = {"full": best["name"]} if "name" in best else {}
    if classes := best.get("class"):
        family = classes[0].get("family", "")
        if family:
            found |= {"family": family.lower(), "name": family}
        if generation := classes[0].get("generation"):
            found["version"] = generation
        kind = OS_TYPES.get(family.lower())
        if kind and not (kind == "ios" and classes[0].get("vendor") != "Apple"):
            found["type"] = kind
    return found
