"""What libnmap and our reader say of the same XML, under the same names; and where they differ, with the reason."""

from __future__ import annotations

from datetime import datetime
from io import BytesIO

from libnmap.objects import NmapHost, NmapReport, NmapService

from forwarder.nmap import salvage
from forwarder.nmap.reader import Host, Reader
from forwarder.nmap.survey import Document, Survey

DEVIATIONS = {
    "mac": "ours is written as ECS has it, upper-case with dashes",
    "ipv4": "libnmap keeps the last address of a kind, ours all; the first names the host",
    "ipv6": "likewise; and ours leaves out the zone of a link-local address",
    "vendor": "libnmap keeps the last of several",
    "times": "libnmap has seconds since 1970 as text, ours RFC 3339; ours has none for zero",
    "text": "nmap escapes UTF-8 byte by byte; ours puts the characters together again",
    "output": "in old files the output of a script is its text, which libnmap does not read; ours takes either",
    "single value": "a result that is one value is the text of its script, which libnmap does not read",
    "elements": "libnmap keeps the last of several rows of a script's table that have one key or none",
    "extraports": "libnmap keeps the last group of several",
    "scaninfo": "libnmap keeps the last of several",
    "os classes": "ours leaves a class beside the matches where it is; libnmap moves it into a match, or makes one up",
    "bad value": "ours keeps what does not fit its type among nmap.unparsed, libnmap gives it as text",
    "empty": "an attribute that is empty is absent for ours",
    "repeated element": "of an element that should come once, libnmap keeps the last; ours adds up their attributes",
    "odd children": "in extraports and script tables, libnmap passes over elements that it does not know; ours has rows",
    "absent number": "libnmap gives 0 for a missing distance or uptime, ours nothing",
}
"""All deviations there are. Each has a test in test_libnmap_oracle.py that shows it; the views below undo it."""
REFUSED = {
    "control characters": (b"&#x1;", b"?"),
    "port without a state": (b'portid="80"><service', b'portid="80"><state state=""/><service'),
    "empty uptime": (b'seconds=""', b'seconds="0"'),
}
"""What libnmap raises an error for, in our fixtures, though nmap and Zenmap write it → (it, what libnmap takes)."""


def accepted(data: bytes) -> bytes:
    """A scan as libnmap reads it without an error."""
    for refused, instead in REFUSED.values():
        data = data.replace(refused, instead)
    return data


def read(data: bytes) -> list[tuple[Document, list[tuple[dict, list[dict]]]]]:
    """What our reader makes of an input: each document with the (body, ports) of its hosts."""
    reader = Reader(BytesIO(data))
    return [(document, [_whole(host) for host in reader.hosts(document)]) for document in Survey(BytesIO(data))]


def _whole(host: Host) -> tuple[dict, list[dict]]:
    ports = list(host.ports())
    return host.body(), ports


def _seconds(time: str | None) -> str:
    return str(int(datetime.fromisoformat(time).timestamp())) if time else ""  # "times"


def _text(value: str | None) -> str:
    return salvage.utf8(value or "")  # "text"


def _given(text: str | None) -> bool:
    return bool(text)  # "empty"


# --- hosts ------------------------------------------------------------------------------------------------


def theirs_of_host(host: NmapHost) -> dict:
    """A host by libnmap's own accessors."""
    times = [text if text and int(text) else "" for text in (host.starttime, host.endtime)]
    return {
        "times": times,
        "address": host.address.partition("%")[0],  # "ipv6"
        "ipv4": host.ipv4,
        "ipv6": host.ipv6.partition("%")[0],
        "mac": host.mac.upper().replace(":", "-"),
        "vendor": _text(host.vendor),
        "status": host._status.get("state", ""),
        "hostnames": [_text(name) for name in host.hostnames],
        "os ports": [(used.state, used.proto, str(used.portid)) for used in host.os.ports_used],
        "os matches": [(_text(m.name), m.accuracy, m.line) for m in host.os.osmatches if m.line >= 0],  # "os classes"
        "os classes": sorted(
            (_text(c.vendor), c.osfamily, c.osgen, c.type, c.accuracy, [str(cpe) for cpe in c.cpelist])
            for c in _classes(host)
        ),
        "fingerprints": host.os.fingerprints,
        "tcpsequence": host.tcpsequence,
        "ipsequence": host.ipsequence,
        "uptime": host.uptime,
        "lastboot": host.lastboot,
        "distance": host.distance,
        "scripts": _their_scripts(host.scripts_results),
        "extraports": _their_extra(host),
        "services": [theirs_of_service(service) for service in host.services],
    }


def _classes(host: NmapHost) -> list:
    """All OS classes, those that libnmap throws away included: a made-up match does not get its class."""
    from libnmap.objects.os import NmapOSClass

    found = host._extras.get("os", {})
    inner = [each for match in found.get("osmatches", []) for each in match["osclasses"]]
    return [NmapOSClass(each) for each in inner + found.get("osclasses", [])]


def _their_extra(host: NmapHost) -> dict | None:
    if host._extras.get("extraports") is None:
        return None
    state = host.extraports_state["state"]
    reasons = [(r.get("reason", ""), int(r.get("count", 0)), r.get("ports", "")) for r in host.extraports_reasons]
    return {"state": state.get("state", ""), "count": int(state.get("count", 0)), "reasons": reasons}


def ours_of_host(body: dict, ports: list[dict]) -> dict:
    """A host of our reader, under the same names."""
    addresses = {kind: [a for a in body.get("address", []) if a["type"] == kind] for kind in ("ipv4", "ipv6", "mac")}
    last = {kind: found[-1]["addr"] if found else "" for kind, found in addresses.items()}
    vendors = [a["vendor"] for a in body.get("address", []) if "vendor" in a]
    os, groups = body.get("os", {}), body.get("extra_ports")
    classes = [each for match in os.get("match", []) for each in match.get("class", [])] + os.get("class", [])
    return {
        "times": [_seconds(body.get("start")), _seconds(body.get("end"))],
        "address": last["ipv4"] or last["ipv6"],
        **last,
        "vendor": vendors[-1] if vendors else "",
        "status": body.get("state", ""),
        "hostnames": [each.get("name", "") for each in body.get("hostname", [])],
        "os ports": [(u.get("state"), u.get("protocol"), str(u.get("port"))) for u in os.get("port_used", [])],
        "os matches": [(m.get("name", ""), m["accuracy"], m["line"]) for m in os.get("match", [])],
        "os classes": sorted(
            (c["vendor"], c["family"], c.get("generation", ""), c.get("type", ""), c["accuracy"], c.get("cpe", []))
            for c in classes
        ),
        "fingerprints": os.get("fingerprint", []),
        "tcpsequence": body.get("tcp_sequence", {}).get("difficulty", ""),
        "ipsequence": body.get("ip_id_sequence", {}).get("class", ""),
        "uptime": body.get("uptime", {}).get("seconds", 0),  # "absent number"
        "lastboot": body.get("uptime", {}).get("last_boot", ""),
        "distance": body.get("distance", 0),
        "scripts": _our_scripts(body.get("script", {})),
        "extraports": _our_extra(groups[-1]) if groups else None,
        "services": [ours_of_service(port) for port in ports],
    }


def _our_extra(group: dict) -> dict:
    reasons = [(r.get("reason", ""), r.get("count", 0), r.get("ports", "")) for r in group.get("reasons", [])]
    return {"state": group.get("state", ""), "count": group.get("count", 0), "reasons": reasons}


# --- ports ------------------------------------------------------------------------------------------------

NUMBERS = {"rpcnum": "rpc_number", "lowver": "low_version", "highver": "high_version", "conf": "confidence"}
TEXTS = {
    "name": "name",
    "product": "product",
    "version": "version",
    "extrainfo": "extra_info",
    "tunnel": "tunnel",
    "method": "method",
    "hostname": "hostname",
    "ostype": "os_type",
    "devicetype": "device_type",
    "proto": "rpc_protocol",
    "servicefp": "fingerprint",
}


def theirs_of_service(service: NmapService) -> dict:
    """A port by libnmap's own accessors."""
    found = service.service_dict
    return {
        "port": service.port,
        "protocol": service.protocol,
        "state": service.state or "",
        "reason": service.reason,
        "reason_ip": service.reason_ip,
        "reason_ttl": service.reason_ttl,
        "name": _text(service.service),
        "owner": service.owner,
        "cpe": [str(cpe) for cpe in service.cpelist],
        "service": {key: _text(found[key]) for key in (*TEXTS, *NUMBERS) if _given(found.get(key))},
        "scripts": _their_scripts(service.scripts_results),
    }


def ours_of_service(port: dict) -> dict:
    """A port of our reader, under the same names."""
    service = port.get("service", {})
    return {
        "port": port["number"],
        "protocol": port["protocol"],
        "state": port.get("state", ""),
        "reason": port.get("reason", ""),
        "reason_ip": port.get("reason_ip", ""),
        "reason_ttl": str(port.get("reason_ttl", "")),
        "name": service.get("name", ""),
        "owner": port.get("owner", ""),
        "cpe": service.get("cpe", []),
        "service": {key: str(service[name]) for key, name in (TEXTS | NUMBERS).items() if name in service},
        "scripts": _our_scripts(port.get("script", {})),
    }


# --- scripts ----------------------------------------------------------------------------------------------


def _their_scripts(scripts: list | dict) -> list[tuple]:
    return [(s.get("id", ""), _text(s.get("output")), _their_table(s["elements"])) for s in scripts or []]


def _their_table(value):
    if isinstance(value, dict):
        return {_text(key): _their_table(each) for key, each in value.items()}
    return [_their_table(each) for each in value] if isinstance(value, list) else _text(value)


def _our_scripts(script: dict) -> list[tuple]:
    tables = [(result["id"], result["table"]) for result in script.get("result", [])]
    found = []
    for name, output in zip(script.get("id", []), script.get("output", []), strict=True):
        place = next((i for i, (owner, _) in enumerate(tables) if owner == name), None)
        found.append((name, output, {} if place is None else _our_table(tables.pop(place)[1], top=True)))
    return found


def _our_table(rows: list[dict], *, top: bool = False) -> dict:
    """Rows as libnmap has them: by key, a list where a key comes again; at the top a value replaces what was there."""
    found: dict = {}
    for row in rows:
        key, value = row.get("key", ""), row["value"] if "value" in row else _our_table(row["table"])
        if key not in found or (top and "value" in row):  # "elements"
            found[key] = value
        else:
            before = found[key]
            found[key] = [*before, value] if isinstance(before, list) else [before, value]
    return found


# --- scans ------------------------------------------------------------------------------------------------


def theirs_of_scan(report: NmapReport) -> dict:
    """A scan by libnmap's own accessors."""
    raw = report.get_raw_data()["_nmaprun"]
    return {
        "started": max(report.started, 0),
        "ended": max(report.endtime, 0),
        "args": _text(raw.get("args")),
        "version": raw.get("version", ""),
        "xml version": raw.get("xmloutputversion", ""),
        "elapsed": report.elapsed,
        "summary": _text(report._runstats.get("finished", {}).get("summary")),
        "type": report.scan_type or "",
        "numservices": report.numservices,
        "hosts": [report.hosts_up, report.hosts_down, report.hosts_total],
    }


def ours_of_scan(facts: dict) -> dict:
    """A scan of our reader, under the same names."""
    info = (facts.get("info") or [{}])[-1]  # "scaninfo"
    return {
        "started": int(_seconds(facts.get("start")) or 0),
        "ended": int(_seconds(facts.get("finish")) or 0),
        "args": facts.get("args", ""),
        "version": facts.get("version", ""),
        "xml version": facts.get("xml_version", ""),
        "elapsed": facts.get("elapsed", -1),
        "summary": facts.get("summary", ""),
        "type": info.get("type", ""),
        "numservices": info.get("count", -1),
        "hosts": [facts.get("hosts", {}).get(name, -1) for name in ("up", "down", "total")],
    }
