"""Host and port records."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from typing import Any, Final

from orjson import Fragment, loads

from forwarder.ecs import changes, fit, usual
from forwarder.ecs.context import Context
from forwarder.ecs.identity import EventId
from forwarder.ecs.ports import UNREMARKABLE, PortTally, Scanned
from forwarder.ecs.subject import Subject, label
from forwarder.ecs.tally import Tally
from forwarder.ecs.usual import HOLE, ID, Found, Lines, Usual, template
from forwarder.ecs.vulnerabilities import Findings
from forwarder.history import NO_PORTS, Asset, Change, Seen, Sight, see
from forwarder.nmap.reader import Host
from forwarder.nse.registry import certificate_sha256
from forwarder.nse.results import Facts
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
PORT_EVENT: Final = (
    b'{"category":["host","network"],"dataset":"nmap.port","id":"%s","kind":"state","module":"nmap",'
    b'"provider":"nmap","type":["info"]}'
)
"""EVENT of a port record as canonical JSON; only its id differs."""
EMPTY: Final[dict[str, Any]] = {}
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
        self._usual = self._templates()

    def _templates(self) -> Usual:
        """Return what makes the records of usual hosts, told how ours look."""
        ordinal = {"ordinal": HOLE}
        parts = {"destination": HOLE, "event": Fragment(PORT_EVENT % b"\0"), "network": HOLE, "service": HOLE}
        port = template(self._port_parts | parts, {"host": ordinal, "port": HOLE}, self._context)
        event = EVENT | {"category": ["host"], "dataset": "nmap.host", "id": ID, "start": HOLE, "end": HOLE}
        host = template(self._host_parts | {"event": event}, {"host": HOLE}, self._context)
        only = self._scanned.only if self._scanned.whole else None
        return Usual(
            self._context,
            port,
            host,
            OS_TYPES,
            self._scanned.fragment,
            (only.get("protocol", ""), only["ports"]) if only else ("", ""),
        )

    def records(self, host: Host) -> Iterable[bytes]:
        """Return a host's records as canonical JSON; those of a usual host together.

        First the ports in nmap's order, then those that are open no more, then the host, then what changed. What
        scripts found on a port or the host follows its record.
        """
        return self._made(host) or self._mapped(host)

    def _made(self, host: Host) -> Lines | None:
        """Return the records of a usual host of which nothing changed, None for another."""
        found = self._usual.records(host)
        if found is None:
            return None
        said, (network,) = found.said, found.target["network"]
        sight = None
        if self._known:
            others = {name: Seen(*port) for name, port in said.get("others", {}).items()}
            sight = self._sight(said["time"], said["facts"], said | {"port": said}, network, others, found.seen)
        lines = self._finish(found, host.ordinal, sight) if "asked" in said else found.lines
        if self._compare(sight):
            return None
        self._tally.add(
            network,
            said.get("end", ""),
            up=said.get("state", "up" if said["open"] else "") == "up",
            damaged=False,
            open_ports=said["open"],
        )
        return lines

    def _finish(self, found: Found, ordinal: int, sight: Sight | None) -> Lines:
        """Return records with what scripts found in them, and the records of their findings."""
        made, lines, done, findings = list(found.lines), [], 0, None
        for place in found.said["asked"]:
            lines += made[done:place]
            done = place + 1
            whole, facts = usual.finished(made[place])
            if whole:
                lines.append(whole)
                continue
            findings = findings or Findings(self._context, ordinal, label(found.said["facts"]))
            record = loads(made[place].replace(usual.MARK, b""))
            port = record["nmap"].get("port")
            key = f"{port['protocol']}/{port['number']}" if port else ""
            # Of a port without a service no certificate is kept; see changes.seen.
            if sight and port and "service" in port and (certificate := certificate_sha256(record["nmap"]["script"])):
                ports = sight.asset.ports if key in sight.asset.ports else sight.others
                ports[key] = ports[key]._replace(certificate=certificate)
            lines += self._lines(record, findings, key, facts)
        lines += made[done:]
        return Lines(b"\n".join((*lines, b"")), len(lines))

    def _mapped(self, host: Host) -> Iterator[bytes]:
        """Yield the records of any host."""
        subject = Subject(self._context, host, self._port_parts)
        ports = PortTally()
        repeated: dict[str, int] = {}
        seen: dict[str, Seen] = {}
        findings = Findings(self._context, host.ordinal, subject.label)
        all_ports = self._context.options.all_ports
        for port in host.ports():
            ports.add(port)
            name = port.pop("id")
            n = repeated[name] = repeated.get(name, -1) + 1
            if all_ports or port.get("state") not in UNREMARKABLE or "script" in port:
                if self._known and (known := changes.seen(port, subject.timestamp, self._context.scan_id)):
                    seen[known[0]] = known[1]
                yield from self._lines(self._port(subject, port, name, n), findings, name)
            del port  # it may be large, and the next is read before this name is given to it
        body = host.body()
        record = self._host(subject, host, body, ports)
        sight = self._sight(subject.timestamp, subject.facts, record["nmap"]["host"], subject.network, seen)
        differences = self._compare(sight)
        for change in differences:
            if change.action == "port-closed" and not change.recorded:
                port = changes.tombstone(change.port, change)
                n = repeated.get(change.port, -1) + 1
                yield fit.line(self._port(subject, port, change.port, n))
        yield from self._lines(record, findings)
        source = subject.time["source"]
        for change in differences:
            yield changes.record(self._context, change, subject.timestamp, source, subject.facts, host.ordinal)
        self._tally.add(
            subject.network,
            body.get("end", ""),
            up=body.get("state", "up" if ports.open_count else "") == "up",
            damaged=bool(host.damage),
            open_ports=ports.open_count,
        )

    @staticmethod
    def _lines(
        record: dict[str, Any], findings: Findings, port: str = "", facts: Facts | None = None
    ) -> Iterator[bytes]:
        """Yield a record with what scripts found in it, and the records of their findings."""
        details = findings.of(record, port, facts) if "script" in record["nmap"] else None
        yield fit.line(record)
        yield from details or ()

    def _sight(
        self,
        time: str,
        facts: dict[str, Any],
        body: dict[str, Any],
        network: str,
        ports: dict[str, Seen],
        packed: bytes = NO_PORTS,
    ) -> Sight | None:
        """Return what the scan says of a host; None when there is nothing to compare it with."""
        if self._known is None:
            return None
        vantage, scan_id = self._context.options.vantage, self._context.scan_id
        return changes.sight(vantage, scan_id, time, facts, body, network, self._scanned.entries, ports, packed)

    def _compare(self, sight: Sight | None) -> list[Change]:
        """Return what changed on a host since it was seen last, and keep what is known of it now."""
        self.observed = []
        if self._known is None or sight is None:
            return []
        self.observed, differences = see(self._known, sight)
        return differences

    def _port(self, subject: Subject, port: dict[str, Any], name: str, n: int) -> dict[str, Any]:
        number, protocol, service = port.get("number"), port.get("protocol"), port.get("service", EMPTY)
        label, version = service.get("name"), service.get("version")
        words = (name, port.get("state"), label, service.get("product"), version, subject.on)
        destination, network = {**subject.destination}, {**subject.network_parts}
        nmap = {**subject.port_nmap, "port": port}
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
            "event": Fragment(PORT_EVENT % self._port_id(subject.ordinal, name, n).encode()),
            "message": " ".join(filter(None, words))[: fit.SHORT],
            "network": network,
            "nmap": nmap,
        }
        if label:
            network["protocol"] = kind = label.lower()
            record["service"] = {"type": kind, "version": version} if version else {"type": kind}
        return record

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
    best = max(matches, key=lambda match: match.get("accuracy", 0))
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
