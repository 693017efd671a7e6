"""ECS records of a scan that python-libnmap has parsed, for programs that already hold its `NmapReport`.

    from libnmap.parser import NmapParser
    from forwarder.libnmap import records

    for record in records(NmapParser.parse_fromfile("scan.xml")):
        print(record["event"]["dataset"], record["message"])

The report is written as the XML elements that it was read from, as far as libnmap keeps them, and these go the way of
every other scan: there is one reader and one mapper. docs/LIBNMAP.md says what libnmap keeps.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any, Final
from xml.etree.ElementTree import Element, SubElement, tostring

import orjson

from forwarder.ecs import scans
from forwarder.ecs.context import Context, Options, Origin
from forwarder.ecs.hosts import HostMapper
from forwarder.ecs.tally import Tally
from forwarder.nmap import ranges
from forwarder.nmap.framing import Frame
from forwarder.nmap.reader import Host
from forwarder.nmap.scan import Run
from forwarder.nmap.survey import Document

if TYPE_CHECKING:
    from libnmap.objects import NmapHost, NmapReport, NmapService

NO_END: Final = "libnmap has no end of it"
"""Why a scan counts as cut: libnmap reads a cut file only when told to, and then without `runstats`."""
SIMPLE: Final = ("uptime", "distance", "tcpsequence", "ipidsequence", "tcptssequence", "times")
"""Elements of a host that libnmap keeps as their attributes, under their own names."""


def records(report: NmapReport, options: Options | None = None) -> Iterator[dict[str, Any]]:
    """Yield the records of a report: of each host its ports, then itself; last the scan.

    A record is equal to the one that the forwarder makes of the XML in every field that libnmap keeps the facts for.

    libnmap loses: the type of host names; traceroutes; what pre- and postscripts say; tasks, hints, invalid targets
    and nmap's own output; a host's comment, timeout and smurf replies; all but the last `scaninfo` and the last
    `extraports`; and of script results the order of rows with equal keys, and all but the last of equal rows at the
    top.

    A report has no bytes, and whatever is derived from them is missing: `event.id`, `nmap.scan.id`,
    `nmap.scan.document`, `file` and `related.hash`. So these records are not evidence, and cannot be sealed or
    delivered as such; `nmap-forwarder forward` does that with the XML itself.

    Args:
        report: a whole scan, as NmapParser gives it.
        options: what records look like: vantage, observer, networks, …

    Raises:
        TypeError: it is no NmapReport; NmapParser gives other objects for parts of a scan.
    """
    if not callable(getattr(report, "get_raw_data", None)):
        raise TypeError(f"{type(report).__name__} is no NmapReport: parse a whole scan")
    document = _document(report)
    context = Context(document, Origin("", "", 0, ""), options or Options(), "")
    tally = Tally()
    mapper = HostMapper(context, tally)
    for ordinal, each in enumerate(report.hosts):
        # tostring leaves a carriage return in text as it is, and every parser would make a line feed of it
        data = tostring(_host(each)).replace(b"\r", b"&#13;")
        for line in mapper.records(Host(ordinal, Frame("host", 0, len(data), data), iter(()))):
            yield _without_bytes(orjson.loads(line))
    yield _without_bytes(orjson.loads(scans.record(context, tally)[1]))


def _document(report: NmapReport) -> Document:
    """Return what the survey of a file would say of the scan."""
    raw = report.get_raw_data()
    run = Run(Frame("document", 0, 0, tostring(_element("nmaprun", raw["_nmaprun"]))))
    parts = [_element("scaninfo", raw["_scaninfo"])] if raw["_scaninfo"] else []
    if raw["_runstats"]:
        parts.append(Element("runstats"))
        for name, attributes in raw["_runstats"].items():
            parts[-1].append(_element(name, attributes))
    for part in parts:
        run.add(Frame("element", 0, 0, tostring(part)))
    return Document(0, 0, run, hosts=len(report.hosts), cut="" if "finished" in raw["_runstats"] else NO_END)


def _without_bytes(record: dict[str, Any]) -> dict[str, Any]:
    """Take out of a record what is, or pretends to be, derived from a file."""
    record.pop("file", None)
    del record["event"]["id"]
    record["related"].pop("hash", None)
    if not record["related"]:
        del record["related"]
    scan = record["nmap"]["scan"]
    del scan["id"]
    scan.pop("document", None)
    if not record["@timestamp"]:  # neither the host nor the scan has a time
        del record["@timestamp"], record["nmap"]["time"]
    for group in record["nmap"].get("host", {}).get("port", {}).get("group", []):
        # With one scaninfo of several, what is left of it is not what a group holds.
        if group.get("derived") and len(ranges.ports(group["ports"])) != group.get("count"):
            del group["ports"], group["protocol"], group["derived"]
    return record


# --- objects of libnmap as the elements that they were made from ------------------------------------------


def _element(name: str, attributes: Any, parent: Element | None = None) -> Element:
    """Return a new element; what is no attribute (lists of children, absent values) is left out."""
    found = {
        str(key): str(value) for key, value in dict(attributes or {}).items() if isinstance(value, str | int | float)
    }
    return Element(name, found) if parent is None else SubElement(parent, name, found)


def _host(host: NmapHost) -> Element:
    """Return a `host` element.

    libnmap's properties give some of what it keeps; its attributes give all, as the dicts that its parser made.
    """
    kept = vars(host)
    extras = kept["_extras"]
    element = _element("host", {"starttime": host.starttime, "endtime": host.endtime})
    _element("status", kept["_status"], element)
    addresses = kept["_address"] or []
    for address in [addresses] if isinstance(addresses, dict) else addresses:  # its setter leaves a dict
        _element("address", address, element)
    names = _element("hostnames", {}, element)
    for name in host.hostnames:
        _element("hostname", {"name": name}, names)
    ports = _element("ports", {}, element)
    if extra := extras.get("extraports"):
        # Both members hold all attributes of the element.
        group = _element("extraports", extra["state"] or extra["count"], ports)
        for reason in extra.get("reasons", ()):
            _element("extrareasons", reason, group)
    for service in host.services:
        ports.append(_port(service))
    if "os" in extras:
        element.append(_os(extras["os"]))
    for name in SIMPLE:
        if name in extras:
            _element(name, extras[name], element)
    if scripts := extras.get("hostscript"):
        _scripts(scripts, _element("hostscript", {}, element))
    return element


def _port(service: NmapService) -> Element:
    element = _element("port", {"protocol": service.protocol, "portid": service.port})
    _element("state", vars(service)["_state"], element)
    if service.owner:
        _element("owner", {"name": service.owner}, element)
    if service.service_dict:
        _cpe(service.service_dict.get("cpelist"), _element("service", service.service_dict, element))
    _scripts(service.scripts_results or [], element)
    return element


def _os(os: dict[str, Any]) -> Element:
    element = Element("os")
    for used in os.get("ports_used", ()):
        _element("portused", used, element)
    for match in os.get("osmatches", ()):
        _os_classes(match.get("osclasses"), _element("osmatch", match["osmatch"], element))
    _os_classes(os.get("osclasses"), element)
    for fingerprint in os.get("osfingerprints", ()):
        _element("osfingerprint", fingerprint, element)
    return element


def _os_classes(classes: list[dict[str, Any]] | None, parent: Element) -> None:
    for each in classes or ():
        _cpe(each.get("cpe"), _element("osclass", each["osclass"], parent))


def _cpe(texts: list[str] | None, parent: Element) -> None:
    for text in texts or ():
        _element("cpe", {}, parent).text = text


def _scripts(scripts: list[dict[str, Any]], parent: Element) -> None:
    for script in scripts:
        _rows(script.get("elements") or {}, _element("script", script, parent))


def _rows(table: dict[str | None, Any], parent: Element) -> None:
    """Add the rows of a table; libnmap has a list under a key that came several times, and None for no key."""
    for key, values in table.items():
        attributes = {"key": key}
        for value in values if isinstance(values, list) else [values]:
            if isinstance(value, dict):
                _rows(value, _element("table", attributes, parent))
            else:
                _element("elem", attributes, parent).text = value
