"""Port records of one host.

There are two ways to make one, with the same bytes: `_record` makes it of a port as a dict, whatever it says. What
compiled code read is spliced: all ports of a host have most of their record in common, which is encoded once with holes
in it, and what fills the holes came as JSON. Whatever needs more than that goes the first way.
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import cached_property
from typing import Any, Final

from orjson import Fragment

from forwarder.ecs import changes, fit, scripts
from forwarder.ecs.context import Context
from forwarder.ecs.identity import EventId
from forwarder.ecs.ports import TRANSPORTS, UNREMARKABLE, PortTally
from forwarder.ecs.subject import Subject
from forwarder.ecs.vulnerabilities import Findings
from forwarder.history import Change, Seen
from forwarder.nmap.fast import Written
from forwarder.nmap.reader import Host
from forwarder.nse.registry import read
from forwarder.nse.results import Facts
from forwarder.seal.canonical import encode
from forwarder.seal.manifest import MAX_RECORD_BYTES

EVENT: Final = (
    b'{"category":["host","network"],"dataset":"nmap.port","id":"%s","kind":"state","module":"nmap",'
    b'"provider":"nmap","type":["info"]}'
)
"""`event` as canonical JSON; only its id differs."""
HOLE: Final = b"\0"
"""What stands for a hole: in JSON it is always escaped."""
CERTIFICATE: Final = b'"ssl-cert"'
"""What is in the JSON of scripts that found a certificate, which says more than a splice has place for."""


class PortRecords:
    """Makes them.

    Args:
        context: the scan.
        subject: the host.
        event_id: makes their ids.
        known: ports are to be compared with what is known of them.
    """

    def __init__(self, context: Context, subject: Subject, event_id: EventId, *, known: bool) -> None:
        self._context = context
        self._subject = subject
        self._event_id = event_id
        self._compared = known
        self._repeated: dict[str, int] = {}
        self.tally = PortTally()
        """All ports that went by."""
        self.seen: dict[str, Seen] = {}
        """`tcp/22` → the port, of those with a record, if they are to be compared."""
        self.findings = Findings(context, subject.ordinal, subject.label)
        """Makes the records of what scripts found."""

    def records(self, host: Host) -> Iterator[bytes]:
        """Yield the host's port records as canonical JSON, in nmap's order; what scripts found on a port follows it."""
        every = self._context.options.all_ports
        for port in host.written():
            if isinstance(port, Written):
                name, protocol, number, state, reason, *_ = port.facts
                self.tally.count(protocol, number, state, reason)
                scripted = bool(port.script)
            else:
                name, state, scripted = port["id"], port.get("state", ""), "script" in port
                self.tally.add(port)
            n = self._repeated[name] = self._repeated.get(name, -1) + 1
            if not (every or scripted or state not in UNREMARKABLE):
                continue
            identity = self._event_id(self._subject.ordinal, name, n)
            if not isinstance(port, Written):
                yield from self._general(port, name, identity)
                continue
            facts = {} if not scripted else None if CERTIFICATE in port.script else read(port.scripts)
            if facts is not None and (line := self._splice.line(port, identity, facts)):
                self._see(port)
                yield line
            else:
                yield from self._general(port.read(), name, identity, facts)

    @cached_property
    def _splice(self) -> Splice:
        return Splice(self._subject)

    def _see(self, port: Written) -> None:
        if self._compared:
            name, _, _, state, _, service, product, version = port.facts
            time, scan_id = self._subject.timestamp, self._context.scan_id
            self.seen[name] = Seen(state, service, product, version, "", time, scan_id)

    def _general(self, port: dict[str, Any], name: str, identity: str, facts: Facts | None = None) -> Iterator[bytes]:
        """Yield the records of a port that may be unusual, and of what scripts found on it."""
        if self._compared and (seen := changes.seen(port, self._subject.timestamp, self._context.scan_id)):
            self.seen[seen[0]] = seen[1]
        record = self._record(port, name, identity)
        found = self.findings.of(record, name, facts) if "script" in record["nmap"] else None
        yield fit.line(record)
        yield from found or ()

    def tombstone(self, change: Change) -> bytes:
        """Return the record of a port that was open before, was covered by the scan, and is open no more."""
        n = self._repeated.get(change.port, -1) + 1
        identity = self._event_id(self._subject.ordinal, change.port, n)
        return fit.line(self._record(changes.tombstone(change.port, change), change.port, identity))

    def _record(self, port: dict[str, Any], name: str, identity: str) -> dict[str, Any]:
        subject = self._subject
        number, protocol, service = port.get("number"), port.get("protocol"), port.get("service", {})
        label, version = service.get("name"), service.get("version")
        words = (name, port.get("state"), label, service.get("product"), version, subject.on)
        destination, network = {**subject.destination}, {**subject.network_parts}
        nmap = {**subject.port_nmap, "port": port}
        port.pop("id", None)
        if script := port.pop("script", None):
            nmap["script"] = script
        if odd := port.pop("unparsed", None):
            nmap["unparsed"] = odd
        if protocol == "ip":
            if number is not None:
                network["iana_number"] = str(number)
        elif protocol:
            network["transport"] = protocol
            if number is not None:
                destination["port"] = number
        record = {
            **subject.port_common,
            "destination": destination,
            "event": Fragment(EVENT % identity.encode()),
            "message": " ".join(filter(None, words))[: fit.SHORT],
            "network": network,
            "nmap": nmap,
        }
        if label:
            network["protocol"] = kind = label.lower()
            record["service"] = {"type": kind, "version": version} if version else {"type": kind}
        return record


class Splice:
    """A host's port record as canonical JSON with holes.

    Args:
        subject: the host.
    """

    def __init__(self, subject: Subject) -> None:
        nmap = {name: subject.port_nmap[name] for name in ("host", "scan", "target", "time")}
        record = subject.port_common | {
            "destination": subject.destination | {"port": Fragment(HOLE)},
            "event": Fragment(EVENT % HOLE),
            "message": Fragment(b'"' + HOLE + encode(f" {subject.on}")[1:]),
            "network": Fragment(b"{" + HOLE + encode(subject.network_parts)[1:]),
            "nmap": nmap
            | {"port": Fragment(HOLE)}
            | {name: Fragment(encode(nmap[name]) + HOLE) for name in ("host", "scan", "time")},
            "related": Fragment(encode(subject.port_common["related"]) + HOLE),  # no other member is before `service`
        }
        self._pieces = encode(record).split(HOLE)
        self._room = fit.SHORT - len(subject.on) - 1
        self._possible = bool(subject.network_parts)

    def line(self, port: Written, identity: str, facts: Facts) -> bytes | None:
        """Return a port's record; None when it has to be made the general way.

        Args:
            port: what compiled code read.
            identity: its event.id.
            facts: what scripts found on it.
        """
        about, number, words, network, nmap_port, script, service = port
        if not self._possible or about[1] not in TRANSPORTS or len(words) > self._room:
            return None
        host = scan = time = b""  # what follows those members of `nmap`
        if facts:
            if not facts.keys() <= scripts.PORT:
                return None
            said = scripts.of_port(facts)
            for name in sorted(said):
                member = b',"%b":%b' % (name.encode(), encode(said[name]))
                if name == "ssh":
                    scan += member
                elif name == "tls":
                    time += member
                else:
                    host += member
        (a, b, c, d, e, f, g, h, i, j) = self._pieces
        parts = (a, number, b, identity.encode(), c, words, d, network, e, host, f, nmap_port)
        line = b"".join((*parts, g, script, scan, h, time, i, service, j))
        return line if len(line) <= MAX_RECORD_BYTES else None
