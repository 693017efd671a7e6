"""One `host` element, without its ports, as a plain dict."""

from __future__ import annotations

from typing import Any
from xml.etree.ElementTree import Element

from forwarder.nmap.script import scripts
from forwarder.nmap.values import (
    Table,
    address,
    boolean,
    integer,
    mac,
    moment,
    natural,
    number,
    port_number,
    take,
    take_markup,
)

HOST: Table = {
    "starttime": ("start", moment),
    "endtime": ("end", moment),
    "timedout": ("timed_out", boolean),
    "comment": ("comment", None),
    "status": ("state", None),  # nmap 2.54
}
STATUS: Table = {
    "state": ("state", None),
    "reason": ("reason", None),
    "reason_ttl": ("reason_ttl", natural),
    "reason_ip": ("reason_ip", address),
}
HOSTNAME: Table = {"name": ("name", None), "type": ("type", None)}
OS_MATCH: Table = {"name": ("name", None), "accuracy": ("accuracy", natural), "line": ("line", natural)}
OS_CLASS: Table = {
    "vendor": ("vendor", None),
    "osfamily": ("family", None),
    "osgen": ("generation", None),
    "type": ("type", None),
    "accuracy": ("accuracy", natural),
}
PORT_USED: Table = {
    "state": ("state", None),
    "proto": ("protocol", None),
    "portid": ("port", port_number),
    "id": ("port", port_number),  # nmap 2.54
}
HOP: Table = {
    "ttl": ("ttl", natural),
    "ipaddr": ("ip", address),
    "rtt": ("rtt", number),
    "host": ("host", None),
}
EXTRA_PORTS: Table = {"state": ("state", None), "count": ("count", natural)}
EXTRA_REASONS: Table = {
    "reason": ("reason", None),
    "count": ("count", natural),
    "proto": ("protocol", None),
    "ports": ("ports", None),
}
TRACE: Table = {"proto": ("protocol", None), "port": ("port", port_number)}
SIMPLE: dict[str, tuple[str, Table]] = {
    "uptime": ("uptime", {"seconds": ("seconds", natural), "lastboot": ("last_boot", None)}),
    "tcpsequence": (
        "tcp_sequence",
        {
            "index": ("index", integer),
            "class": ("class", None),
            "difficulty": ("difficulty", None),
            "values": ("values", None),
        },
    ),
    "ipidsequence": ("ip_id_sequence", {"class": ("class", None), "values": ("values", None)}),
    "tcptssequence": ("tcp_ts_sequence", {"class": ("class", None), "values": ("values", None)}),
    "times": ("rtt", {"srtt": ("srtt", integer), "rttvar": ("rttvar", integer), "to": ("timeout", integer)}),
    "smurf": ("smurf", {"responses": ("responses", natural)}),
}
"""Elements that are one object each. The times are in microseconds, as nmap writes them."""


def host(element: Element) -> dict[str, Any]:
    """Return a host without its ports.

    Returns:
        nmap's facts under names of ours: `state`, `reason`, `start`, `end`, `address` (a list of {addr, type,
        vendor}), `hostname`, `extra_ports`, `os`, `trace`, `uptime`, `script`, …, each where nmap gives it;
        `unparsed`, a list of what fits none of these. MAC addresses are written as ECS has them.
    """
    odd: list[str] = []
    found: dict[str, Any] = {}
    results: list[Element] = []
    take(element, HOST, found, odd)
    for child in element:
        tag = child.tag
        if tag == "status":
            take(child, STATUS, found, odd)
        elif tag == "address":
            _address(child, found, odd)
        elif tag in SIMPLE:
            name, table = SIMPLE[tag]
            take(child, table, found.setdefault(name, {}), odd)
        elif tag in PARTS:
            PARTS[tag](child, found, odd)
        elif tag == "distance":
            take(child, {"value": ("distance", natural)}, found, odd)
        elif tag == "hostscript":
            results.extend(child.iterfind("script"))
        elif tag != "port":
            take_markup(child, odd)
    if results:
        found["script"] = scripts(results)
    if odd:
        found["unparsed"] = odd
    return found


def _address(element: Element, found: dict[str, Any], odd: list[str]) -> None:
    """Add one address, told by its type; the order differs between nmap's versions."""
    kind, text = element.get("addrtype", "ipv4"), element.get("addr", "")
    try:
        entry = {"addr": mac(text) if kind == "mac" else address(text), "type": kind}
    except ValueError:
        take_markup(element, odd)
        return
    if vendor := element.get("vendor"):
        entry["vendor"] = vendor
    found.setdefault("address", []).append(entry)


def _hostnames(element: Element, found: dict[str, Any], odd: list[str]) -> None:
    _list(element, "hostname", HOSTNAME, found, odd)


def _ports(element: Element, found: dict[str, Any], odd: list[str]) -> None:
    """Add the groups of ports that nmap does not list one by one."""
    for child in element:
        if child.tag == "extraports":
            group: dict[str, Any] = {}
            take(child, EXTRA_PORTS, group, odd)
            for reason in child:
                entry: dict[str, Any] = {}
                take(reason, EXTRA_REASONS, entry, odd)
                group.setdefault("reasons", []).append(entry)
            found.setdefault("extra_ports", []).append(group)
        elif child.tag != "port":
            take_markup(child, odd)


def _os(element: Element, found: dict[str, Any], odd: list[str]) -> None:
    """Add what nmap says of the operating system; classes stand beside the matches in old files."""
    os: dict[str, Any] = found.setdefault("os", {})
    for child in element:
        entry: dict[str, Any] = {}
        if child.tag == "osmatch":
            take(child, OS_MATCH, entry, odd)
            if len(child):
                entry["class"] = [_os_class(item, odd) for item in child.iterfind("osclass")]
            os.setdefault("match", []).append(entry)
        elif child.tag == "osclass":
            os.setdefault("class", []).append(_os_class(child, odd))
        elif child.tag == "portused":
            take(child, PORT_USED, entry, odd)
            os.setdefault("port_used", []).append(entry)
        elif child.tag == "osfingerprint":
            os.setdefault("fingerprint", []).append(child.get("fingerprint", ""))
        else:
            take_markup(child, odd)


def _os_class(element: Element, odd: list[str]) -> dict[str, Any]:
    entry: dict[str, Any] = {}
    take(element, OS_CLASS, entry, odd)
    if len(element):
        entry["cpe"] = [cpe.text for cpe in element if cpe.tag == "cpe" and cpe.text]
    return entry


def _trace(element: Element, found: dict[str, Any], odd: list[str]) -> None:
    """Add a traceroute; nmap writes `--` for the time of a hop that did not answer."""
    trace: dict[str, Any] = found.setdefault("trace", {})
    take(element, TRACE, trace, odd)
    for child in element:
        if child.tag == "hop":
            entry: dict[str, Any] = {}
            if child.get("rtt") == "--":
                del child.attrib["rtt"]
            take(child, HOP, entry, odd)
            trace.setdefault("hop", []).append(entry)
        elif child.tag == "error":
            trace["error"] = child.get("errorstr", "")
        else:
            take_markup(child, odd)


def _list(element: Element, name: str, table: Table, found: dict[str, Any], odd: list[str]) -> None:
    """Add children of one name as a list of objects."""
    for child in element:
        entry: dict[str, Any] = {}
        if child.tag == name:
            take(child, table, entry, odd)
            found.setdefault(name, []).append(entry)
        else:
            take_markup(child, odd)


PARTS = {"hostnames": _hostnames, "ports": _ports, "os": _os, "trace": _trace}
